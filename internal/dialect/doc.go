// Package dialect holds what all annotation dialects share: how an annotation
// is declared, and how a misspelt name is recognised. Each dialect is a package
// below it that turns the annotations of one object into a typed value; none of
// them knows routes, and the package knows no dialect.
package dialect

// Scope says how far an annotation reaches.
type Scope string

// The scopes, named as in the documentation of ingress-nginx.
const (
	Location Scope = "location" // the paths of its own Ingress
	Host     Scope = "host"     // also the paths that other Ingresses have on the same host
)

// Risk says what somebody who may write the annotation, but is not trusted, could do with it.
type Risk string

// The risks, in growing order.
const (
	Low    Risk = "low"
	Medium Risk = "medium"
	High   Risk = "high"
)

// Doc describes an annotation to people; documentation is generated from it.
type Doc struct {
	Key     string // without the prefix of the dialect
	Text    string // one line
	Default string // as a user would write it; "": none
	Scope   Scope
	Risk    Risk
}

// ValueError is an annotation's value that cannot be used.
type ValueError struct {
	Problem string // "\"maybe\" is not a boolean"
	Fix     string // "write \"true\" or \"false\""
}

func (e *ValueError) Error() string { return e.Problem + "; " + e.Fix }
