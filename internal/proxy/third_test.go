package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
)

// overQUIC is a world that serves HTTP/3, with options of ingress-nginx's ConfigMap.
func overQUIC(t *testing.T, pairs ...string) *world {
	t.Helper()
	return optioned(t, func(o *Options) { o.HTTP3 = true }, pairs...)
}

// quicConn is a connection without HTTP/3, for what no client says.
func (w *world) quicConn() *quic.Conn {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
	defer cancel()
	c, err := quic.DialAddr(ctx, w.server.Addr("https").String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h3"}, ServerName: "h.example"}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.CloseWithError(0, "") })
	return c
}

// ends waits for the end of a connection.
func ends(t *testing.T, c *quic.Conn, want http3.ErrCode, within time.Duration) {
	t.Helper()
	select {
	case <-c.Context().Done():
		var app *quic.ApplicationError
		if err := context.Cause(c.Context()); !errors.As(err, &app) || !app.Remote || http3.ErrCode(app.ErrorCode) != want {
			t.Errorf("the connection ends with %v, want %v of the gateway", err, want)
		}
	case <-time.After(within):
		t.Errorf("the connection has not ended after %v", within)
	}
}

// counted is a client of HTTP/3 and the number of connections that it has made.
func (w *world) counted(config *quic.Config) (*http.Client, *http3.Transport, *atomic.Int64) {
	n := new(atomic.Int64)
	t := &http3.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, QUICConfig: config,
		Dial: func(ctx context.Context, _ string, c *tls.Config, q *quic.Config) (*quic.Conn, error) {
			n.Add(1)
			return quic.DialAddr(ctx, w.server.Addr("https").String(), c, q)
		},
	}
	w.t.Cleanup(func() { t.Close() })
	return &http.Client{Transport: t, Timeout: 20 * time.Second}, t, n
}

// TestHTTP3Idle: a connection ends that has no request for a while, and so does one whose
// first request does not come, or not whole.
func TestHTTP3Idle(t *testing.T) {
	t.Parallel()
	w := overQUIC(t, "keep-alive", "1", "client-header-timeout", "1")
	t.Run("nothing", func(t *testing.T) { ends(t, w.quicConn(), http3.ErrCodeNoError, 4*time.Second) })
	t.Run("half a head", func(t *testing.T) {
		c := w.quicConn()
		s, err := c.OpenStreamSync(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.Write([]byte{1, 20, 0}) // HEADERS of 20 octets
		ends(t, c, http3.ErrCodeNoError, 4*time.Second)
	})
	t.Run("between two", func(t *testing.T) {
		c, _, dials := w.counted(nil)
		for range 2 {
			if resp, _, err := w.try(c, "GET", "https://h.example/", nil); err != nil || resp.StatusCode != 200 {
				t.Fatal(resp, err)
			}
		}
		if dials.Load() != 1 {
			t.Errorf("%d connections for two requests", dials.Load())
		}
		time.Sleep(1500 * time.Millisecond)
		if resp, _, err := w.try(c, "GET", "https://h.example/", nil); err != nil || resp.StatusCode != 200 {
			t.Error(resp, err)
		}
		if dials.Load() != 2 {
			t.Errorf("%d connections after a pause", dials.Load())
		}
	})
	eventually(t, func() bool { return w.server.conns.Load() <= 1 }, "connections that have ended are not counted")
}

// TestHTTP3LongAnswer: a client that waits says nothing for longer than connections may
// be silent.
func TestHTTP3LongAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.HTTP3 = true })
	s := w.backendFunc(func(rw http.ResponseWriter, _ *http.Request) { time.Sleep(7 * time.Second) })
	w.set(service("a"), slice("a", s), ingress("i", "h.example", "/ a"))
	c, _, dials := w.counted(&quic.Config{MaxIdleTimeout: 5 * time.Second}) // both ends take the shorter one
	if resp, _, err := w.try(c, "GET", "https://h.example/", nil); err != nil || resp.StatusCode != 200 || dials.Load() != 1 {
		t.Error(resp, err, dials.Load())
	}
}

// TestHTTP3Body: a body that does not come is not waited for, and one that is too long
// not taken.
func TestHTTP3Body(t *testing.T) {
	t.Parallel()
	w := overQUIC(t, "client-body-timeout", "1", "proxy-body-size", "1k")
	c := w.thirdClient()
	slow, pw := io.Pipe()
	defer pw.Close()
	go io.WriteString(pw, "x")
	begun := time.Now()
	if resp, _, err := w.try(c, "POST", "https://h.example/", slow); err != nil || resp.StatusCode != 408 {
		t.Errorf("slow: %v %v", resp, err)
	} else if took := time.Since(begun); took < time.Second || took > 4*time.Second {
		t.Errorf("slow: after %v", took)
	}
	long := strings.Repeat("x", 2000)
	if resp, _, err := w.try(c, "POST", "https://h.example/", strings.NewReader(long)); err != nil || resp.StatusCode != 413 {
		t.Errorf("announced: %v %v", resp, err)
	}
	if resp, _, err := w.try(c, "POST", "https://h.example/", io.MultiReader(strings.NewReader(long))); err != nil || resp.StatusCode != 413 {
		t.Errorf("not announced: %v %v", resp, err)
	}
	if resp, text, err := w.try(c, "POST", "https://h.example/", strings.NewReader("short")); err != nil || resp.StatusCode != 200 || !strings.HasSuffix(text, "body=short") {
		t.Errorf("short: %v %q %v", resp, text, err)
	}
}

// TestHTTP3Continue: a client may ask before it sends.
func TestHTTP3Continue(t *testing.T) {
	t.Parallel()
	w := overQUIC(t)
	if resp, text, err := w.try(w.thirdClient(), "POST", "https://h.example/", bytes.NewReader(make([]byte, 100)), "Expect", "100-continue"); err != nil || resp.StatusCode != 200 {
		t.Errorf("%v %q %v", resp, text, err)
	}
}

// TestHTTP3Head: a head that is too large is refused, and no one else notices.
func TestHTTP3Head(t *testing.T) {
	t.Parallel()
	w := overQUIC(t)
	c, _, dials := w.counted(nil)
	if resp, _, err := w.try(c, "GET", "https://h.example/", nil, "X-Large", strings.Repeat("x", maxHeader)); err != nil || resp.StatusCode != 431 {
		t.Errorf("%v %v", resp, err)
	}
	if resp, _, err := w.try(c, "GET", "https://h.example/", nil); err != nil || resp.StatusCode != 200 || dials.Load() != 1 {
		t.Errorf("%v %v, %d connections", resp, err, dials.Load())
	}
}

// TestKeepAliveRequests: after its last request a connection takes no further one, and the
// client, which is told, loses none, whatever it speaks.
func TestKeepAliveRequests(t *testing.T) {
	t.Parallel()
	w := overQUIC(t, "keep-alive-requests", "4")
	ask := func(c *http.Client) {
		t.Helper()
		if resp, _, err := w.try(c, "GET", "https://h.example/", nil); err != nil || resp.StatusCode != 200 {
			t.Error(resp, err)
		}
	}
	t.Run("HTTP/3", func(t *testing.T) {
		c, _, dials := w.counted(nil)
		for range 12 {
			ask(c)
			time.Sleep(20 * time.Millisecond) // for the frame that says so
		}
		if n := dials.Load(); n < 3 || n > 4 {
			t.Errorf("%d connections for 12 requests, want 3", n)
		}
	})
	t.Run("HTTP/2", func(t *testing.T) {
		c := w.client()
		tr, n := c.Transport.(*http.Transport), 0
		dial := tr.DialContext
		tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			n++
			return dial(ctx, network, addr)
		}
		for range 12 {
			ask(c)
			time.Sleep(20 * time.Millisecond)
		}
		if n < 3 || n > 4 {
			t.Errorf("%d connections for 12 requests, want 3", n)
		}
	})
}

// TestHTTP3MaxConnections: connections of HTTP/3 are among those that there may be.
func TestHTTP3MaxConnections(t *testing.T) {
	t.Parallel()
	w := optioned(t, func(o *Options) { o.HTTP3, o.MaxConns = true, 2 })
	first, second := w.quicConn(), w.quicConn()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := quic.DialAddr(ctx, w.server.Addr("https").String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h3"}, ServerName: "h.example"}, nil)
	var refused *quic.TransportError
	if !errors.As(err, &refused) || refused.ErrorCode != quic.ConnectionRefused {
		t.Errorf("the third: %v", err)
	}
	first.CloseWithError(0, "")
	second.CloseWithError(0, "")
	eventually(t, func() bool { return w.server.conns.Load() == 0 }, "the connections end")
	if resp, _, err := w.try(w.thirdClient(), "GET", "https://h.example/", nil); err != nil || resp.StatusCode != 200 {
		t.Error(resp, err)
	}
}

// TestHTTP3Streams: as many requests run at a time as may, also for one who resets them to
// begin more.
func TestHTTP3Streams(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.HTTP3 = true })
	var running, most atomic.Int64
	s := w.backendFunc(func(rw http.ResponseWriter, r *http.Request) {
		n := running.Add(1)
		defer running.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		select {
		case <-time.After(300 * time.Millisecond):
		case <-r.Context().Done():
		}
	})
	w.set(service("a"), slice("a", s), ingress("i", "h.example", "/ a"), configMap("fairway-system", "ingress-nginx-controller", "http2-max-concurrent-streams", "5"))
	t.Run("wait", func(t *testing.T) {
		c := w.thirdClient()
		failed := make(chan error)
		for range 12 {
			go func() {
				resp, _, err := w.try(c, "GET", "https://h.example/", nil)
				if err == nil && resp.StatusCode != 200 {
					err = fmt.Errorf("status %d", resp.StatusCode)
				}
				failed <- err
			}()
		}
		for range 12 {
			if err := <-failed; err != nil {
				t.Error(err)
			}
		}
		if most.Load() > 5 {
			t.Errorf("%d requests at a time", most.Load())
		}
	})
	t.Run("reset", func(t *testing.T) {
		c := w.quicConn()
		control, err := c.OpenUniStreamSync(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		control.Write([]byte{0, 4, 0}) // SETTINGS, without any
		busiest := int64(0)
		head := headersFrame(":method", "GET", ":scheme", "https", ":authority", "h.example", ":path", "/")
		for until := time.Now().Add(2 * time.Second); time.Now().Before(until); {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			s, err := c.OpenStreamSync(ctx)
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			s.Write(head)
			time.Sleep(time.Millisecond)
			n := w.server.active.Load() // a pod sees a request end only later
			if busiest = max(busiest, n); n > 5 {
				t.Fatalf("%d requests at a time", n)
			}
			s.CancelWrite(0)
			s.CancelRead(0)
		}
		if busiest == 0 {
			t.Error("no request has begun")
		}
	})
}

// headersFrame is a HEADERS frame of literal fields (RFC 9204, section 4.5.6).
func headersFrame(pairs ...string) []byte {
	block := []byte{0, 0}
	for i := 0; i < len(pairs); i += 2 {
		if n := len(pairs[i]); n < 7 { // the length has three bits
			block = append(block, 0x20|byte(n))
		} else {
			block = append(block, 0x27, byte(n-7))
		}
		block = append(block, pairs[i]...)
		block = append(block, byte(len(pairs[i+1])))
		block = append(block, pairs[i+1]...)
	}
	return append(quicvarint.Append([]byte{1}, uint64(len(block))), block...)
}

// TestHTTP3ProxyProtocol: it has no form for QUIC, so that there is no HTTP/3 where it is
// expected, nor a word of it.
func TestHTTP3ProxyProtocol(t *testing.T) {
	t.Parallel()
	w := overQUIC(t)
	if resp, _, err := w.try(w.thirdClient(), "GET", "https://h.example/", nil); err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	w.set(configMap("fairway-system", "ingress-nginx-controller", "use-proxy-protocol", "true"))
	_, _, err := w.try(w.thirdClient(), "GET", "https://h.example/", nil)
	var refused *quic.TransportError
	if !errors.As(err, &refused) || refused.ErrorCode != quic.ConnectionRefused {
		t.Errorf("with the PROXY protocol: %v", err)
	}
	c := tls.Client(w.dial("https"), &tls.Config{InsecureSkipVerify: true, ServerName: "h.example"})
	c.NetConn().Write(appendPreamble(nil, 1, netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:443")))
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: h.example\r\nConnection: close\r\n\r\n")
	text, err := io.ReadAll(c)
	if err != nil || !bytes.HasPrefix(text, []byte("HTTP/1.1 200")) || bytes.Contains(text, []byte("Alt-Svc")) {
		t.Errorf("over TCP: %q %v", text, err)
	}
}

// webSocketOverHTTP3 is the same with an extended CONNECT of HTTP/3 (RFC 9220).
func (w *world) webSocketOverHTTP3(host string) io.ReadWriteCloser {
	w.t.Helper()
	t := &http3.Transport{}
	w.t.Cleanup(func() { t.Close() })
	c := t.NewClientConn(w.quicConn())
	s, err := c.OpenRequestStream(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodConnect, "https://"+host+"/chat", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Proto = "websocket"
	r.Header.Set("Sec-Websocket-Version", "13")
	r.Header.Set("Sec-Websocket-Protocol", "chat")
	if err := s.SendRequestHeader(r); err != nil {
		w.t.Fatal(err)
	}
	resp, err := s.ReadResponse()
	if err != nil || resp.StatusCode != 200 {
		w.t.Fatalf("extended CONNECT: %v %v", resp, err)
	}
	return s
}
