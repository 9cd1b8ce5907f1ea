package nginx

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
)

// Trace is the group of opentelemetry.
type Trace struct {
	On       *bool            // nil: as the gateway was started
	Distrust bool             // traces of clients are not gone on with
	Name     dialect.Template // of the span; empty: method and path of the rule
}

// Sampling decides about traces that begin here.
type Sampling struct {
	Share   float64 // of requests, 0 to 1
	Regards bool    // where the client has a trace, its decision counts
}

// Tracing is what the options say of traces.
type Tracing struct {
	Host     string // of the collector; "": as the gateway was started
	Port     int
	Service  string    // service.name; "": as the gateway was started
	Sampling *Sampling // nil: as the gateway was started
}

// Collector is the URL of the collector, or "".
func (t *Tracing) Collector() string {
	if t.Host == "" {
		return ""
	}
	return fmt.Sprintf("http://%s:%d", t.Host, t.Port)
}

// otlpPort is that of OTLP over HTTP.
const otlpPort = 4318

func traceTable() []Annotation {
	return []Annotation{
		{dialect.Doc{Key: "enable-opentelemetry", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Whether requests make spans. By default as the option says; without it they do where the gateway was started with --otlp"},
			func(s *Settings, v string) error { return setFlag(&s.Trace.On, v) }},
		{dialect.Doc{Key: "opentelemetry-operation-name", Default: "method and path of the rule", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Name of the span; letters, digits, - and _"},
			func(s *Settings, v string) error {
				if strings.ContainsFunc(v, func(r rune) bool {
					return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
				}) {
					return &dialect.ValueError{Problem: fmt.Sprintf("%q is no name of a span", v), Fix: "write letters, digits, - and _"}
				}
				s.Trace.Name = dialect.Text(v)
				return nil
			}},
		{dialect.Doc{Key: "opentelemetry-trust-incoming-span", Default: "true", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Whether a span is a child of the client's, if it has one (traceparent); else a trace begins here"},
			func(s *Settings, v string) error {
				yes, err := parseBool(v)
				s.Trace.Distrust = err == nil && !yes
				return err
			}},
	}
}

// traceOptions are about the collector, and about traces of all Ingresses.
func traceOptions() []Option {
	sampling := func(o *Options) *Sampling {
		if o.Tracing.Sampling == nil { // the defaults of ingress-nginx
			o.Tracing.Sampling = &Sampling{Share: 1, Regards: true}
		}
		return o.Tracing.Sampling
	}
	return []Option{
		{Doc: dialect.Doc{Key: "enable-opentelemetry", Text: "Whether requests make spans, where no annotation says something else. Without it they do where the gateway was started with --otlp"},
			set: func(o *Options, v string) error { return setFlag(&o.Base.Trace.On, v) }},
		{Doc: dialect.Doc{Key: "opentelemetry-operation-name", Default: "method and path of the rule", Text: "Name of spans, as in HTTP $request_method $service_name $uri"},
			set: func(o *Options, v string) error { return set(&o.Base.Trace.Name, v, parseText) }},
		{Doc: dialect.Doc{Key: "otel-sampler", Default: "AlwaysOn", Text: "Which traces that begin here are recorded: AlwaysOn, AlwaysOff or TraceIdRatioBased"},
			set: func(o *Options, v string) error {
				kind, err := oneOf(v, "AlwaysOn", "AlwaysOff", "TraceIdRatioBased")
				switch {
				case err != nil:
					return err
				case kind == "TraceIdRatioBased":
					sampling(o).Share = o.ratio
				default:
					sampling(o).Share = map[string]float64{"AlwaysOn": 1}[kind]
				}
				o.rated = kind == "TraceIdRatioBased"
				return nil
			}},
		{Doc: dialect.Doc{Key: "otel-sampler-parent-based", Default: "true", Text: "Where a client has a trace, its decision counts"},
			set: func(o *Options, v string) error { return set(&sampling(o).Regards, v, parseBool) }},
		{Doc: dialect.Doc{Key: "otel-sampler-ratio", Default: "0.01", Text: "Share of the traces for TraceIdRatioBased"},
			set: func(o *Options, v string) error {
				share, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
				if err != nil || share < 0 || share > 1 {
					return &dialect.ValueError{Problem: fmt.Sprintf("%q is no share", v), Fix: "write a number from 0 to 1"}
				}
				if o.ratio = share; o.rated {
					sampling(o).Share = share
				}
				return nil
			}},
		{Doc: dialect.Doc{Key: "otel-service-name", Default: "fairway-gateway", Text: "service.name of the spans"},
			set: func(o *Options, v string) error { return set(&o.Tracing.Service, v, parseText1) }},
		{Doc: dialect.Doc{Key: "otlp-collector-host", Text: "Where spans are sent to, as OTLP over HTTP; the flag --otlp of the gateway does the same"},
			set: func(o *Options, v string) error { return set(&o.Tracing.Host, v, dialect.ParseHost) }},
		{Doc: dialect.Doc{Key: "otlp-collector-port", Default: "4318", Text: "The collector's port for OTLP over HTTP. ingress-nginx speaks gRPC, to 4317: that port is refused"},
			set: func(o *Options, v string) error {
				n, err := parseCount(v)
				if err == nil && (n < 1 || n > 65535 || n == 4317) {
					err = &dialect.ValueError{Problem: fmt.Sprintf("port %d is not one of OTLP over HTTP", n), Fix: "write that of the collector's http receiver, which is 4318 unless somebody chose another"}
				}
				if err == nil {
					o.Tracing.Port = n
				}
				return err
			}},
	}
}

// parseText1 accepts a text without variables.
func parseText1(v string) (string, error) {
	t, err := parseText(v)
	if err != nil {
		return "", err
	}
	text, plain := t.Plain()
	if !plain {
		return "", &dialect.ValueError{Problem: fmt.Sprintf("%q has a variable", v), Fix: "write a text without $"}
	}
	return text, nil
}

func setFlag(dst **bool, v string) error {
	yes, err := parseBool(v)
	if err == nil {
		*dst = &yes
	}
	return err
}
