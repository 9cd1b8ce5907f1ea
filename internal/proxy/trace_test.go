package proxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/testkit"
)

// sink is where a log is written, at its own pace.
type slowSink struct {
	mu   sync.Mutex
	text bytes.Buffer
	hold chan struct{}
}

func (s *slowSink) Write(b []byte) (int, error) {
	if s.hold != nil {
		<-s.hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

// TestAccessLogThatNobodyReads: requests do not wait for it, and neither does the end, as
// the world sees.
func TestAccessLogThatNobodyReads(t *testing.T) {
	t.Parallel()
	nobody, sink := io.Pipe()
	t.Cleanup(func() { nobody.Close() })
	w := newWorld(t, func(o *Options) { o.AccessLog = &AccessLog{To: sink} })
	w.set(service("a"), slice("a", addrOf(w.backend("a"))), ingress("i", "", "/ a"))
	for range 10 {
		if resp, _ := w.get("http://h/"); resp.StatusCode != 200 {
			t.Fatal(resp.Status)
		}
	}
}

func TestAccessLog(t *testing.T) {
	t.Parallel()
	sink := &slowSink{}
	w := newWorld(t, func(o *Options) {
		o.AccessLog = &AccessLog{To: sink, Fields: []string{"method", "host", "path", "status", "user_agent", "rule", "error"}}
	})
	w.set(service("a"), slice("a", addrOf(w.backend("b"))), ingress("i", "h", "/ a"))
	w.get("http://h/x?y=1", "User-Agent", "say \"hi\" \xff")
	w.get("http://other/")
	w.end()
	<-w.ended
	w.ended <- nil
	want := `{"method":"GET","host":"h","path":"/x?y=1","status":200,"user_agent":"say \"hi\" ` + "\ufffd" + `","rule":"Ingress default/i spec.rules[0].http.paths[0]"}
{"method":"GET","host":"other","path":"/","status":404,"user_agent":"Go-http-client/1.1"}
`
	if got := sink.text.String(); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	for line := range strings.Lines(sink.text.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %s", line)
		}
	}
	if (&AccessLog{Fields: []string{"statsu"}}).Check() == nil {
		t.Error("a field that does not exist is accepted")
	}
}

// TestSlowDisk: requests do not wait for the log, and what is lost is counted.
func TestSlowDisk(t *testing.T) {
	t.Parallel()
	sink := &slowSink{hold: make(chan struct{})}
	w := newWorld(t, func(o *Options) { o.AccessLog = &AccessLog{To: sink, Text: true} })
	w.set(service("a"), slice("a", addrOf(w.backend("b"))), ingress("i", "h", "/ a"))
	long := strings.Repeat("x", 20_000)
	for range 120 {
		w.get("http://h/", "User-Agent", long)
	}
	if w.server.log.lost.Load() == 0 {
		t.Error("nothing was lost, or nothing was counted")
	}
	close(sink.hold)
}

// TestTrace: our span is between the client's and the endpoint's.
func TestTrace(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/v1/traces" {
			got <- string(b)
		}
	}))
	t.Cleanup(collector.Close)
	w := newWorld(t, func(o *Options) { o.Tracing = &Tracing{Endpoint: collector.URL} })
	s := w.backendFunc(func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, r.Header.Get("Traceparent")) })
	w.set(service("a"), slice("a", s), ingress("i", "h", "/p a"))
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	_, seen := w.get("http://h/p", "Traceparent", parent)
	if len(seen) != len(parent) || seen[:36] != parent[:36] || seen[36:52] == parent[36:52] {
		t.Fatalf("the endpoint got %q", seen)
	}
	select {
	case text := <-got:
		for _, want := range []string{`"traceId":"0af7651916cd43dd8448eb211c80319c"`, `"parentSpanId":"b7ad6b7169203331"`, `"spanId":"` + seen[36:52] + `"`,
			`"name":"GET /p"`, `{"key":"http.response.status_code","value":{"intValue":"200"}}`, `{"key":"service.name","value":{"stringValue":"fairway-gateway"}}`} {
			if !strings.Contains(text, want) {
				t.Errorf("no %s in %s", want, text)
			}
		}
	case <-time.After(10 * time.Second):
		t.Error("no span came")
	}
	for _, bad := range []string{"", "00-x", strings.ToUpper(parent), "ff" + parent[2:], "00-00000000000000000000000000000000-b7ad6b7169203331-01", parent + "-x"} {
		if _, ok := parseTrace(bad); ok {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// TestTraceAnnotations: an Ingress has spans or not, by its annotations and by the options,
// which name the collector, too.
func TestTraceAnnotations(t *testing.T) {
	t.Parallel()
	var got testkit.Text
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = got.Write(b)
	}))
	t.Cleanup(collector.Close)
	at := addrOf(collector)
	w := newWorld(t)
	s := w.backendFunc(func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, r.Header.Get("Traceparent")) })
	options := func(more ...string) {
		w.set(configMap("fairway-system", "ingress-nginx-controller", append([]string{"otlp-collector-host", at.Addr().String(), "otlp-collector-port", fmt.Sprint(at.Port())}, more...)...))
		for _, r := range w.server.live.Load().plan.Rejected {
			t.Errorf("rejected: %v", r)
		}
	}
	w.set(service("a"), slice("a", s), ingress("i", "none.example", "/p a"),
		annotate(ingress("j", "on.example", "/p a"), "enable-opentelemetry", "true", "opentelemetry-operation-name", "named"),
		annotate(ingress("k", "off.example", "/p a"), "enable-opentelemetry", "false"),
		annotate(ingress("l", "distrust.example", "/p a"), "enable-opentelemetry", "true", "opentelemetry-trust-incoming-span", "false"),
		annotate(ingress("m", "trust.example", "/p a"), "enable-opentelemetry", "true", "opentelemetry-trust-incoming-span", "true"))
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	// What the endpoint gets: the client's header, a child of it, or a trace of ours.
	check := func(what string, want map[string]string) {
		t.Helper()
		for host, want := range want {
			_, seen := w.get("http://"+host+".example/p", "Traceparent", parent)
			is := "ours"
			if seen == parent {
				is = "client's"
			} else if strings.HasPrefix(seen, parent[:36]) {
				is = "child"
			}
			if is != want || want == "" {
				t.Errorf("%s, %s: the endpoint got %q, want %s", what, host, seen, want)
			}
		}
	}
	check("no collector", map[string]string{"none": "client's", "on": "client's"})
	options()
	check("a collector", map[string]string{"none": "client's", "on": "child", "off": "client's", "distrust": "ours", "trust": "child"})
	options("enable-opentelemetry", "true", "opentelemetry-trust-incoming-span", "false", "opentelemetry-operation-name", "HTTP $request_method $service_name $uri", "otel-service-name", "shop")
	check("on for all", map[string]string{"none": "ours", "on": "ours", "off": "client's", "distrust": "ours", "trust": "child"})
	eventually(t, func() bool {
		text := got.String()
		return strings.Contains(text, `"name":"named"`) && strings.Contains(text, `"name":"HTTP GET a /p"`) && strings.Contains(text, `{"key":"service.name","value":{"stringValue":"shop"}}`) && !strings.Contains(text, "off.example")
	}, "the collector has the spans")
	options("enable-opentelemetry", "true", "otel-sampler", "AlwaysOff")
	if _, seen := w.get("http://none.example/p"); !strings.HasSuffix(seen, "-00") {
		t.Errorf("a trace that is not to be recorded: %q", seen)
	}
	if _, seen := w.get("http://none.example/p", "Traceparent", parent); !strings.HasSuffix(seen, "-01") {
		t.Errorf("a trace that its client records: %q", seen)
	}
	options("enable-opentelemetry", "true", "otel-sampler", "TraceIdRatioBased", "otel-sampler-ratio", "0", "otel-sampler-parent-based", "false")
	if _, seen := w.get("http://none.example/p", "Traceparent", parent); !strings.HasSuffix(seen, "-00") || !strings.HasPrefix(seen, parent[:36]) {
		t.Errorf("a trace that is not to be recorded whatever the client does: %q", seen)
	}
}
