package dialect

import "strings"

// Template is a text with variables. Variables are a closed set and their values
// are put in, never read again.
type Template []Part

// Part is either Text or, if that is "", the value of Var.
type Part struct {
	Text string
	Var  Var
}

// Var is a variable, by the name that it has in nginx.
type Var string

// The variables that have no parameter.
const (
	Scheme        Var = "scheme"
	HostName      Var = "host"                // without port
	HTTPHost      Var = "http_host"           // as received
	RequestURI    Var = "request_uri"         // escaped path and query, dot segments resolved
	EscapedURI    Var = "escaped_request_uri" // the same, escaped once more for a query
	Path          Var = "uri"                 // canonical path
	Query         Var = "args"
	IsArgs        Var = "is_args" // "?" if there is a query
	Method        Var = "request_method"
	RemoteAddr    Var = "remote_addr"
	RequestID     Var = "request_id"
	Namespace     Var = "namespace"
	IngressName   Var = "ingress_name"
	ServiceName   Var = "service_name"
	ServicePort   Var = "service_port"
	ServerPort    Var = "server_port"
	ServerName    Var = "server_name"
	RemoteUser    Var = "remote_user"
	ClientSubject Var = "ssl_client_s_dn"
	ClientIssuer  Var = "ssl_client_i_dn"
	ClientVerify  Var = "ssl_client_verify"
)

// The prefixes of variables with a parameter, which is what follows: a header
// ("http_x_user" is X-User), a cookie, an argument of the query, and a header of
// the response.
const (
	HeaderVar   = "http_"
	CookieVar   = "cookie_"
	ArgumentVar = "arg_"
	ResponseVar = "sent_http_"
)

// aliases are other names that nginx, or ingress-nginx, has for the same.
var aliases = map[Var]Var{
	"document_uri": Path, "query_string": Query, "binary_remote_addr": RemoteAddr, "the_real_ip": RemoteAddr, "req_id": RequestID,
	"pass_access_scheme": Scheme, "best_http_host": HTTPHost, "pass_server_port": ServerPort, "pass_port": ServerPort,
	"proxy_add_x_forwarded_for": RemoteAddr, "realip_remote_addr": RemoteAddr,
}

// LookUp returns the variable of a name.
func LookUp(name string) (Var, bool) {
	v := Var(name)
	if to, ok := aliases[v]; ok {
		return to, true
	}
	switch v {
	case Scheme, HostName, HTTPHost, RequestURI, EscapedURI, Path, Query, IsArgs, Method, RemoteAddr, RequestID, Namespace,
		IngressName, ServiceName, ServicePort, ServerPort, ServerName, RemoteUser, ClientSubject, ClientIssuer, ClientVerify:
		return v, true
	}
	for _, prefix := range []string{HeaderVar, CookieVar, ArgumentVar, ResponseVar} {
		if rest, ok := strings.CutPrefix(name, prefix); ok && rest != "" {
			return v, true
		}
	}
	if rest, ok := strings.CutPrefix(name, "upstream_http_"); ok && rest != "" {
		return ResponseVar + Var(rest), true
	}
	return "", false
}

// Group is the group of a regular expression that a variable like $1 stands for. LookUp
// does not know them: only some texts stand beside an expression.
func (v Var) Group() (int, bool) {
	if len(v) != 1 || v[0] < '1' || v[0] > '9' {
		return 0, false
	}
	return int(v[0] - '0'), true
}

// Header is the header that a variable with one of the prefixes for headers names.
func (v Var) Header(prefix string) (string, bool) {
	name, ok := strings.CutPrefix(string(v), prefix)
	return strings.ReplaceAll(name, "_", "-"), ok
}

// Text is a Template without variables.
func Text(s string) Template {
	if s == "" {
		return nil
	}
	return Template{{Text: s}}
}

// Plain returns the text of t if it has no variable.
func (t Template) Plain() (string, bool) {
	var b strings.Builder
	for _, p := range t {
		if p.Text == "" {
			return "", false
		}
		b.WriteString(p.Text)
	}
	return b.String(), true
}

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
