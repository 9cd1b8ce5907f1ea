package nginx

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/model"
)

// Options are what the ConfigMap of ingress-nginx says, for all Ingresses.
type Options struct {
	Base         Settings // what an Ingress without annotations says
	Unread       []string // options that were to keep somebody out and cannot be read
	RedirectCode int      // of redirects to HTTPS
	HSTS         bool
	HSTSAge      string
	HSTSSub      bool
	HSTSPreload  bool
	Underscores  bool // headers with an underscore are passed on
	RateStatus   int  // beyond limit-rps, limit-rpm
	ConnStatus   int  // beyond limit-connections

	AllowSnippets  bool
	Risk           dialect.Risk // the highest that is accepted
	ExternalNames  bool         // Services of type ExternalName may be backends
	CrossNamespace bool         // annotations may name Secrets and ConfigMaps of other namespaces
	NoAuth, NoTLS  []string     // paths whose rules have no external authentication, or no redirect to HTTPS

	BlockCIDRs    []netip.Prefix
	BlockAgents   []*regexp.Regexp
	BlockReferers []*regexp.Regexp

	ForwardedHeaders bool           // X-Forwarded-* of clients is believed
	Trusted          []netip.Prefix // only of those
	ForwardedFor     string         // the header that has the client's address
	FullForwardedFor bool           // append to X-Forwarded-For instead of replacing it
	ProxyProtocol    bool
	OriginalURI      bool // X-Original-URI for pods

	DefaultBackend     model.Name // Service for requests without a rule, with error pages for Ingresses without default-backend
	DefaultCertificate model.Name // Secret for names that no Ingress has a certificate for
	AddHeaders         model.Name // ConfigMap with headers for responses
	SetHeaders         model.Name // ConfigMap with headers for pods
	ServerHeader       bool       // the pods' Server is passed on
	GlobalAuth         Auth
	LogDefault         bool             // requests for DefaultBackend are logged
	Unlogged           []*regexp.Regexp // URIs of requests that are not

	Tracing         Tracing
	Compress        Compression
	Log             *LogFormat // nil: as the gateway was started
	ratio           float64    // otel-sampler-ratio
	rated           bool       // it counts
	Clients         Clients
	Streams         Streams
	TLSMin, TLSMax  uint16 // versions towards clients; 0: Go's
	RejectHandshake bool   // for names that no Ingress has
	NoHTTP2         bool
	AllowedHeader   []string // that custom-headers may set, in lower case
}

// NewOptions is what holds without a ConfigMap.
func NewOptions() *Options {
	o := &Options{Base: Defaults(), RedirectCode: 308, HSTS: true, HSTSAge: "31536000", HSTSSub: true, RateStatus: 503, ConnStatus: 503,
		Risk: dialect.High, NoAuth: []string{acme}, NoTLS: []string{acme}, ForwardedFor: "X-Forwarded-For", TLSMin: defaultTLS, Clients: newClients(), Streams: newStreams(), Tracing: Tracing{Port: otlpPort}, ratio: 0.01, Compress: newCompression()}
	o.GlobalAuth = o.Base.Auth
	return o
}

// DefaultBackendOption is the key of Options.DefaultBackend.
const DefaultBackendOption = "default-backend-service"

// DefaultCertificateOption is the key of Options.DefaultCertificate.
const DefaultCertificateOption = "default-ssl-certificate"

const acme = "/.well-known/acme-challenge"

// clone copies what a Parse may append to.
func (s *Settings) clone() Settings {
	out := *s
	out.Response.Hide, out.Response.Set, out.Response.Add = slices.Clone(s.Response.Hide), slices.Clone(s.Response.Set), slices.Clone(s.Response.Add)
	out.SetHeader = slices.Clone(s.SetHeader)
	out.Allow, out.Deny = slices.Clone(s.Allow), slices.Clone(s.Deny)
	return out
}

// Option is one row of the table of options.
type Option struct {
	dialect.Doc
	set     func(o *Options, value string) error
	snippet func(o *Options, d directive) error // in its place, for text of nginx's configuration
}

// ParseOptions reads the data of ConfigMaps, of which later ones win key by key.
// refs say whose they are, for what is rejected.
func ParseOptions(refs []model.Ref, data []map[string]string) (*Options, []model.Rejected) {
	o := NewOptions()
	var rejected []model.Rejected
	for i, values := range data {
		for _, key := range slices.Sorted(maps.Keys(values)) {
			for _, r := range o.option(key, values[key]) {
				r.Ref, r.Field = refs[i], "data["+key+"]"
				rejected = append(rejected, r)
			}
		}
	}
	return o, rejected
}

// option reads one option. Ref and Field of what it rejects are still empty.
func (o *Options) option(key, value string) []model.Rejected {
	table := optionTable()
	i, ok := slices.BinarySearchFunc(table, key, func(a Option, k string) int { return cmp.Compare(a.Key, k) })
	if !ok {
		r := model.Rejected{Reason: "OptionUnknown", Message: fmt.Sprintf("ingress-nginx has no option %s", key), Fix: "remove it: it has no effect"}
		names := []string{}
		for _, a := range table {
			names = append(names, a.Key)
		}
		if near, ok := dialect.Nearest(key, names); ok {
			r.Fix = fmt.Sprintf("did you mean %s? Else remove it: it has no effect", near)
		}
		return []model.Rejected{r}
	}
	row := &table[i]
	if row.snippet != nil {
		return row.read(o, value)
	}
	err := row.set(o, value)
	if err == nil {
		return nil
	}
	r := model.Rejected{Reason: "OptionInvalid"}
	if row.Effect == dialect.Refused {
		r.Reason = "OptionUnsupported"
	}
	r.Message, r.Fix = dialect.Explain(err)
	if guardOption(key) {
		o.Unread = append(o.Unread, key)
		r.Fix += "; until then requests get 503 where the option counts, for without it everybody could come in"
	}
	return []model.Rejected{r}
}

// guardOption reports whether an option keeps clients out; see guards.
func guardOption(key string) bool {
	name, global := strings.CutPrefix(key, "global-")
	return key == "block-cidrs" || strings.HasSuffix(key, "-source-range") || global && guards(name)
}

// unguarded names an option that could not be read and that counts for an Ingress with
// these settings and annotations; "" if there is none.
func (o *Options) unguarded(s *Settings, annotations map[string]string) string {
	has := func(name string) bool { return annotations[Prefix+name] != "" }
	for _, key := range o.Unread {
		switch {
		case strings.HasPrefix(key, "global-") && (!s.Auth.Global || has("auth-url")):
		case key == "whitelist-source-range" && (has(key) || has("allowlist-source-range")):
		case key == "denylist-source-range" && has(key):
		default:
			return "option " + key
		}
	}
	return ""
}

// read follows the directives of a snippet that are on the list, and quotes the others.
// Who may write the ConfigMap may do so without allow-snippet-annotations.
func (row *Option) read(o *Options, value string) (rejected []model.Rejected) {
	for _, d := range parseDirectives(value) {
		if err := row.snippet(o, d); err != nil {
			problem, fix := dialect.Explain(err)
			rejected = append(rejected, model.Rejected{Reason: "SnippetRefused", Message: fmt.Sprintf("line %d, %q: %s", d.line, clip(d.text), problem), Fix: fix})
		}
	}
	return rejected
}

// OptionTable returns the options in the order of their keys. It must not be changed.
func OptionTable() []Option { return optionTable() }

var optionTable = sync.OnceValue(func() []Option {
	all := slices.Concat(ownOptions(), servingOptions(), streamOptions(), traceOptions(), compressOptions(), logOptions(), snippetOptions(), defaultOptions(), tunings(), refusedOptions())
	slices.SortFunc(all, func(a, b Option) int { return cmp.Compare(a.Key, b.Key) })
	return all
})

// defaultOptions have the names of annotations and are their defaults.
func defaultOptions() (out []Option) {
	for _, key := range strings.Fields(`
		ssl-redirect force-ssl-redirect relative-redirects proxy-connect-timeout proxy-read-timeout proxy-send-timeout
		proxy-next-upstream proxy-next-upstream-tries proxy-next-upstream-timeout proxy-body-size proxy-cookie-domain proxy-cookie-path
		proxy-redirect-from proxy-redirect-to limit-rate limit-rate-after load-balance service-upstream custom-http-errors
		denylist-source-range whitelist-source-range ssl-ciphers disable-proxy-intercept-errors app-root preserve-trailing-slash use-port-in-redirects
		upstream-hash-by upstream-hash-by-subset upstream-hash-by-subset-size opentelemetry-trust-incoming-span proxy-request-buffering client-body-buffer-size
		proxy-buffer-size proxy-buffering proxy-buffers-number proxy-max-temp-file-size`) {
		row := lookUp(key)
		doc := row.Doc
		doc.Text = "Default of the annotation " + key
		out = append(out, Option{Doc: doc, set: func(o *Options, v string) error {
			if strings.TrimSpace(v) == "" {
				return nil
			}
			return row.set(&o.Base, v)
		}})
	}
	return out
}

// tunings are options of nginx's machinery that needs no tuning here.
func tunings() (out []Option) {
	for _, key := range strings.Fields(`
		access-log-params annotation-value-word-blocklist bind-address bind-address-ipv4 bind-address-ipv6 client-header-buffer-size disable-ipv6 disable-ipv6-dns debug-connections default-type disable-stream-access-log
		enable-aio-write enable-multi-accept enable-real-ip enable-serial-reloads error-log-level error-log-path generate-request-id
		grpc-buffer-size-kb http2-max-field-size http2-max-header-size http2-max-requests ignore-invalid-headers lua-shared-dicts
		map-hash-bucket-size max-worker-connections max-worker-open-files nginx-status-ipv4-whitelist nginx-status-ipv6-whitelist
		otel-max-export-batch-size otel-max-queuesize otel-schedule-delay-millis proxy-busy-buffers-size proxy-headers-hash-bucket-size
		proxy-headers-hash-max-size proxy-http-version proxy-ssl-location-only reuse-port server-name-hash-bucket-size server-name-hash-max-size
		server-tokens strict-validate-path-type ssl-buffer-size ssl-dh-param ssl-ecdh-curve ssl-session-cache ssl-session-cache-size ssl-session-tickets ssl-session-timeout stream-access-log-path
		upstream-keepalive-connections upstream-keepalive-requests upstream-keepalive-time upstream-keepalive-timeout
		variables-hash-bucket-size variables-hash-max-size worker-cpu-affinity worker-processes worker-shutdown-timeout`) {
		out = append(out, Option{Doc: dialect.Doc{Key: key, Effect: dialect.Silent, Text: "Accepted without effect"}, set: func(*Options, string) error { return nil }})
	}
	return out
}
