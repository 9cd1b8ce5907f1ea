package dialect

import "strings"

// Template is a URL with variables. Variables are a closed set and their values
// are put in, never read again.
type Template []Part

// Part is either Text or, if that is "", the value of Var.
type Part struct {
	Text string
	Var  Var
}

// Var is a variable.
type Var string

// The variables.
const (
	Scheme     Var = "scheme"
	HostName   Var = "host"
	RequestURI Var = "request_uri"
)

// Expand puts in the values.
func (t Template) Expand(value func(Var) string) string {
	var b strings.Builder
	for _, p := range t {
		if p.Text != "" {
			b.WriteString(p.Text)
		} else {
			b.WriteString(value(p.Var))
		}
	}
	return b.String()
}

func (t Template) String() string {
	return t.Expand(func(v Var) string { return "$" + string(v) })
}
