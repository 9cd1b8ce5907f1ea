package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/plan/route"
)

// timeouts gives all rules of the plan other timeouts and puts it into the server.
func (w *world) timeouts(to route.Timeouts) {
	snap, _ := w.watch.Take()
	p := route.Make(snap, route.Params{}, time.Now())
	for h := range p.Listeners[0].Hosts.All {
		for _, r := range h.Rules {
			r.Forward.Timeouts = to
		}
	}
	w.server.Apply(p)
}

// TestReadTimeout: the time runs between two reads, not over the whole.
func TestReadTimeout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var n, ms int
		fmt.Sscanf(r.URL.Path, "/%d/%d", &n, &ms)
		if r.URL.Path == "/upload" {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		for range n {
			time.Sleep(time.Duration(ms) * time.Millisecond)
			fmt.Fprint(rw, ".")
			rw.(http.Flusher).Flush()
		}
	}))
	t.Cleanup(s.Close)
	w.set(service("a"), slice("a", addrOf(s)), ingress("i", "", "/ a"))
	w.timeouts(route.Timeouts{Connect: time.Second, Send: time.Second, Read: time.Second})
	if resp, text := w.get("http://h/4/300"); resp.StatusCode != 200 || text != "...." {
		t.Errorf("4 × 300 ms: %d %q", resp.StatusCode, text)
	}
	if resp, text := w.get("http://h/1/6000"); resp.StatusCode != 504 || !strings.Contains(text, "no answer within the read timeout") {
		t.Errorf("1 × 6 s: %d %q", resp.StatusCode, text)
	}
	// A slow client is not the endpoint's fault.
	slow, pw := io.Pipe()
	go func() {
		for range 4 {
			time.Sleep(300 * time.Millisecond)
			fmt.Fprint(pw, "x")
		}
		pw.Close()
	}()
	if resp, text := w.request("POST", "http://h/upload", slow); resp.StatusCode != 200 {
		t.Errorf("slow upload: %d %q", resp.StatusCode, text)
	}
}

// TestBlackHole: an endpoint that never answers a SYN costs little while there
// is another one. A listener whose backlog is full drops SYNs.
func TestBlackHole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hole := blackHole(t)
	good := w.backend("good")
	w.set(service("a"), sliceNamed("a-0", "a", hole), sliceNamed("a-1", "a", addrOf(good)), ingress("i", "", "/ a"))
	w.turnOf(named("a"), hole)
	start := time.Now()
	if resp, text := w.get("http://h/"); resp.StatusCode != 200 {
		t.Fatalf("%d %q", resp.StatusCode, text)
	}
	if took := time.Since(start); took < patience || took > 4*patience {
		t.Errorf("the first request took %v, want a little over %v", took, patience)
	}
	start = time.Now()
	w.get("http://h/")
	if took := time.Since(start); took > patience {
		t.Errorf("the second request took %v: the endpoint was not left alone", took)
	}
}
