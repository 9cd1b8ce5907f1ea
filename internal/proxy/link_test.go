package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/testkit"
)

// TestFramesOfResponses: what a backend may do to delimit a response, and what
// the client of each version gets.
func TestFramesOfResponses(t *testing.T) {
	for name, c := range map[string]struct{ method, answer, body, frame string }{
		"length":            {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", "3"},
		"chunks":            {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;e\r\nbc\r\n0\r\n\r\n", "abc", "chunked"},
		"end of connection": {"GET", "HTTP/1.0 200 OK\r\n\r\nabc", "abc", "chunked"},
		"HEAD":              {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "", "3"},
		"204":               {"GET", "HTTP/1.1 204 No Content\r\n\r\n", "", "0"},
		"304":               {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", "", "3"},
		"early hints":       {"GET", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", "a", "1"},
		"no reason":         {"GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "", "0"},
	} {
		for minor := range 2 {
			w := newWorld(t)
			w.set(service("a"), slice("a", scripted(t, c.answer)), ingress("i", "", "/ a"))
			conn := w.raw("http")
			conn.send(fmt.Sprintf("%s / HTTP/1.%d\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", c.method, minor))
			resp, body := conn.response(c.method)
			if name == "early hints" && minor == 1 {
				if resp.StatusCode != 103 || resp.Header.Get("Link") != "x" {
					t.Errorf("interim response: %d %v", resp.StatusCode, resp.Header)
				}
				resp, body = conn.response(c.method)
			}
			frame := fmt.Sprint(resp.ContentLength)
			if len(resp.TransferEncoding) > 0 {
				frame = resp.TransferEncoding[0]
			}
			if said := resp.Header.Get("Content-Length"); said != "" {
				frame = said
			}
			want := c.frame
			if minor == 0 && want == "chunked" {
				want = "-1"
			}
			if body != c.body || frame != want || resp.Close != (want == "-1") || resp.Header.Get("Date") == "" {
				t.Errorf("%s to 1.%d: %q framed by %s, close %v; want %q by %s", name, minor, body, frame, resp.Close, c.body, want)
			}
		}
	}
}

// TestBadResponses: what is no response is a 502, and what breaks off does not
// look complete.
func TestBadResponses(t *testing.T) {
	for name, answer := range map[string]string{
		"nonsense": "hello\r\n\r\n", "nothing": "", "two lengths": "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"upgrade": "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "NUL": "HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n",
	} {
		w := newWorld(t)
		w.set(service("a"), slice("a", scripted(t, answer)), ingress("i", "", "/ a"))
		if resp, body := w.get("http://h/"); resp.StatusCode != 502 {
			t.Errorf("%s: %d %q", name, resp.StatusCode, body)
		}
	}
	for name, answer := range map[string]string{
		"length": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	} {
		w := newWorld(t)
		w.set(service("a"), slice("a", scripted(t, answer)), ingress("i", "", "/ a"))
		if _, body, err := w.try(w.client(), "GET", "http://h/", nil); err == nil {
			t.Errorf("%s that breaks off was taken as %q", name, body)
		}
	}
}

// scripted is a backend that reads the head of one request, says something and closes.
func scripted(t *testing.T, answer string) netip.AddrPort {
	return listening(t, func(c net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(c))
		_, _ = io.WriteString(c, answer)
	})
}

// listening is a backend that serves each connection as it is told.
func listening(t *testing.T, serve func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	testkit.Accept(l, serve)
	return addrPort(l.Addr())
}

// TestHTTP1ClientHTTP2Endpoint: what one side has and the other has not is made up for.
func TestHTTP1ClientHTTP2Endpoint(t *testing.T) {
	w := newWorld(t)
	s := handledInHTTP2(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Trailer", "Grpc-Status")
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(rw, "%s %s %s %s", r.Proto, r.Method, r.RequestURI, body)
		rw.Header().Set("Grpc-Status", "0")
	})
	ing := ingress("i", "", "/ a")
	ing.Annotations[nginx.Prefix+"backend-protocol"] = "GRPC"
	w.set(service("a"), slice("a", addrOf(s)), ing)
	c := w.raw("http")
	for range 2 {
		c.send("POST /x?y HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nping\r\n0\r\n\r\n")
		if resp, body := c.response("POST"); body != "HTTP/2.0 POST /x?y ping" || resp.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("%d %q, trailer %v", resp.StatusCode, body, resp.Trailer)
		}
		c.send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
		if resp, _ := c.response("POST"); resp.StatusCode != 100 {
			t.Fatalf("%d", resp.StatusCode)
		}
		c.send("pong")
		if _, body := c.response("POST"); body != "HTTP/2.0 POST /x pong" {
			t.Errorf("%q", body)
		}
	}
}

// TestBrokenHTTP2Response: a response that breaks off does not look complete.
func TestBrokenHTTP2Response(t *testing.T) {
	w := newWorld(t)
	s := handledInHTTP2(t, func(rw http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(rw, "begun")
		rw.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	ing := ingress("i", "", "/ a")
	ing.Annotations[nginx.Prefix+"backend-protocol"] = "GRPC"
	w.set(service("a"), slice("a", addrOf(s)), ing)
	c := w.raw("http")
	c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	resp, err := http.ReadResponse(c.Reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("%q was taken for all of it", body)
	}
}

// TestDeadLink: an idle connection that the endpoint has closed costs no request
// its answer, not even one that cannot be sent again.
func TestDeadLink(t *testing.T) {
	w := newWorld(t)
	s := httptest.NewServer(http.HandlerFunc(echoBody))
	t.Cleanup(s.Close)
	w.set(service("a"), slice("a", addrOf(s)), ingress("i", "", "/ a"))
	c := w.client()
	for i := range 20 {
		method := []string{"POST", "GET", "PATCH"}[i%3]
		resp, text, err := w.try(c, method, "http://h/", strings.NewReader("x"))
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%d, %s: %v %v %s", i, method, resp, err, text)
		}
		s.CloseClientConnections()
		time.Sleep(time.Millisecond)
	}
}

// TestLinksAreShared: requests one after the other need one connection.
func TestLinksAreShared(t *testing.T) {
	w := newWorld(t)
	opened := 0
	s := httptest.NewUnstartedServer(http.HandlerFunc(echoBody))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened++
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	w.set(service("a"), slice("a", addrOf(s)), ingress("i", "", "/ a"))
	for range 50 {
		w.get("http://h/")
		w.request("POST", "http://h/", strings.NewReader("x"))
	}
	if opened != 1 {
		t.Errorf("%d connections", opened)
	}
}
