package proxy

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/proxy/h1"
	"github.com/fairway-net/fairway/internal/proxy/h2"
	"github.com/fairway-net/fairway/internal/testkit"
)

// shouter is a TCP server that is no HTTP server: it greets, and then says in capitals
// whatever it hears.
func shouter(t *testing.T) (addr netip.AddrPort, conns *atomic.Int64) {
	t.Helper()
	conns = new(atomic.Int64)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	testkit.Accept(l, func(c net.Conn) {
		conns.Add(1)
		io.WriteString(c, "hello\n")
		for b := make([]byte, 4096); ; {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			c.Write(bytes.ToUpper(b[:n]))
		}
	})
	return l.Addr().(*net.TCPAddr).AddrPort(), conns
}

// connectWorld has host h.example, whose Ingress allows CONNECT, and no.example, which does not.
func connectWorld(t *testing.T, pairs ...string) (*world, *atomic.Int64) {
	t.Helper()
	addr, conns := shouter(t)
	w := newWorld(t, func(o *Options) { o.HTTP3 = true })
	yes := ingress("yes", "h.example", "/ a", "/other b")
	yes.Annotations["fairway.dev/connect"] = "true"
	for i := 0; i < len(pairs); i += 2 {
		yes.Annotations[pairs[i]] = pairs[i+1]
	}
	w.set(service("a"), slice("a", addr), service("b"), slice("b", addrOf(w.backend("b"))), yes, ingress("no", "no.example", "/ a"))
	return w, conns
}

// chat speaks with a shouter.
func chat(t *testing.T, c io.ReadWriter, already string) {
	t.Helper()
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); err != nil || line != "hello\n" {
		t.Fatalf("greeting %q, %v", line, err)
	}
	long := strings.Repeat("abc", 50_000) + "\n"
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(c, long)
		sent <- err
	}()
	want := strings.ToUpper(already + long)
	if line, err := r.ReadString('\n'); err != nil || line != want {
		t.Errorf("%d octets, %v, want %d", len(line), err, len(want))
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// TestConnect: the tunnel leads to an endpoint of the rule, whatever the client speaks.
func TestConnect(t *testing.T) {
	t.Parallel()
	w, _ := connectWorld(t)
	t.Run("HTTP/1", func(t *testing.T) {
		c := w.raw("http")
		c.send("CONNECT h.example:22 HTTP/1.1\r\nHost: h.example:22\r\n\r\nearly ") // without waiting for the answer
		resp, err := http.ReadResponse(c.Reader, &http.Request{Method: "CONNECT"})
		if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Length") != "" || resp.TransferEncoding != nil || resp.Header.Get("Connection") != "" {
			t.Fatal(resp, err)
		}
		chat(t, struct {
			io.Reader
			io.Writer
		}{c.Reader, c.Conn}, "early ")
	})
	t.Run("HTTP/2", func(t *testing.T) {
		raw, err := net.Dial("tcp", w.server.Addr("http").String())
		if err != nil {
			t.Fatal(err)
		}
		conn := h2.New(h1.NewConn(raw), newUpstreamOptions(), nil)
		t.Cleanup(conn.Close)
		go func() { _ = conn.Serve() }()
		s := conn.Open(false, false, func(e *h2.Encoder) {
			e.Field(":method", "CONNECT")
			e.Field(":authority", "h.example:22")
		})
		if err := s.AwaitHead(5 * time.Second); err != nil || s.Response.Status != 200 {
			t.Fatal(s.Response.Status, err)
		}
		chat(t, &streamPipe{s}, "")
	})
	t.Run("HTTP/3", func(t *testing.T) {
		resp, s := w.connectOverHTTP3("h.example:22")
		if resp.StatusCode != 200 {
			t.Fatal(resp)
		}
		chat(t, s, "")
	})
}

func (w *world) connectOverHTTP3(authority string) (*http.Response, *http3.RequestStream) {
	w.t.Helper()
	tr := &http3.Transport{}
	w.t.Cleanup(func() { tr.Close() })
	s, err := tr.NewClientConn(w.quicConn()).OpenRequestStream(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodConnect, "https://"+authority, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := s.SendRequestHeader(r); err != nil {
		w.t.Fatal(err)
	}
	resp, err := s.ReadResponse()
	if err != nil {
		w.t.Fatal(err)
	}
	return resp, s
}

// TestConnectRefused: what is not allowed, or has not the form of CONNECT, reaches nobody;
// and what a client has sent behind it, hoping for a tunnel, is not read as a request.
func TestConnectRefused(t *testing.T) {
	t.Parallel()
	w, conns := connectWorld(t)
	for name, c := range map[string]struct {
		head   string
		status int
	}{
		"not asked for":    {"CONNECT no.example:80 HTTP/1.1\r\nHost: no.example:80\r\n", 405},
		"unknown host":     {"CONNECT 192.0.2.1:25 HTTP/1.1\r\nHost: 192.0.2.1:25\r\n", 405},
		"no port":          {"CONNECT h.example HTTP/1.1\r\nHost: h.example\r\n", 400},
		"port 0":           {"CONNECT h.example:0 HTTP/1.1\r\nHost: h.example:0\r\n", 400},
		"another Host":     {"CONNECT no.example:80 HTTP/1.1\r\nHost: h.example:80\r\n", 400},
		"a path":           {"CONNECT / HTTP/1.1\r\nHost: h.example:80\r\n", 400},
		"a length":         {"CONNECT h.example:80 HTTP/1.1\r\nHost: h.example:80\r\nContent-Length: 5\r\n", 400},
		"chunks":           {"CONNECT h.example:80 HTTP/1.1\r\nHost: h.example:80\r\nTransfer-Encoding: chunked\r\n", 400},
		"a method of HTTP": {"TRACE /other HTTP/1.1\r\nHost: h.example\r\nConnection: close\r\n", 405},
	} {
		t.Run(name, func(t *testing.T) {
			conn := w.raw("http")
			conn.send(c.head + "\r\nGET /other HTTP/1.1\r\nHost: h.example\r\n\r\n")
			resp, err := http.ReadResponse(conn.Reader, nil)
			if err != nil || resp.StatusCode != c.status || !resp.Close {
				t.Fatal(resp, err)
			}
			io.Copy(io.Discard, resp.Body)
			if rest, err := io.ReadAll(conn.Reader); err != nil || len(rest) > 0 {
				t.Errorf("behind the answer: %q, %v", rest, err)
			}
		})
	}
	if resp, _ := w.connectOverHTTP3("no.example:80"); resp.StatusCode != 405 {
		t.Errorf("HTTP/3: %d", resp.StatusCode)
	}
	if n := conns.Load(); n != 0 {
		t.Errorf("%d connections to the endpoint", n)
	}
}

// TestConnectGuards: who may not come in gets no tunnel either.
func TestConnectGuards(t *testing.T) {
	t.Parallel()
	w, conns := connectWorld(t, "nginx.ingress.kubernetes.io/allowlist-source-range", "192.0.2.0/24")
	c := w.raw("http")
	c.send("CONNECT h.example:22 HTTP/1.1\r\nHost: h.example:22\r\n\r\n")
	if resp, err := http.ReadResponse(c.Reader, &http.Request{Method: "CONNECT"}); err != nil || resp.StatusCode != 403 {
		t.Error(resp, err)
	}
	if n := conns.Load(); n != 0 {
		t.Errorf("%d connections to the endpoint", n)
	}
}

// TestConnectOtherEndpoint: one that takes no connection is passed over, and where there
// is none that does, the answer says so.
func TestConnectOtherEndpoint(t *testing.T) {
	t.Parallel()
	w, _ := connectWorld(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := closed.Addr().(*net.TCPAddr).AddrPort()
	closed.Close()
	status := func() int {
		c := w.raw("http")
		c.send("CONNECT h.example:22 HTTP/1.1\r\nHost: h.example:22\r\n\r\n")
		resp, err := http.ReadResponse(c.Reader, &http.Request{Method: "CONNECT"})
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	w.set(sliceNamed("a-2", "a", dead))
	for range 4 {
		if got := status(); got != 200 {
			t.Errorf("with one that is dead: %d", got)
		}
	}
	w.set(&model.EndpointSlice{Name: named("a-1"), Service: "a", Family: model.IPv4})
	if got := status(); got != 502 {
		t.Errorf("with dead ones only: %d", got)
	}
	w.set(&model.EndpointSlice{Name: named("a-2"), Service: "a", Family: model.IPv4})
	if got := status(); got != 503 {
		t.Errorf("with none: %d", got)
	}
}

// TestConnectEnds: an end of one side is one of the other.
func TestConnectEnds(t *testing.T) {
	t.Parallel()
	w, _ := connectWorld(t)
	c := w.raw("http")
	c.send("CONNECT h.example:22 HTTP/1.1\r\nHost: h.example:22\r\n\r\n")
	if resp, err := http.ReadResponse(c.Reader, &http.Request{Method: "CONNECT"}); err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if w.server.active.Load() != 1 {
		t.Errorf("%d exchanges", w.server.active.Load())
	}
	c.Close()
	eventually(t, func() bool { return w.server.active.Load() == 0 || ctx.Err() != nil }, "the tunnel ends")
}
