package proxy

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/plan/route"
)

// Tracing sends a span of each request to an OpenTelemetry collector, as JSON over
// HTTP (OTLP 1.x). The protocol is a dozen fields; the SDK would be two dozen modules.
type Tracing struct {
	Endpoint string  // "http://collector:4318"; /v1/traces is appended
	Sample   float64 // the share of requests without a trace of their own that begin one; 0: all
	Service  string  // service.name; "": fairway-gateway
}

// span is the part of a trace that is ours (W3C Trace Context, level 1).
type span struct {
	traceID [16]byte
	id      [8]byte
	parent  [8]byte // zero: the trace begins here
	sampled bool
}

func (s *span) trace() string { return hex.EncodeToString(s.traceID[:]) }

// header is the traceparent for the endpoint.
func (s *span) header() string {
	flags := "00"
	if s.sampled {
		flags = "01"
	}
	return "00-" + s.trace() + "-" + hex.EncodeToString(s.id[:]) + "-" + flags
}

// parseTrace reads a traceparent; false if it is none.
func parseTrace(v string) (s span, ok bool) {
	if len(v) < 55 || v[2] != '-' || v[35] != '-' || v[52] != '-' || v[:2] == "ff" || v[:2] == "00" && len(v) != 55 || strings.ToLower(v) != v {
		return s, false
	}
	var flags [1]byte
	for _, part := range []struct {
		to   []byte
		text string
	}{{s.traceID[:], v[3:35]}, {s.parent[:], v[36:52]}, {flags[:], v[53:55]}} {
		if _, err := hex.Decode(part.to, []byte(part.text)); err != nil {
			return s, false
		}
	}
	s.sampled = flags[0]&1 != 0
	return s, s.traceID != [16]byte{} && s.parent != [8]byte{}
}

// beginSpan begins ours, below that of the client if it has one that counts, and if the
// rule wants any.
func (t *tracing) beginSpan(x *exchange) {
	how := x.plan.Options.Trace
	if x.rule != nil {
		how = x.rule.Trace
	}
	if how == nil && !t.byDefault || how != nil && (how.Off || !how.On && !t.byDefault) {
		return
	}
	s, ok := span{}, false
	if how == nil || !how.Distrust {
		s, ok = parseTrace(x.fields.Get("Traceparent"))
	}
	if !ok {
		s = span{}
		_, _ = rand.Read(s.traceID[:])
	}
	if !ok || !t.sampling.Regards {
		s.sampled = mathrand.Float64() < t.sampling.Share
	}
	_, _ = rand.Read(s.id[:])
	x.span = &s
	x.passSpan()
}

// passSpan lets the endpoint know of our span.
func (x *exchange) passSpan() {
	if x.span != nil {
		x.send = append(x.send, route.Header{Name: "Traceparent", Value: x.span.header()})
	}
}

// tracing is where spans go.
type tracing struct {
	url       string
	service   string
	sampling  nginx.Sampling
	byDefault bool // where a rule does not say whether
}

// tracer gathers spans and sends them; when the collector is slower than the
// requests they are lost, and counted.
type tracer struct {
	given  Tracing                 // as the gateway was started
	to     atomic.Pointer[tracing] // nil: nowhere
	lost   atomic.Uint64
	client http.Client

	mu      sync.Mutex
	waiting []otlpSpan
}

const (
	spansMost  = 4096
	spansEvery = 2 * time.Second
)

func newTracer(o *Tracing) *tracer {
	t := &tracer{client: http.Client{Timeout: 5 * time.Second}}
	if o != nil {
		t.given = *o
	}
	t.configure(&nginx.Tracing{})
	return t
}

// configure takes what the options say; the rest is as the gateway was started.
func (t *tracer) configure(o *nginx.Tracing) {
	to := &tracing{url: o.Collector(), service: o.Service, sampling: nginx.Sampling{Share: 1, Regards: true}, byDefault: t.given.Endpoint != ""}
	if to.url == "" {
		to.url = strings.TrimSuffix(t.given.Endpoint, "/")
	}
	if to.url == "" {
		t.to.Store(nil)
		return
	}
	if to.service == "" {
		to.service = cmp.Or(t.given.Service, "fairway-gateway")
	}
	if o.Sampling != nil {
		to.sampling = *o.Sampling
	} else if t.given.Sample > 0 {
		to.sampling.Share = t.given.Sample
	}
	t.to.Store(to)
}

// The part of opentelemetry-proto's trace.proto that we fill, in its JSON form.
type (
	otlpSpan struct {
		TraceID    string          `json:"traceId"`
		SpanID     string          `json:"spanId"`
		Parent     string          `json:"parentSpanId,omitempty"`
		Name       string          `json:"name"`
		Kind       int             `json:"kind"`
		Start      string          `json:"startTimeUnixNano"`
		End        string          `json:"endTimeUnixNano"`
		Attributes []otlpAttribute `json:"attributes"`
		Status     otlpStatus      `json:"status"`
	}
	otlpAttribute struct {
		Key   string    `json:"key"`
		Value otlpValue `json:"value"`
	}
	otlpValue struct {
		String *string `json:"stringValue,omitempty"`
		Int    *string `json:"intValue,omitempty"`
	}
	otlpStatus struct {
		Code    int    `json:"code,omitempty"`
		Message string `json:"message,omitempty"`
	}
)

const otlpKindServer, otlpError = 2, 2

func text(key, value string) otlpAttribute { return otlpAttribute{key, otlpValue{String: &value}} }

func number(key string, value int) otlpAttribute {
	v := strconv.Itoa(value)
	return otlpAttribute{key, otlpValue{Int: &v}}
}

// end takes the span of a finished exchange, with the names of the semantic
// conventions for HTTP servers.
func (t *tracer) end(x *exchange) {
	s := x.span
	if !s.sampled {
		return
	}
	out := otlpSpan{TraceID: s.trace(), SpanID: hex.EncodeToString(s.id[:]), Name: x.method, Kind: otlpKindServer,
		Start: strconv.FormatInt(x.start.UnixNano(), 10), End: strconv.FormatInt(time.Now().UnixNano(), 10),
		Attributes: []otlpAttribute{text("http.request.method", x.method), text("server.address", x.host), text("url.path", x.path), text("client.address", x.client),
			text("network.protocol.version", strings.TrimPrefix(x.proto, "HTTP/")), number("http.response.status_code", x.writer.status)}}
	if s.parent != [8]byte{} {
		out.Parent = hex.EncodeToString(s.parent[:])
	}
	if x.rule != nil {
		out.Name += " " + x.rule.Match.Path
		if how := x.rule.Trace; how != nil && len(how.Name) > 0 {
			out.Name = x.expand(how.Name)
		}
		out.Attributes = append(out.Attributes, text("http.route", x.rule.Match.Path), text("fairway.ingress", x.rule.Source.Ref.Name.String()))
	}
	if x.endpoint != nil {
		out.Attributes = append(out.Attributes, text("upstream.address", x.endpoint.key.addr.String()), number("http.request.resend_count", x.tries-1))
	}
	if x.writer.status >= 500 {
		out.Status.Code = otlpError
		if x.err != nil {
			out.Status.Message = x.err.Error()
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) >= spansMost {
		t.lost.Add(1)
		return
	}
	t.waiting = append(t.waiting, out)
}

// run sends what has gathered, until ctx ends, and then what is left.
func (t *tracer) run(ctx context.Context) {
	for ended := false; !ended; {
		select {
		case <-ctx.Done():
			ended = true
		case <-time.After(spansEvery):
		}
		t.mu.Lock()
		spans := t.waiting
		t.waiting = nil
		t.mu.Unlock()
		if len(spans) > 0 && t.send(spans) != nil {
			t.lost.Add(uint64(len(spans)))
		}
	}
}

func (t *tracer) send(spans []otlpSpan) error {
	to := t.to.Load()
	if to == nil {
		return errors.New("no collector any more")
	}
	body, err := json.Marshal(map[string]any{"resourceSpans": []any{map[string]any{
		"resource":   map[string]any{"attributes": []otlpAttribute{text("service.name", to.service)}},
		"scopeSpans": []any{map[string]any{"scope": map[string]string{"name": "fairway"}, "spans": spans}},
	}}})
	if err != nil {
		return err
	}
	resp, err := t.client.Post(to.url+"/v1/traces", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("collector answers %s", resp.Status)
	}
	return nil
}
