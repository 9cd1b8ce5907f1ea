package nginx

import (
	"fmt"
	"net/netip"
	"regexp"
	"time"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/model"
)

// Settings is what the annotations of one Ingress say.
type Settings struct {
	RewriteTarget    string // "": the path stays as it is
	UseRegex         bool
	AppRoot          string // "": "/" is a path like all others
	SSLRedirect      bool
	ForceSSLRedirect bool
	KeepSlash        bool             // preserve-trailing-slash
	Redirect         dialect.Template // empty: none
	RedirectCode     int
	Temporal         dialect.Template // beats Redirect
	TemporalCode     int
	Relative         bool     // Location without scheme and host in redirects of our own
	PortInRedirects  bool     //
	WWW              bool     // from-to-www-redirect
	Aliases          []string // more hosts for the same rules
	Passthrough      bool     // TLS goes to the pods as it is

	BackendProtocol Protocol // "": as the Service says
	ConnectTimeout  time.Duration
	SendTimeout     time.Duration
	ReadTimeout     time.Duration
	Tries           int // endpoints one request may be offered to; 0: all
	NextUpstream    NextUpstream
	BodySize        int64 // of requests, in bytes; 0: no limit
	HoldBody        bool  // the pod is asked when all of the body has come
	BodyMemory      int64 // of it, in bytes; what is more goes to a file
	Buffering       bool  // of responses
	BufferSize      int64 // bytes
	Buffers         int
	TempFile        int64 // bytes; 0: none
	UpstreamHost    dialect.Template
	ForwardedPrefix string
	Connection      string // header Connection for the pods; "": as it needs to be
	ServiceUpstream bool
	BackendTLS      BackendTLS
	AccessLog       bool

	Allow []netip.Prefix // nil: all
	Deny  []netip.Prefix

	Auth       Auth
	Basic      Basic
	SatisfyAny bool
	ClientCert ClientCert

	CORS      CORS
	Affinity  Affinity
	Balance   Balance
	Canary    Canary
	Limits    Limits
	Errors    Errors
	Mirror    Mirror
	Response  Response
	Trace     Trace
	Script    Script
	SetHeader []Header // further headers for the pods, from a snippet
	Ciphers   []uint16 // of TLS 1.2; nil: Go's

	// Return answers all requests, from a snippet. Status 0: none.
	Return Return

	// Unguarded names an annotation, or "option " and an option, that was to keep somebody
	// out and cannot be followed; requests must not be served without it. "": none.
	Unguarded string
}

// Header is a field whose value may have variables.
type Header struct {
	Name  string
	Value dialect.Template
}

// Return is the answer of the directive of that name. Redirects have a Target.
type Return struct {
	Status int
	Text   dialect.Template
	Target dialect.Template
}

// NextUpstream says after which failures a request goes to another pod.
type NextUpstream struct {
	Error, Timeout, InvalidHeader, NonIdempotent bool
	Statuses                                     []int
	Time                                         time.Duration // for all tries; 0: no limit
}

// Auth is the group of auth-url. URL empty: none.
type Auth struct {
	URL             dialect.Template
	Method          string // "": GET
	SignIn          dialect.Template
	SignInParam     string
	Redirect        dialect.Template // X-Auth-Request-Redirect; empty: the request's URI
	ResponseHeaders []string         // copied from the answer to the pods' request
	SetHeaders      model.Name       // ConfigMap with headers for the question; zero: none
	Set             []Header         // the same, from a snippet
	CacheKey        dialect.Template // empty: nothing is kept
	CacheTimes      []CacheTime
	AlwaysSetCookie bool
	Global          bool // enable-global-auth
}

// CacheTime is how long answers with one of Statuses are kept; no Statuses: 200, 301, 302.
type CacheTime struct {
	Statuses []int
	Time     time.Duration
}

// Basic is the group of auth-type. Type "": none.
type Basic struct {
	Type   string // "basic" or "digest"
	Secret string // "name" or "namespace/name"
	Map    bool   // keys of the Secret are users; else the key "auth" holds a file
	Realm  string
}

// ClientCert is the group of auth-tls-secret. Secret "": none.
type ClientCert struct {
	Secret    string // "namespace/name" or "name"
	Verify    string // "on", "off", "optional", "optional_no_ca"
	Depth     int
	ErrorPage string
	Pass      bool
	MatchCN   *regexp.Regexp
}

// BackendTLS is the group of proxy-ssl-secret.
type BackendTLS struct {
	Secret   string
	Verify   bool
	Depth    int
	Name     string
	SNI      bool
	Min, Max uint16 // versions; 0: Go's
	Ciphers  []uint16
}

// CORS is the group of enable-cors.
type CORS struct {
	Enabled     bool
	Origins     []string // "*", "https://example.com", "https://*.example.com"
	Methods     string
	Headers     string
	Expose      string
	Credentials bool
	MaxAge      int // seconds
}

// Affinity is the group of affinity. Cookie "" is the default name.
type Affinity struct {
	Enabled         bool
	Persistent      bool
	Cookie          string
	Path            string
	Domain          string
	MaxAge          int // seconds; 0: a session cookie
	Expires         int // seconds
	SameSite        string
	Conditional     bool  // SameSite=None only for browsers that know it
	Secure          *bool // nil: for requests over TLS
	ChangeOnFailure bool
	LegacyCanary    bool
}

// Balance is how an endpoint is chosen.
type Balance struct {
	EWMA       bool
	HashBy     dialect.Template // empty: by turns, or EWMA
	Subset     bool
	SubsetSize int
}

// Canary is the group of canary.
type Canary struct {
	Enabled       bool
	Header        string
	HeaderValue   string
	HeaderPattern *regexp.Regexp
	Cookie        string
	Weight, Total int
}

// Limits is the group of limit. Numbers are 0 where there is no limit.
type Limits struct {
	PerSecond, PerMinute int
	Burst                int // multiplies the rates
	Connections          int
	Exempt               []netip.Prefix
	Rate, RateAfter      int64 // bytes of a response, per second and before that
}

// Errors is the group of custom-http-errors.
type Errors struct {
	Codes   []int
	Backend string // default-backend: a Service of the namespace
	Off     bool   // disable-proxy-intercept-errors
}

// Mirror is the group of mirror-target. Target empty: none.
type Mirror struct {
	Target dialect.Template
	Host   string
	NoBody bool
}

// Response is what is done to responses of pods.
type Response struct {
	Headers      model.Name // custom-headers: a ConfigMap; zero: none
	Set          []Header   // from a snippet, on every response
	Add          []Header   // from a snippet, on successes
	Hide         []string
	CookieDomain Replace
	CookiePath   Replace
	Redirect     Replace // of Location and Refresh
}

// Replace is one text in the place of another. Without From nothing is replaced.
type Replace struct {
	From Pattern
	To   dialect.Template // may have $1 to $9, of the pattern's groups
}

func (r Replace) String() string {
	if r.From.IsZero() {
		return "-"
	}
	return fmt.Sprintf("%q %q", r.From, r.To)
}

// Pattern is a text, perhaps with variables, or a regular expression.
type Pattern struct {
	Text  dialect.Template
	Regex *regexp.Regexp
}

// IsZero says that p matches nothing.
func (p Pattern) IsZero() bool { return len(p.Text) == 0 && p.Regex == nil }

func (p Pattern) String() string {
	if p.Regex != nil {
		return "~" + p.Regex.String()
	}
	return p.Text.String()
}

// Protocol is a value of backend-protocol.
type Protocol string

// The protocols that are understood.
const (
	HTTP     Protocol = "HTTP"
	HTTPS    Protocol = "HTTPS"
	GRPC     Protocol = "GRPC"
	GRPCS    Protocol = "GRPCS"
	FCGI     Protocol = "FCGI"
	AutoHTTP Protocol = "AUTO_HTTP" // that of the client
)

// Defaults is what an Ingress without annotations says where no ConfigMap says
// otherwise: the defaults of ingress-nginx.
func Defaults() Settings {
	return Settings{
		SSLRedirect: true, RedirectCode: 301, TemporalCode: 302,
		ConnectTimeout: 5 * time.Second, SendTimeout: 60 * time.Second, ReadTimeout: 60 * time.Second, Tries: 3,
		NextUpstream: NextUpstream{Error: true, Timeout: true}, BodySize: 1 << 20, HoldBody: true, BodyMemory: 8 << 10, BufferSize: 4 << 10, Buffers: 4, TempFile: 1 << 30,
		AccessLog: true, Canary: Canary{Total: 100}, Limits: Limits{Burst: 5},
		Auth:       Auth{SignInParam: "rd", Global: true, CacheTimes: []CacheTime{{Statuses: []int{200, 202, 401}, Time: 5 * time.Minute}}},
		ClientCert: ClientCert{Verify: "on", Depth: 1}, BackendTLS: BackendTLS{Depth: 1}, Balance: Balance{SubsetSize: 3},
		CORS: CORS{Origins: []string{"*"}, Methods: "GET, PUT, POST, DELETE, PATCH, OPTIONS", Credentials: true, MaxAge: 1728000,
			Headers: "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization"},
	}
}
