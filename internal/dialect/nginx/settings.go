package nginx

import (
	"net/netip"
	"regexp"
	"time"

	"github.com/fairway-net/fairway/internal/dialect"
)

// Settings is what the annotations of one Ingress say.
type Settings struct {
	RewriteTarget    string // "": the path stays as it is
	UseRegex         bool
	AppRoot          string // "": "/" is a path like all others
	SSLRedirect      bool
	ForceSSLRedirect bool
	Redirect         dialect.Template // empty: none
	RedirectCode     int
	Temporal         dialect.Template // beats Redirect
	TemporalCode     int
	Aliases          []string // more hosts for the same rules

	BackendProtocol Protocol // "": as the Service says
	ConnectTimeout  time.Duration
	SendTimeout     time.Duration
	ReadTimeout     time.Duration
	Tries           int   // endpoints one request may be offered to; 0: all
	BodySize        int64 // of requests, in bytes; 0: no limit
	UpstreamHost    string
	ForwardedPrefix string
	AccessLog       bool

	Allow []netip.Prefix // nil: all
	Deny  []netip.Prefix

	CORS     CORS
	Affinity Affinity
	Canary   Canary
	Limits   Limits

	// Unguarded names an annotation that was to keep somebody out and cannot be
	// followed; requests must not be served without it. "": none.
	Unguarded string
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
	Enabled  bool
	Cookie   string
	Path     string
	Domain   string
	MaxAge   int // seconds; 0: a session cookie
	SameSite string
	Secure   *bool // nil: for requests over TLS
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
}

// Protocol is a value of backend-protocol.
type Protocol string

// The protocols that are understood.
const (
	HTTP  Protocol = "HTTP"
	HTTPS Protocol = "HTTPS"
	GRPC  Protocol = "GRPC"
	GRPCS Protocol = "GRPCS"
)

// Defaults is what an Ingress without annotations says: the defaults of
// ingress-nginx, but for the size of bodies, which it limits to 1 MiB.
func Defaults() Settings {
	return Settings{
		SSLRedirect: true, RedirectCode: 301, TemporalCode: 302,
		ConnectTimeout: 5 * time.Second, SendTimeout: 60 * time.Second, ReadTimeout: 60 * time.Second, Tries: 3,
		AccessLog: true, Canary: Canary{Total: 100}, Limits: Limits{Burst: 5},
		CORS: CORS{Origins: []string{"*"}, Methods: "GET, PUT, POST, DELETE, PATCH, OPTIONS", Credentials: true, MaxAge: 1728000,
			Headers: "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization"},
	}
}
