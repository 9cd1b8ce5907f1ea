package forward

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/fairway-net/fairway/internal/testkit"
)

// secureFake answers over TLS, with a certificate for dns.example and for no address.
type secureFake struct {
	addr  netip.AddrPort
	roots *x509.CertPool
	conns atomic.Int64

	mu   sync.Mutex
	open []net.Conn
}

// Accept counts connections.
func (s *secureFake) accepted(c net.Conn) {
	s.conns.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = append(s.open, c)
}

// hangUp closes all connections, as a server does to idle ones.
func (s *secureFake) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.open {
		c.Close()
	}
}

type countingListener struct {
	net.Listener
	s *secureFake
}

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.s.accepted(c)
	}
	return c, err
}

func serveTLS(t *testing.T) *secureFake {
	t.Helper()
	cert := (*testkit.Authority)(nil).Issue(t, &x509.Certificate{DNSNames: []string{"dns.example"}, IsCA: true, BasicConstraintsValid: true})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &secureFake{addr: l.Addr().(*net.TCPAddr).AddrPort(), roots: x509.NewCertPool()}
	s.roots.AddCert(cert.Leaf)
	config := &tls.Config{Certificates: []tls.Certificate{*cert}}
	started := make(chan struct{})
	server := &mdns.Server{
		Listener:          tls.NewListener(countingListener{l, s}, config),
		NotifyStartedFunc: func() { close(started) },
		Handler: mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
			w.WriteMsg(answer(q, q.Question[0].Name+" 60 IN A 192.0.2.7"))
		}),
	}
	go server.ActivateAndServe()
	<-started
	t.Cleanup(func() { server.Shutdown() })
	return s
}

func TestTLSKeepsItsConnection(t *testing.T) {
	s := serveTLS(t)
	f := forwarder(t, nil, Options{Upstreams: []Server{{s.addr, "dns.example"}}, Roots: s.roots})
	for _, name := range []string{"a.example.", "b.example.", "c.example."} {
		if a, err := resolve(t, f, name); err != nil || a.Rcode != 0 {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if n := s.conns.Load(); n != 1 {
		t.Errorf("%d connections for three questions in turn", n)
	}
	s.hangUp()
	if _, err := resolve(t, f, "d.example."); err != nil {
		t.Errorf("after the server closed the connection: %v", err)
	}
	if n := s.conns.Load(); n != 2 || !f.Health()[Server{s.addr, "dns.example"}] {
		t.Errorf("%d connections, health %v", n, f.Health())
	}
}

// A server that cannot prove its name gets no question, and nothing else is tried.
func TestTLSRefusesTheWrongServer(t *testing.T) {
	s := serveTLS(t)
	plain := serve(t, func(q *mdns.Msg, _ bool) []*mdns.Msg { return []*mdns.Msg{answer(q)} })
	for what, o := range map[string]Options{
		"another name":     {Upstreams: []Server{{s.addr, "other.example"}}, Roots: s.roots},
		"unknown signer":   {Upstreams: []Server{{s.addr, "dns.example"}}, Roots: x509.NewCertPool()},
		"no TLS at all":    {Upstreams: []Server{{plain.addr.Addr, "dns.example"}}, Roots: s.roots, Timeout: 300 * time.Millisecond},
		"name, not number": {Upstreams: []Server{{s.addr, s.addr.Addr().String()}}, Roots: s.roots},
	} {
		if _, err := resolve(t, forwarder(t, nil, o), "a.example."); err == nil {
			t.Errorf("%s: answered", what)
		}
	}
	if n := plain.asked.Load(); n != 0 {
		t.Errorf("%d questions in the clear", n)
	}
}

func TestParseServerOverTLS(t *testing.T) {
	for s, want := range map[string]string{
		"tls://192.0.2.1#dns.example":         "tls://192.0.2.1:853#dns.example",
		"tls://192.0.2.1:8853#dns.example":    "tls://192.0.2.1:8853#dns.example",
		"tls://192.0.2.1":                     "tls://192.0.2.1:853#192.0.2.1",
		"tls://[2001:db8::1]:853#dns.example": "tls://[2001:db8::1]:853#dns.example",
		"tls://2001:db8::1#dns.example":       "tls://[2001:db8::1]:853#dns.example",
		"tls://dns.example":                   "",
		"tls://192.0.2.1#a/b":                 "",
		"0.0.0.0":                             "",
		"192.0.2.1:0":                         "",
		"192.0.2.1#dns.example":               "",
	} {
		got, err := ParseServer(s)
		if (err != nil) != (want == "") || err == nil && got.String() != want {
			t.Errorf("%s: %v %v, want %q", s, got, err, want)
		}
	}
}
