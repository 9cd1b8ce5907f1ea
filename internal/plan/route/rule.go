package route

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/model"
)

// Request is what rules are matched with. Host and Path are canonical: see
// CanonicalHost and CanonicalPath. Query is as received, without the question mark.
type Request struct {
	Host, Path    string
	Method, Query string
	Header        interface{ Values(name string) []string }
}

// Rule sends the requests that it matches somewhere. Exactly one of Redirect,
// Respond and Forward is set. The fields that requests look at come first, on two lines
// of the processor's cache: of a host among many they are not in it.
type Rule struct {
	Redirect  *Redirect
	CORS      *CORS   // nil: none of our business
	Limits    *Limits // nil: none
	Access    *Access // nil: everybody
	Auth      *Auth   // nil: nobody is asked
	Password  *Password
	Respond   *Respond
	MaxBody   int64 // largest body in bytes; 0: no limit
	Forward   *Forward
	Rewrite   *Rewrite    // nil: the path stays as it is
	Errors    *Errors     // nil: errors are passed on
	Edit      *HeaderEdit // of responses; nil: none
	Bandwidth *Bandwidth  // nil: no limit
	Mirror    *Mirror     // nil: none
	Trace     *Trace      // nil: by default
	Secure    Secure      // whether plain HTTP is answered by a redirect
	Any       bool        // one of Access, Auth and Password is enough
	Unlogged  bool        // not in the access log
	KeepSlash bool        // a redirect to TLS keeps the slash at the end of the URI
	WithPort  bool        // and names the port

	Source Source
	Match  Match
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

// Match is what a rule is for, beside its host.
type Match struct {
	Kind  PathKind
	Path  string         // canonical, but for Regex: as written
	Regex *regexp.Regexp // set for all rules of a host with Regex set
	When  *When          // nil: whatever else the request has
}

// Secure says what happens to requests that did not come over TLS.
type Secure uint8

// The values of Secure. Requests below Options.NoTLS are never redirected: the challenge of RFC
// 8555, section 8.3, is asked for over plain HTTP.
const (
	Plain          Secure = iota // served
	WhereCertified               // redirected if a certificate covers the host
	Always                       // redirected
)

func (s Secure) String() string { return [...]string{"plain", "tls-if-certified", "tls-always"}[s] }

// Redirects reports whether a plain HTTP request that r matched is answered by
// a redirect to TLS.
func (r *Rule) Redirects(req *Request, certs *Certificates, o *Options) bool {
	if r.Secure == Plain {
		return false
	}
	return !o.Exempt(req) && (r.Secure == Always || certs.Covers(req.Host))
}

// Exempt reports whether a request may come without TLS: that for a certificate's challenge does.
func (o *Options) Exempt(req *Request) bool {
	return slices.ContainsFunc(o.NoTLS, func(path string) bool { return strings.HasPrefix(req.Path, path) })
}

// Forward sends a request to one of Targets, chosen by weight.
type Forward struct {
	Targets  []Target
	Canary   *Canary  // nil: none; looked at before Targets
	Protocol Protocol // "": the Backend's
	AutoTLS  bool     // HTTPS for requests that came over TLS, in the place of Protocol
	Timeouts Timeouts
	Tries    int       // how many endpoints one request may be offered to; 0: all
	Host     string    // Host header for the endpoint; "": the client's
	Set      []Header  // further headers for the endpoint, in the place of the client's
	Affinity *Affinity // nil: endpoints take turns
	// Hold is how much of a request's body stays in memory until all of it has come; what
	// is more of it goes to a file. 0: bodies are passed on as they come.
	Hold int64
	// Backlog lets the body of a response be taken as fast as the endpoint gives it, and holds
	// what the client is behind. Nil: the endpoint waits for the client.
	Backlog *Backlog

	Balance  *Balance    // nil: endpoints take turns
	Retry    *Retry      // nil: after errors and timeouts
	Script   *Script     // of FastCGI; nil for all other protocols
	TLS      *BackendTLS // nil: certificates of endpoints are not verified
	Fallback *BackendKey // takes the requests where no endpoint is ready; nil: nobody
	Connect  bool        // CONNECT opens a tunnel to an endpoint; else it is refused
	Optional bool        // where nobody takes them they get 404, not 503
	Vars     []Field     // as Set, with variables; Name "Host" is the Host header
}

// Backlog is how many octets of a response may wait for a slow client.
type Backlog struct{ Memory, File int64 }

// Header is one field.
type Header struct{ Name, Value string }

// Field is a field whose value may have variables. An empty Value removes it.
type Field struct {
	Name  string
	Value dialect.Template
}

// Balance is how an endpoint is chosen: by a consistent hash of Key, else, if
// EWMA, the better of two by load and response time.
type Balance struct {
	EWMA   bool
	Key    dialect.Template
	Subset int // 0: one endpoint per key; else one of so many
}

// Retry says after which failures a request goes to another endpoint. A connection
// that does not come about always counts.
type Retry struct {
	Error         bool // the connection broke before there was a response
	Timeout       bool // there was none in time
	InvalidHeader bool
	NonIdempotent bool // also of methods that may do harm twice
	Statuses      []int
	Within        time.Duration // all attempts together; 0: no limit
}

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
	Text   string           // one line
	Body   dialect.Template // all of the answer, if Text is ""
}

// Find returns the rule of h for a canonical path: the one of highest
// precedence that matches, else Fallback, which may be nil.
func (h *Host) Find(req *Request) *Rule {
	if h.Regex {
		for _, r := range h.Rules {
			if r.Match.Regex.MatchString(req.Path) && r.Match.When.holds(req) {
				return r
			}
		}
		return h.Fallback
	}
	if r := h.tree.find(h.Rules, req); r != nil {
		return r
	}
	return h.Fallback
}
