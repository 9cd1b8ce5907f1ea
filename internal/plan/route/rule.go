package route

import (
	"regexp"
	"time"

	"github.com/fairway-net/fairway/internal/model"
)

// Request is what rules are matched with. Host and Path are canonical: see
// CanonicalHost and CanonicalPath.
type Request struct {
	Host string
	Path string
}

// Rule sends the requests that it matches somewhere. Exactly one of Redirect,
// Respond and Forward is set. The fields are in the order in which they are
// looked at, which is that of nginx's phases.
type Rule struct {
	Source   Source
	Match    Match
	Redirect *Redirect
	Secure   Secure  // whether plain HTTP is answered by a redirect
	CORS     *CORS   // nil: none of our business
	Limits   *Limits // nil: none
	Access   *Access // nil: everybody
	Respond  *Respond
	MaxBody  int64    // largest body in bytes; 0: no limit
	Rewrite  *Rewrite // nil: the path stays as it is
	Forward  *Forward
	Unlogged bool // not in the access log
}

// Source says where a rule was written: for logs, metrics and explanations.
type Source struct {
	Ref   model.Ref
	Field string // "spec.rules[0].http.paths[1]"
}

func (s Source) String() string { return s.Ref.String() + " " + s.Field }

// PathKind is how Match.Path is compared.
type PathKind uint8

// The kinds. Where several rules match: Exact before all others, then the
// longest path, then in the order of this list.
const (
	Exact  PathKind = iota // the whole path
	Prefix                 // whole elements; a slash at the end is ignored
	Text                   // letter by letter: /foo matches /foobar, as a location of nginx does
	Regex                  // not case-sensitive, anchored at the start; what all paths of a host with Regex set are, but that of app-root
)

func (k PathKind) String() string {
	return [...]string{"exact", "prefix", "text", "regex"}[k]
}

// Match is the condition of a rule, beside its host.
type Match struct {
	Kind  PathKind
	Path  string         // canonical, but for Regex: as written
	Regex *regexp.Regexp // set for all rules of a host with Regex set
}

// Secure says what happens to requests that did not come over TLS.
type Secure uint8

// The values of Secure. Requests below /.well-known/acme-challenge/ are never redirected.
const (
	Plain          Secure = iota // served
	WhereCertified               // redirected if a certificate covers the host
	Always                       // redirected
)

func (s Secure) String() string { return [...]string{"plain", "tls-if-certified", "tls-always"}[s] }

// acmePath is exempt from redirects to TLS: the challenge of RFC 8555, section
// 8.3, is asked for over plain HTTP.
const acmePath = "/.well-known/acme-challenge/"

// Redirects reports whether a plain HTTP request that r matched is answered by
// a redirect to TLS.
func (r *Rule) Redirects(req *Request, certs *Certificates) bool {
	if r.Secure == Plain || len(req.Path) > len(acmePath) && req.Path[:len(acmePath)] == acmePath {
		return false
	}
	return r.Secure == Always || certs.Covers(req.Host)
}

// Forward sends a request to one of Targets, chosen by weight.
type Forward struct {
	Targets  []Target
	Canary   *Canary  // nil: none; looked at before Targets
	Protocol Protocol // "": the Backend's
	Timeouts Timeouts
	Tries    int       // how many endpoints one request may be offered to; 0: all
	Host     string    // Host header for the endpoint; "": the client's
	Set      []Header  // further headers for the endpoint, in the place of the client's
	Affinity *Affinity // nil: endpoints take turns
}

// Header is one field.
type Header struct{ Name, Value string }

// Target is a backend's share of the requests.
type Target struct {
	Backend BackendKey
	Weight  uint32 // relative to the other targets
}

// Timeouts have nginx's meanings.
type Timeouts struct {
	Connect time.Duration // to have a connection
	Send    time.Duration // between two successful writes of the request
	Read    time.Duration // between two successful reads of the response
}

// Respond answers a request without a backend.
type Respond struct {
	Status int
	Text   string // one line
}

// Find returns the rule of h for a canonical path: the one of highest
// precedence that matches, else Fallback, which may be nil.
func (h *Host) Find(req *Request) *Rule {
	if h.Regex {
		for _, r := range h.Rules {
			if r.Match.Regex.MatchString(req.Path) {
				return r
			}
		}
		return h.Fallback
	}
	if r := h.tree.find(req); r != nil {
		return r
	}
	return h.Fallback
}
