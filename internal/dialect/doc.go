// Package dialect holds what all annotation dialects share: how an annotation
// is declared, how a misspelt name is recognised, and how values are read that
// several of them have. Each dialect is a package below it that turns the
// annotations of one object into a typed value; none of them knows routes, and the
// package knows no dialect.
package dialect

import (
	"errors"
	"slices"
)

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
	// Critical is for text that ingress-nginx pastes into nginx's configuration.
	Critical Risk = "critical"
)

// Above reports whether r is riskier than o.
func (r Risk) Above(o Risk) bool {
	order := []Risk{Low, Medium, High, Critical}
	return slices.Index(order, r) > slices.Index(order, o)
}

// Effect says how far an annotation is followed.
type Effect string

// The effects.
const (
	Full    Effect = ""        // as where it comes from
	Partly  Effect = "partly"  // Text says what differs
	Silent  Effect = "silent"  // accepted; what it tunes needs no tuning here
	Refused Effect = "refused" // rejected, with the reason
)

// Doc describes an annotation to people; documentation is generated from it.
type Doc struct {
	Key     string // without the prefix of the dialect
	Text    string // one line
	Default string // as a user would write it; "": none
	Scope   Scope
	Risk    Risk
	Effect  Effect
	Group   string // heading in the documentation
}

// ValueError is an annotation's value that cannot be used.
type ValueError struct {
	Problem string // "\"maybe\" is not a boolean"
	Fix     string // "write \"true\" or \"false\""
}

func (e *ValueError) Error() string { return e.Problem + "; " + e.Fix }

// Explain says what is wrong with a value and how to mend it, which only a
// *ValueError knows.
func Explain(err error) (problem, fix string) {
	if v := (*ValueError)(nil); errors.As(err, &v) {
		return v.Problem, v.Fix
	}
	return err.Error(), ""
}
