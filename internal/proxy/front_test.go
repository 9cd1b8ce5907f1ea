package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// behind is a world with one backend for all requests.
func behind(t testing.TB, h http.HandlerFunc) *world {
	w := newWorld(t)
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	w.set(service("a"), slice("a", addrOf(s)), annotate(ingress("i", "", "/ a"), "proxy-request-buffering", "off"))
	return w
}

// raw is a connection to the gateway without a client library in between.
type raw struct {
	t testing.TB
	net.Conn
	*bufio.Reader
}

func (w *world) raw(listener string) *raw {
	w.t.Helper()
	c, err := net.Dial("tcp", w.server.Addr(listener).String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if listener == "https" {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: "h", NextProtos: []string{"http/1.1"}})
	}
	return &raw{w.t, c, bufio.NewReader(c)}
}

func (r *raw) Read(b []byte) (int, error) { return r.Reader.Read(b) }

func (r *raw) send(text string) {
	r.t.Helper()
	if _, err := io.WriteString(r.Conn, text); err != nil {
		r.t.Fatal(err)
	}
}

// response reads one, with its body.
func (r *raw) response(method string) (*http.Response, string) {
	r.t.Helper()
	resp, err := http.ReadResponse(r.Reader, &http.Request{Method: method})
	if err != nil {
		r.t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp, string(body)
}

// ends says that the gateway closes the connection, having said nothing more.
func (r *raw) ends() {
	r.t.Helper()
	if b, err := io.ReadAll(r.Reader); err != nil || len(b) > 0 {
		r.t.Errorf("the connection does not end: %q, %v", b, err)
	}
}

func echoBody(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(rw, "%s %s %v %s", r.Method, r.RequestURI, r.ContentLength, body)
}

// TestPipelining sends requests with bodies of all kinds in one write: each is
// answered, in order, and nothing of one becomes part of another.
func TestPipelining(t *testing.T) {
	for _, listener := range []string{"http", "https"} {
		c := behind(t, echoBody).raw(listener)
		c.send("GET /1 HTTP/1.1\r\nHost: h\r\n\r\n" +
			"POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc" +
			"POST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n" +
			"GET /4 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /5 HTTP/1.1\r\nHost: h\r\n\r\n")
		for _, want := range []string{"GET /1 0 ", "POST /2 3 abc", "POST /3 -1 abcde", "GET /4 0 "} {
			resp, body := c.response("GET")
			if body != want || resp.Close != strings.HasPrefix(want, "GET /4") {
				t.Errorf("%s: %q, close %v; want %q", listener, body, resp.Close, want)
			}
		}
		c.ends()
	}
}

// TestEveryCut sends a request octet by octet.
func TestEveryCut(t *testing.T) {
	c := behind(t, echoBody).raw("http")
	for _, text := range []string{"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n", "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n"} {
		for i := range len(text) {
			c.send(text[i : i+1])
			time.Sleep(100 * time.Microsecond)
		}
		if resp, body := c.response("GET"); resp.StatusCode != 200 || !strings.Contains(body, " /1 ") {
			t.Errorf("%d %q", resp.StatusCode, body)
		}
	}
}

// TestRefusedAndClosed: after a 400 nothing of the connection is believed.
func TestRefusedAndClosed(t *testing.T) {
	w := behind(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("a backend got %s %s", r.Method, r.URL) })
	for name, c := range map[string]struct {
		text   string
		status int
	}{
		"bare LF":       {"GET / HTTP/1.1\nHost: h\n\nGET /x HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		"obs-fold":      {"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\nGET /x HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		"equal lengths": {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\naGET /x HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		"chunks in 1.0": {"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		"huge head":     {"GET / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 40000) + "\r\n\r\n", 431},
		"version":       {"GET / HTTP/3.0\r\nHost: h\r\n\r\n", 505},
		"expectation":   {"GET / HTTP/1.1\r\nHost: h\r\nExpect: 200-ok\r\n\r\n", 417},
		"connect":       {"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\nConnection: close\r\n\r\n", 405},
		"TLS to plain":  {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
		"asterisk":      {"OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 400},
	} {
		conn := w.raw("http")
		conn.send(c.text)
		if resp, _ := conn.response("GET"); resp.StatusCode != c.status || !resp.Close {
			t.Errorf("%s: %d, close %v; want %d", name, resp.StatusCode, resp.Close, c.status)
		}
		conn.ends()
	}
}

// TestBadChunkIsRefused: a body that breaks off into nonsense ends the connection
// on both sides, and the backend never sees a complete request.
func TestBadChunkIsRefused(t *testing.T) {
	whole := make(chan bool, 1)
	w := behind(t, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		whole <- err == nil
	})
	c := w.raw("http")
	c.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\nabc\r\n0\r\n\r\n")
	if resp, body := c.response("POST"); resp.StatusCode != 400 || !resp.Close || !strings.Contains(body, "chunk") {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	c.ends()
	if <-whole {
		t.Error("the backend saw the end of the body")
	}
}

// TestContinue: a client that waits for 100 gets it, and is not asked for a body
// that is too large.
func TestContinue(t *testing.T) {
	w := behind(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Expect") != "" {
			t.Error("Expect was passed on")
		}
		echoBody(rw, r)
	})
	c := w.raw("http")
	c.send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	if resp, _ := c.response("POST"); resp.StatusCode != 100 {
		t.Fatalf("%d", resp.StatusCode)
	}
	c.send("hello")
	resp, body := c.response("POST")
	if resp.StatusCode != 200 || body != "POST /x 5 hello" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	if resp.Close { // the answer can be here before we know that the endpoint has the body
		c = w.raw("http")
	}
	w.set(annotate(ingress("i", "", "/ a"), "proxy-body-size", "4"))
	c.send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	if resp, _ := c.response("POST"); resp.StatusCode != 413 || !resp.Close {
		t.Errorf("%d, close %v", resp.StatusCode, resp.Close)
	}
}

// TestLongBodies moves bodies that fit into no buffer, both ways at once, over
// each kind of connection.
func TestLongBodies(t *testing.T) {
	const size = 3 << 20
	w := behind(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/length" {
			rw.Header().Set("Content-Length", fmt.Sprint(size))
		}
		http.NewResponseController(rw).EnableFullDuplex()
		_, _ = io.Copy(rw, r.Body)
	})
	w.set(annotate(ingress("i", "", "/ a"), "proxy-body-size", "0"))
	data := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	for _, listener := range []string{"http", "https"} {
		for _, path := range []string{"/length", "/chunks"} {
			c := w.raw(listener)
			go fmt.Fprintf(c.Conn, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", path, size, data)
			if resp, body := c.response("POST"); resp.StatusCode != 200 || body != string(data) {
				t.Errorf("%s %s: %d, %d octets", listener, path, resp.StatusCode, len(body))
			}
			c.send("GET /chunks HTTP/1.1\r\nHost: h\r\n\r\n")
			if resp, _ := c.response("GET"); resp.StatusCode != 200 {
				t.Errorf("%s %s: the connection is not used again", listener, path)
			}
		}
	}
}

// TestEarlyAnswer: an endpoint answers without reading the body; the client gets
// that answer although it still sends.
func TestEarlyAnswer(t *testing.T) {
	w := behind(t, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusForbidden) })
	w.set(annotate(ingress("i", "", "/ a"), "proxy-body-size", "0"))
	resp, _, err := w.try(w.client(), "POST", "http://h/", bytes.NewReader(make([]byte, 8<<20)))
	if err != nil || resp.StatusCode != 403 {
		t.Errorf("%v %v", resp, err)
	}
}

// TestTrailers passes trailers on in both directions.
func TestTrailers(t *testing.T) {
	w := behind(t, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		rw.Header().Set("Trailer", "X-Sum")
		fmt.Fprint(rw, r.Trailer.Get("X-In"))
		rw.Header().Set("X-Sum", "7")
	})
	c := w.raw("http")
	c.send("POST / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-In\r\n\r\n1\r\na\r\n0\r\nX-In: 5\r\nContent-Length: 9\r\n\r\n")
	resp, body := c.response("POST")
	if body != "5" && body != "" || resp.Trailer.Get("X-Sum") != "7" {
		t.Errorf("%q, trailer %v", body, resp.Trailer)
	}
}

// TestPriorKnowledge: HTTP/2 without TLS on the same port.
func TestPriorKnowledge(t *testing.T) {
	w := behind(t, echoBody)
	tr := &http.Transport{Protocols: new(http.Protocols), DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", w.server.Addr("http").String())
	}}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	resp, err := (&http.Client{Transport: tr, Timeout: 5 * time.Second}).Get("http://h/x")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.ProtoMajor != 2 || string(body) != "GET /x 0 " {
		t.Errorf("%s %q", resp.Proto, body)
	}
}

// TestRestingConnections: a connection between requests holds no buffer, and
// works again afterwards.
func TestRestingConnections(t *testing.T) {
	w := behind(t, echoBody)
	for _, listener := range []string{"http", "https"} {
		c := w.raw(listener)
		for range 2 {
			c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			if resp, _ := c.response("GET"); resp.StatusCode != 200 {
				t.Fatalf("%d", resp.StatusCode)
			}
			time.Sleep(2*idleTick + 300*time.Millisecond)
		}
	}
}

// TestUpgrade changes the protocol, with TLS and without, and with octets of the
// new one right behind the request.
func TestUpgrade(t *testing.T) {
	w := behind(t, func(rw http.ResponseWriter, r *http.Request) {
		conn, buf, err := http.NewResponseController(rw).Hijack()
		if err != nil || r.Header.Get("Upgrade") != "echo" {
			return
		}
		defer conn.Close()
		fmt.Fprint(buf, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nhello ")
		buf.Flush()
		_, _ = io.Copy(conn, buf)
	})
	for _, listener := range []string{"http", "https"} {
		c := w.raw(listener)
		c.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly ")
		resp, err := http.ReadResponse(c.Reader, nil)
		if err != nil || resp.StatusCode != 101 || resp.Header.Get("Connection") != "Upgrade" {
			t.Fatalf("%s: %v %v", listener, resp, err)
		}
		c.send("late ")
		got := make([]byte, len("hello early late "))
		if _, err := io.ReadFull(c.Reader, got); err != nil || string(got) != "hello early late " {
			t.Errorf("%s: %q %v", listener, got, err)
		}
		c.Close()
	}
	eventually(t, func() bool { return w.server.active.Load() == 0 }, "the exchanges end with their clients")
}

// TestIdleConnectionsEnd: those that wait for a request do not hold up the end.
func TestIdleConnectionsEnd(t *testing.T) {
	w := behind(t, echoBody)
	var conns []*raw
	for _, listener := range []string{"http", "https", "http"} {
		c := w.raw(listener)
		c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		c.response("GET")
		conns = append(conns, c)
	}
	conns = append(conns, w.raw("http")) // has not said anything
	time.Sleep(3 * idleTick)             // some rest by now
	begun := time.Now()
	w.end()
	for _, c := range conns {
		c.ends()
	}
	if err := <-w.ended; err != nil || time.Since(begun) > 3*time.Second {
		t.Errorf("the end took %v, %v", time.Since(begun), err)
	}
	w.ended <- nil
	w.server.frontsMu.Lock()
	defer w.server.frontsMu.Unlock()
	if n := len(w.server.fronts); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

// TestClientsThatDoNotRead hold nobody else up, and end with their connection.
func TestClientsThatDoNotRead(t *testing.T) {
	w := behind(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			_, _ = rw.Write(make([]byte, 32<<20))
		}
	})
	for range 50 {
		w.raw("http").send("GET /long HTTP/1.1\r\nHost: h\r\n\r\n")
	}
	eventually(t, func() bool { return w.server.active.Load() == 50 }, "all are under way")
	for range 50 {
		if resp, _ := w.get("http://h/"); resp.StatusCode != 200 {
			t.Fatalf("%d", resp.StatusCode)
		}
	}
}
