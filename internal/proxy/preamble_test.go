package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/plan/route"
)

func TestPreamble(t *testing.T) {
	a4, b4 := netip.MustParseAddrPort("192.0.2.1:1000"), netip.MustParseAddrPort("198.51.100.2:443")
	a6, b6 := netip.MustParseAddrPort("[2001:db8::1]:1000"), netip.MustParseAddrPort("[2001:db8::2]:443")
	for _, c := range [][2]netip.AddrPort{{a4, b4}, {a6, b6}} {
		for version := 1; version <= 2; version++ {
			b := append(appendPreamble(nil, version, c[0], c[1]), "GET /"...)
			for i := range len(b) - 5 {
				if _, _, err := parsePreamble(b[:i]); err != errNotYet {
					t.Errorf("version %d, %d octets of %q: %v", version, i, b, err)
				}
			}
			p, n, err := parsePreamble(b)
			if err != nil || string(b[n:]) != "GET /" || p.from != c[0] || p.to != c[1] {
				t.Errorf("version %d: %v %d %v", version, p, n, err)
			}
		}
	}
	if p, _, err := parsePreamble(appendPreamble(nil, 2, a4, b6)); err != nil || p.from.Addr().Unmap() != a4.Addr() {
		t.Errorf("two families: %v %v", p, err)
	}
	for _, ok := range []string{"PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff::1 ::2 1 2\r\n", signature + "\x20\x00\x00\x00", signature + "\x21\x31\x00\x01x"} {
		if p, n, err := parsePreamble([]byte(ok)); err != nil || !p.local || n != len(ok) {
			t.Errorf("%q: %v %d %v", ok, p, n, err)
		}
	}
	for _, bad := range []string{"GET / HTTP/1.1\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 70000\r\n", "PROXY TCP4 ::1 ::1 1 2\r\n",
		"PROXY TCP4 " + strings.Repeat("1", 200), signature + "\x11\x11\x00\x0c123456789012", signature + "\x21\x11\x00\x04abcd", signature + "\x21\x11\xff\xff", "\x16\x03\x01"} {
		if _, _, err := parsePreamble([]byte(bad)); err == nil || err == errNotYet {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzPreamble(f *testing.F) {
	f.Add(appendPreamble(nil, 1, netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2")))
	f.Add(appendPreamble(nil, 2, netip.MustParseAddrPort("[::1]:1"), netip.MustParseAddrPort("[::2]:2")))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = clientHelloName(b)
		p, n, err := parsePreamble(b)
		if err != nil || p.local {
			return
		}
		again, _, err := parsePreamble(appendPreamble(nil, 2, p.from, p.to))
		if n > len(b) || err != nil || again != p {
			t.Fatalf("%q: %v, %d, again %v %v", b, p, n, again, err)
		}
	})
}

// TestHelloName reads what crypto/tls writes, cut anywhere.
func TestHelloName(t *testing.T) {
	client, server := net.Pipe()
	go func() {
		_ = tls.Client(client, &tls.Config{ServerName: "shop.example", NextProtos: []string{"h2"}}).Handshake()
	}()
	buf := make([]byte, 16<<10)
	n, _ := server.Read(buf)
	server.Close()
	for i := range n {
		if _, err := clientHelloName(buf[:i]); !errors.Is(err, errNotYet) {
			t.Fatalf("%d octets: %v", i, err)
		}
	}
	if name, err := clientHelloName(buf[:n]); name != "shop.example" || err != nil {
		t.Errorf("%q %v", name, err)
	}
	// The same in two records.
	split := append([]byte{22, 3, 1, 0, 10}, buf[5:15]...)
	split = append(append(split, 22, 3, 1, byte((n-15)>>8), byte(n-15)), buf[15:n]...)
	if name, err := clientHelloName(split); name != "shop.example" || err != nil {
		t.Errorf("two records: %q %v", name, err)
	}
}

// TestProxyProtocolIn: the client is who the proxy before us says.
func TestProxyProtocolIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.ProxyProtocol = true })
	s := w.backendFunc(func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, r.Header.Get("X-Forwarded-For")) })
	w.set(service("a"), slice("a", s), ingress("i", "", "/ a"))
	header := func(version int) string {
		return string(appendPreamble(nil, version, netip.MustParseAddrPort("192.0.2.7:1000"), netip.MustParseAddrPort("192.0.2.8:80")))
	}
	for version := 1; version <= 2; version++ {
		c := w.raw("http")
		c.send(header(version) + "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if _, body := c.response("GET"); body != "192.0.2.7" {
			t.Errorf("version %d: %q", version, body)
		}
		conn, err := net.Dial("tcp", w.server.Addr("https").String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, header(version))
		secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		io.WriteString(secure, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		if b, _ := io.ReadAll(secure); !strings.HasSuffix(string(b), "192.0.2.7") {
			t.Errorf("version %d, TLS: %q", version, b)
		}
	}
	c := w.raw("http")
	c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if b, _ := io.ReadAll(c.Conn); len(b) > 0 {
		t.Errorf("without a header: %q", b)
	}
	// Who arrived at port 443 was there over TLS, and is not sent to it again.
	w.set(annotate(ingress("i", "", "/ a"), "force-ssl-redirect", "true"))
	for port, want := range map[string]int{"80": 308, "443": 200} {
		c := w.raw("http")
		c.send(string(appendPreamble(nil, 2, netip.MustParseAddrPort("192.0.2.7:1000"), netip.MustParseAddrPort("192.0.2.8:"+port))) + "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if resp, _ := c.response("GET"); resp.StatusCode != want {
			t.Errorf("arrived at %s: %d, want %d", port, resp.StatusCode, want)
		}
	}
}

// TestTickets: another gateway with the same seed resumes a session.
func TestTickets(t *testing.T) {
	t.Parallel()
	cache := tls.NewLRUClientSessionCache(1)
	for i, c := range []struct {
		seed    string
		resumed bool
	}{{"one", false}, {"one", true}, {"two", false}} {
		w := newWorld(t, func(o *Options) { o.TicketSeed = []byte(c.seed) })
		conn, err := tls.Dial("tcp", w.server.Addr("https").String(), &tls.Config{InsecureSkipVerify: true, ServerName: "h", ClientSessionCache: cache, NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		_, _ = io.ReadAll(conn)
		if got := conn.ConnectionState().DidResume; got != c.resumed {
			t.Errorf("gateway %d: resumed %v", i, got)
		}
		conn.Close()
	}
}

// TestTicketsChange: keys change with the time, those of configurations for single hosts, too.
func TestTicketsChange(t *testing.T) {
	t.Parallel()
	keys := &tickets{seed: []byte("one")}
	cert, err := selfSigned()
	if err != nil {
		t.Fatal(err)
	}
	base := &tls.Config{Certificates: []tls.Certificate{*cert}}
	keys.add(base)
	hosts := newDerived(base, keys)
	asks := hosts.of(&route.Host{Client: &route.ClientCert{Mode: "on"}}, tlsOptions{})
	for name, config := range map[string]*tls.Config{"all": base, "a host that asks for certificates": asks} {
		cache := tls.NewLRUClientSessionCache(1)
		keys.turn(time.Now())
		for i, c := range []struct {
			later   time.Duration
			resumed bool
		}{{0, false}, {ticketPeriod, true}, {5 * ticketPeriod, false}} {
			keys.turn(time.Now().Add(c.later))
			if got := resumes(t, config, cache); got != c.resumed {
				t.Errorf("%s, connection %d: resumed %v", name, i, got)
			}
		}
	}
}

// resumes says whether a connection to a server of config goes on with a session of cache.
func resumes(t *testing.T, config *tls.Config, cache tls.ClientSessionCache) bool {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.WriteString(c, "x")
			_ = c.Close()
		}
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, ServerName: "h", ClientSessionCache: cache})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.ReadAll(c) // a ticket comes with the first octets
	return c.ConnectionState().DidResume
}
