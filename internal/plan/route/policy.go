package route

import (
	"hash/fnv"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/dialect/nginx"
)

// Redirect answers a request with another URL.
type Redirect struct {
	Location  dialect.Template
	Status    int
	DropSlash bool // a slash at the end of the URI is left out
	AfterTLS  bool // a redirect to TLS, and who may ask at all, come first
}

func redirect(s *nginx.Settings) *Redirect {
	switch {
	case len(s.Temporal) > 0:
		return &Redirect{Location: s.Temporal, Status: s.TemporalCode}
	case len(s.Redirect) > 0:
		return &Redirect{Location: s.Redirect, Status: s.RedirectCode}
	case len(s.Return.Target) > 0:
		return &Redirect{Location: s.Return.Target, Status: s.Return.Status}
	}
	return nil
}

// Access says which clients may ask. Who may not gets 403.
type Access struct {
	Allow []netip.Prefix // nil: all
	Deny  []netip.Prefix // looked at first
}

// Allows reports whether a client may ask.
func (a *Access) Allows(client netip.Addr) bool {
	contains := func(p netip.Prefix) bool { return p.Contains(client.Unmap()) }
	return !slices.ContainsFunc(a.Deny, contains) && (a.Allow == nil || slices.ContainsFunc(a.Allow, contains))
}

func access(s *nginx.Settings) *Access {
	if s.Allow == nil && s.Deny == nil {
		return nil
	}
	return &Access{Allow: s.Allow, Deny: s.Deny}
}

// MaxRates is how many Rates there may be.
const MaxRates = 2

// Limits bound what one client address may ask of an Ingress. Beyond them it gets an error.
type Limits struct {
	Rates       []Rate         // at most MaxRates; all of them hold
	Connections int            // requests under way; 0: no limit
	Exempt      []netip.Prefix // clients without limits
	// Statuses beyond Rates, and beyond Connections.
	RateStatus, ConnectionStatus int
}

// Rate allows PerSecond requests, and Burst more at once.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Exempts reports whether the limits do not apply to a client.
func (l *Limits) Exempts(client netip.Addr) bool {
	return slices.ContainsFunc(l.Exempt, func(p netip.Prefix) bool { return p.Contains(client) })
}

func limits(s *nginx.Settings, o *nginx.Options) *Limits {
	l := &s.Limits
	out := &Limits{Connections: l.Connections, Exempt: l.Exempt, RateStatus: o.RateStatus, ConnectionStatus: o.ConnStatus}
	if l.PerSecond > 0 {
		out.Rates = append(out.Rates, Rate{PerSecond: float64(l.PerSecond), Burst: l.PerSecond * l.Burst})
	}
	if l.PerMinute > 0 {
		out.Rates = append(out.Rates, Rate{PerSecond: float64(l.PerMinute) / 60, Burst: l.PerMinute * l.Burst})
	}
	if len(out.Rates) == 0 && out.Connections == 0 {
		return nil
	}
	return out
}

// CORS lets scripts of other origins read responses (the Fetch standard,
// section 3.2). Values are those of the headers.
type CORS struct {
	Origins     []string // as in nginx.CORS
	Methods     string
	Headers     string
	Expose      string
	Credentials bool
	MaxAge      string
}

// Allow returns the value of Access-Control-Allow-Origin for a request's Origin,
// or "" if it may not read responses.
func (c *CORS) Allow(origin string) string {
	for _, o := range c.Origins {
		if o == "*" {
			return "*"
		}
		if origin == "" {
			continue
		}
		before, after, wild := strings.Cut(strings.ToLower(o), "*")
		have := strings.ToLower(origin)
		if !wild && have == before {
			return origin
		}
		if label, ok := strings.CutPrefix(have, before); wild && ok {
			if label, ok = strings.CutSuffix(label, after); ok && label != "" && !strings.ContainsAny(label, "./:@") {
				return origin
			}
		}
	}
	return ""
}

func cors(s *nginx.Settings) *CORS {
	c := &s.CORS
	if !c.Enabled {
		return nil
	}
	return &CORS{Origins: c.Origins, Methods: c.Methods, Headers: c.Headers, Expose: c.Expose, Credentials: c.Credentials, MaxAge: strconv.Itoa(c.MaxAge)}
}

// Affinity keeps a client with its endpoint by a cookie, for as long as the
// endpoint takes requests.
type Affinity struct {
	Cookie   string
	Path     string
	Domain   string
	MaxAge   int // seconds; 0: until the browser ends
	SameSite string
	Secure   *bool // nil: for requests over TLS

	Expires         int  // seconds from the response; 0: not said
	LaxNone         bool // SameSite=None only for browsers that know it
	Persistent      bool // new endpoints take over nobody
	ChangeOnFailure bool // another endpoint after a failure is kept
	Canary          bool // who was served by the canary, or not, stays there
}

// affinity is what the annotations say, for a rule with the given path.
func affinity(s *nginx.Settings, m *Match) *Affinity {
	a := &s.Affinity
	if !a.Enabled {
		return nil
	}
	out := &Affinity{Cookie: a.Cookie, Path: a.Path, Domain: a.Domain, MaxAge: a.MaxAge, SameSite: a.SameSite, Secure: a.Secure,
		Expires: a.Expires, LaxNone: a.Conditional, Persistent: a.Persistent, ChangeOnFailure: a.ChangeOnFailure, Canary: !a.LegacyCanary}
	if out.Cookie == "" {
		out.Cookie = "INGRESSCOOKIE"
	}
	if out.Path == "" {
		out.Path = "/"
		if m.Kind != Regex {
			out.Path = escapePath(m.Path)
		}
	}
	return out
}

// Token is the value of an affinity cookie for e. All gateways make the same one,
// and it tells clients nothing.
func (e *Endpoint) Token() string {
	h := fnv.New64a()
	b, _ := e.Addr.MarshalBinary() // never fails
	h.Write([]byte("fairway affinity "))
	h.Write(b)
	return strconv.FormatUint(h.Sum64(), 36)
}
