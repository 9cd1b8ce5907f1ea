package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// thirdClient speaks HTTP/3 with the gateway, whatever name it asks for.
func (w *world) thirdClient() *http.Client {
	t := &http3.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		Dial: func(ctx context.Context, _ string, c *tls.Config, q *quic.Config) (*quic.Conn, error) {
			return quic.DialAddr(ctx, w.server.Addr("https").String(), c, q)
		},
	}
	w.t.Cleanup(func() { t.Close() })
	return &http.Client{Transport: t, Timeout: 20 * time.Second}
}

// TestHTTP3: the rules are the same, whatever the version.
func TestHTTP3(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.HTTP3 = true })
	s := w.backendFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Trailer", "X-Sum")
		rw.Header().Set("X-Saw", r.Header.Get("X-Forwarded-Proto")+" "+r.Header.Get("X-Mine")+" "+r.Host+r.URL.String())
		b, _ := io.ReadAll(r.Body)
		rw.Write(b)
		rw.Header().Set("X-Sum", "7")
	})
	w.set(service("a"), slice("a", s), ingress("i", "h.example", "/ a"))
	c := w.thirdClient()
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<12)
	resp, text, err := w.try(c, "POST", "https://h.example/x?y=z", bytes.NewReader(body), "X-Mine", "m")
	if err != nil {
		t.Fatal(err)
	}
	if resp.Proto != "HTTP/3.0" || text != string(body) || resp.Header.Get("X-Saw") != "https m h.example/x?y=z" || resp.Trailer.Get("X-Sum") != "7" {
		t.Errorf("%s, %d octets, %v, trailer %v", resp.Proto, len(text), resp.Header, resp.Trailer)
	}
	if resp, text, err = w.try(c, "GET", "https://other.example/", nil); err != nil || resp.StatusCode != 404 {
		t.Errorf("another host: %v %v", resp, err)
	}
	if resp, _ = w.get("https://h.example/"); resp.Header.Get("Alt-Svc") != `h3=":443"; ma=86400` {
		t.Errorf("Alt-Svc %q", resp.Header.Get("Alt-Svc"))
	}
	if resp, _ = w.get("http://h.example/"); resp.Header.Get("Alt-Svc") != "" {
		t.Errorf("Alt-Svc without TLS: %q", resp.Header.Get("Alt-Svc"))
	}
}

// TestHTTP3Handover: of two gateways at one port, the younger one gets new connections,
// and each its own, until it ends.
func TestHTTP3Handover(t *testing.T) {
	t.Parallel()
	var addr string
	gateway := func(name string) *world {
		w := newWorld(t, func(o *Options) {
			if o.HTTP3 = true; addr != "" {
				o.Listen = map[string]string{"https": addr}
			}
		})
		addr = w.server.Addr("https").String()
		w.set(service("a"), slice("a", addrOf(w.backend(name))), ingress("i", "h.example", "/ a"))
		return w
	}
	ask := func(c *http.Client, w *world, want string) {
		t.Helper()
		resp, _, err := w.try(c, "GET", "https://h.example/", nil)
		if err != nil || resp.Header.Get("X-Backend") != want {
			t.Errorf("%v %v, want an answer of %s", resp, err, want)
		}
	}
	old := gateway("old")
	var before, after []*http.Client
	for range 5 { // which the kernel alone would spread
		before = append(before, old.thirdClient())
		ask(before[len(before)-1], old, "old")
	}
	young := gateway("young")
	for range 5 {
		after = append(after, young.thirdClient())
		ask(after[len(after)-1], young, "young")
	}
	for i := range before {
		ask(before[i], old, "old")
		ask(after[i], young, "young")
	}
	old.end()
	eventually(t, func() bool { return old.server.third.transport.Conn.SetDeadline(time.Time{}) != nil }, "the old one closes its port")
	for i := range after {
		ask(after[i], young, "young")
	}
	third := gateway("third")
	for i := range after {
		ask(after[i], young, "young")
		ask(third.thirdClient(), third, "third")
	}
}
