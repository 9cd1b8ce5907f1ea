package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

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
		"length and chunks":  "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"unknown coding":     "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n",
		"chunked not last":   "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
		"coding twice":       "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"space before colon": "GET / HTTP/1.1\r\nHost: h\r\nX-A : 1\r\n\r\n",
		"NUL in a value":     "GET / HTTP/1.1\r\nHost: h\r\nX-A: a\x00b\r\n\r\n",
		"bare CR in a value": "GET / HTTP/1.1\r\nHost: h\r\nX-A: a\rX-B: b\r\n\r\n",
		"no host":            "GET / HTTP/1.1\r\n\r\n",
		"two hosts":          "GET / HTTP/1.1\r\nHost: h\r\nHost: g\r\n\r\n",
		"bad host":           "GET / HTTP/1.1\r\nHost: h/x\r\n\r\n",
		"port of letters":    "GET / HTTP/1.1\r\nHost: h:abc\r\n\r\n",
		"port too high":      "GET / HTTP/1.1\r\nHost: h:65536\r\n\r\n",
		"open bracket":       "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
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

// TestFramedAnew: a chunked request reaches the backend with the one end that we
// saw; what follows it is another request.
func TestFramedAnew(t *testing.T) {
	w := newWorld(t)
	got := make(chan string, 2)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- fmt.Sprint(r.Method, " ", r.URL, " ", r.Header["Content-Length"], " ", string(body))
	}))
	t.Cleanup(s.Close)
	w.set(service("a"), slice("a", addrOf(s)), ingress("i", "", "/ a"))
	conn, err := net.Dial("tcp", w.server.Addr("http").String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprint(conn, "POST /one HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n0\r\n\r\n"+
		"GET /two HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	r := bufio.NewReader(conn)
	for _, want := range []string{"POST /one [5] hello", "GET /two [] "} {
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%v %v", resp, err)
		}
		io.Copy(io.Discard, resp.Body)
		if seen := <-got; seen != want {
			t.Errorf("the backend saw %q, want %q", seen, want)
		}
	}
}

// TestNoUpgradeToHTTP2: a connection that speaks HTTP/2 with a pod behind our back would
// reach what rules guard.
func TestNoUpgradeToHTTP2(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, h := seen(t)
	w.set(service("a"), slice("a", addrOf(s)), ingress("i", "", "/ a"))
	for protocol, want := range map[string]string{"h2c": "", "H2C": "", "websocket, h2c": "", "websocket": "websocket"} {
		resp, _ := w.get("http://h/", "Connection", "Upgrade, HTTP2-Settings", "Upgrade", protocol, "HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA")
		if got := h.Get("Upgrade"); resp.StatusCode != 200 || got != want || h.Get("HTTP2-Settings") != "" {
			t.Errorf("%s: %d, the pod sees %q %v", protocol, resp.StatusCode, got, *h)
		}
	}
	if s := w.extendedConnect("h2c", "h"); s.Response.Status != 501 {
		t.Errorf("over HTTP/2: %d", s.Response.Status)
	}
}

// TestURIAsItCame: an empty query stays one, over every version.
func TestURIAsItCame(t *testing.T) {
	w := newWorld(t)
	w.set(service("a"), slice("a", addrOf(w.backend("a"))), ingress("i", "", "/ a"))
	for _, scheme := range []string{"http", "https"} {
		for _, uri := range []string{"/two?", "/two", "/two??", "/two?a=b", "/%41//b?"} {
			if _, text := w.get(scheme + "://h.example" + uri); !strings.HasPrefix(text, "a GET "+uri+" ") {
				t.Errorf("%s %s: %s", scheme, uri, text)
			}
		}
	}
}

// TestTwoFramings: after a response with a length and chunks, of which the chunks count,
// nothing more is read from the pod's connection (RFC 9112, section 6.3).
func TestTwoFramings(t *testing.T) {
	w := newWorld(t)
	conns := make(chan string, 8)
	addr := listening(t, func(conn net.Conn) {
		r := bufio.NewReader(conn)
		for n := 1; ; n++ {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			conns <- fmt.Sprint("request ", n, " of a connection")
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
		}
	})
	w.set(service("a"), slice("a", addr), ingress("i", "", "/ a"))
	for range 2 {
		if resp, text := w.get("http://h.example/"); text != "ok" || resp.Header.Get("Content-Length") != "" {
			t.Errorf("%v %q", resp.Header, text)
		}
		if got := <-conns; got != "request 1 of a connection" {
			t.Errorf("%s", got)
		}
	}
}
