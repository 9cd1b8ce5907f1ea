package proxy

import (
	"fmt"
	"io"
	"net"
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

// TestAmbiguousRequests: what two parsers may read differently is refused and
// reaches no backend.
func TestAmbiguousRequests(t *testing.T) {
	w := newWorld(t)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a backend got %s %s %v", r.Method, r.URL, r.Header)
	}))
	t.Cleanup(s.Close)
	w.set(service("a"), slice("a", addrOf(s)), ingress("i", "", "/ a"))
	for name, raw := range map[string]string{
		"two lengths":        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"listed lengths":     "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 2\r\n\r\nab",
		"signed length":      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\na",
		"unknown coding":     "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n",
		"chunked not last":   "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
		"coding twice":       "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"space before colon": "GET / HTTP/1.1\r\nHost: h\r\nX-A : 1\r\n\r\n",
		"NUL in a value":     "GET / HTTP/1.1\r\nHost: h\r\nX-A: a\x00b\r\n\r\n",
		"bare CR in a value": "GET / HTTP/1.1\r\nHost: h\r\nX-A: a\rX-B: b\r\n\r\n",
		"no host":            "GET / HTTP/1.1\r\n\r\n",
		"two hosts":          "GET / HTTP/1.1\r\nHost: h\r\nHost: g\r\n\r\n",
		"bad host":           "GET / HTTP/1.1\r\nHost: h/x\r\n\r\n",
		"space in target":    "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
		"dots":               "GET /a/%2e%2e/b HTTP/1.1\r\nHost: h\r\n\r\n",
		"NUL in target":      "GET /a%00 HTTP/1.1\r\nHost: h\r\n\r\n",
	} {
		conn, err := net.Dial("tcp", w.server.Addr("http").String())
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(2 * time.Second))
		fmt.Fprint(conn, raw)
		line := make([]byte, 12)
		_, err = io.ReadFull(conn, line)
		conn.Close()
		if got := string(line); err != nil || got != "HTTP/1.1 400" && got != "HTTP/1.1 501" /* a coding that is not implemented, RFC 9112, section 6.1 */ {
			t.Errorf("%s: %q, %v", name, line, err)
		}
	}
}
