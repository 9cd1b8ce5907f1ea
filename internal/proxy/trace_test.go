package proxy

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
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
