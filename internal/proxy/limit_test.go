package proxy

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/h2"
)

// TestLeakyBucket: a burst is taken at once, then the rate holds; what was
// refused does not count.
func TestLeakyBucket(t *testing.T) {
	limits := &route.Limits{RateStatus: 503, Rates: []route.Rate{{PerSecond: 2, Burst: 4}}}
	l := newLimiters().of(named("i"))
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	start := time.Unix(0, 0)
	passed := func(addr netip.Addr, n int, at time.Duration) int {
		count := 0
		for range n {
			if l.enter(addr, limits, start.Add(at)) == 0 {
				l.leave(addr)
				count++
			}
		}
		return count
	}
	for i, c := range []struct {
		addr netip.Addr
		at   time.Duration
		want int // of 20
	}{{a, 0, 5}, {b, 0, 5}, {a, 500 * time.Millisecond, 1}, {a, 1500 * time.Millisecond, 2}, {a, time.Hour, 5}} {
		if got := passed(c.addr, 20, c.at); got != c.want {
			t.Errorf("step %d, %v after %v: %d passed, want %d", i, c.addr, c.at, got, c.want)
		}
	}
}

func TestLimiterForgets(t *testing.T) {
	limits := &route.Limits{RateStatus: 503, Rates: []route.Rate{{PerSecond: 1, Burst: 0}}}
	l := newLimiters().of(named("i"))
	addr := netip.MustParseAddr("10.0.0.0")
	for range maxClients + 1000 {
		addr = addr.Next()
		l.enter(addr, limits, time.Unix(0, 0))
		l.leave(addr)
	}
	if n := len(l.clients); n > maxClients {
		t.Errorf("%d clients are remembered", n)
	}
}

func TestLimits(t *testing.T) {
	statuses := func(w *world, n int) map[int]int {
		count := map[int]int{}
		for range n {
			resp, _ := w.get("http://h.example/")
			count[resp.StatusCode]++
		}
		return count
	}
	if got := statuses(annotated(t, "limit-rpm", "1", "limit-burst-multiplier", "3"), 10); got[200] != 4 || got[503] != 6 {
		t.Errorf("limit-rpm: %v", got)
	}
	if got := statuses(annotated(t, "limit-rpm", "1", "limit-whitelist", "127.0.0.0/8"), 10); got[200] != 10 {
		t.Errorf("limit-whitelist: %v", got)
	}
}

func TestLimitConnections(t *testing.T) {
	w := newWorld(t)
	begun, finish := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			begun <- struct{}{}
			<-finish
		}
	}))
	t.Cleanup(s.Close)
	w.set(service("a"), slice("a", addrOf(s)), annotate(ingress("i", "h.example", "/ a"), "limit-connections", "2"))
	done := make(chan int, 2)
	for range 2 {
		go func() {
			resp, _, err := w.try(w.client(), "GET", "http://h.example/slow", nil)
			if err != nil {
				done <- 0
				return
			}
			done <- resp.StatusCode
		}()
		<-begun
	}
	if resp, _ := w.get("http://h.example/"); resp.StatusCode != 503 {
		t.Errorf("the third request: %d", resp.StatusCode)
	}
	close(finish)
	for range 2 {
		if status := <-done; status != 200 {
			t.Errorf("a slow request: %d", status)
		}
	}
	eventually(t, func() bool { resp, _ := w.get("http://h.example/"); return resp.StatusCode == 200 }, "the limit is free again")
}

// TestMaxConns: beyond the bound idle connections make room, and those whose request does
// not come, and without such a new one is closed.
func TestMaxConns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.MaxConns = 4 })
	w.set(service("a"), slice("a", addrOf(w.backend("a"))), ingress("i", "", "/ a"))
	ask := func() (*raw, error) {
		c := w.raw("http")
		io.WriteString(c.Conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		resp, err := http.ReadResponse(c.Reader, nil)
		if err == nil {
			io.Copy(io.Discard, resp.Body)
		}
		return c, err
	}
	var idle []*raw
	for range 4 {
		c, err := ask()
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	if _, err := ask(); err != nil {
		t.Errorf("beside idle connections: %v", err)
	}
	gone := 0
	for _, c := range idle {
		c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := c.Reader.ReadByte(); err == io.EOF {
			gone++
		}
		c.Conn.Close()
	}
	if gone != 1 {
		t.Errorf("%d idle connections made room, want 1", gone)
	}
	eventually(t, func() bool { return w.server.conns.Load() <= 1 }, "the others are counted out")
	for range 5 { // the last one makes the connection before go that may be left
		c := w.raw("http")
		c.send("GET / HTTP/1.1\r\nHost:")
	}
	eventually(t, func() bool { return w.server.conns.Load() >= 4 }, "they are counted")
	time.Sleep(2 * slowFor)
	if _, err := ask(); err != nil {
		t.Errorf("beside slow ones: %v", err)
	}
	hold := make(chan struct{})
	defer close(hold)
	busy := w.backendFunc(func(http.ResponseWriter, *http.Request) { <-hold })
	w.set(slice("a", busy))
	for range 8 {
		c := w.raw("http")
		c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		time.Sleep(20 * time.Millisecond)
	}
	eventually(t, func() bool { return w.server.metrics.refused.Load() > 0 }, "one is closed beside busy ones")
	rec := httptest.NewRecorder()
	w.server.ServeMetrics(rec, nil)
	if text := rec.Body.String(); w.server.metrics.refused.Load() == 0 || !strings.Contains(text, "fairway_http_connections_refused_total ") {
		t.Errorf("%s", text)
	}
}

// TestMaxConnsOfAnyKind: whatever fills the gateway and does nothing makes room.
func TestMaxConnsOfAnyKind(t *testing.T) {
	t.Parallel()
	for name, fill := range map[string]func(*world) io.Closer{
		"handshake that stops": func(w *world) io.Closer { return w.raw("http").Conn },
		"half a ClientHello": func(w *world) io.Closer {
			c := w.dial("https")
			c.Write([]byte{22, 3, 1, 2, 0, 1})
			return c
		},
		"idle HTTP/2": func(w *world) io.Closer {
			c := w.client()
			if resp, _, err := w.try(c, "GET", "https://h.example/", nil); err != nil || resp.ProtoMajor != 2 {
				w.t.Fatal(resp, err)
			}
			return closer(c.CloseIdleConnections)
		},
		"HTTP/2 without a preface": func(w *world) io.Closer {
			c := tls.Client(w.dial("https"), &tls.Config{InsecureSkipVerify: true, ServerName: "h.example", NextProtos: []string{"h2"}})
			if err := c.Handshake(); err != nil {
				w.t.Fatal(err)
			}
			return c
		},
		"half a frame": func(w *world) io.Closer {
			c := w.dial("http")
			io.WriteString(c, h2.Preface+"\x00\x00")
			return c
		},
		"idle HTTP/3": func(w *world) io.Closer {
			c := w.thirdClient()
			if resp, _, err := w.try(c, "GET", "https://h.example/", nil); err != nil || resp.ProtoMajor != 3 {
				w.t.Fatal(resp, err)
			}
			return closer(c.CloseIdleConnections)
		},
		"no PROXY protocol": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const most = 4
			w := newWorld(t, func(o *Options) { o.HTTP3, o.MaxConns, o.ProxyProtocol = fill != nil, most, fill == nil })
			w.set(service("a"), slice("a", addrOf(w.backend("a"))), ingress("i", "h.example", "/ a"), secret(t, "other", "other.example"))
			if fill == nil {
				fill = func(w *world) io.Closer { return w.dial("http") }
			}
			for range most {
				defer fill(w).Close()
			}
			eventually(t, func() bool { return w.server.conns.Load() == most }, "they are counted")
			time.Sleep(2 * slowFor)
			for range 2 * most { // more than there is room for, one after the other
				c := w.raw("http")
				if w.server.opts.ProxyProtocol {
					c.send("PROXY UNKNOWN\r\n")
				}
				c.send("GET / HTTP/1.1\r\nHost: h.example\r\nConnection: close\r\n\r\n")
				if resp, err := http.ReadResponse(c.Reader, nil); err != nil || resp.StatusCode != 200 {
					t.Fatal(resp, err)
				}
				c.Conn.Close()
				eventually(t, func() bool { return w.server.conns.Load() <= most }, "no more connections than may be")
			}
		})
	}
}

type closer func()

func (c closer) Close() error {
	c()
	return nil
}
