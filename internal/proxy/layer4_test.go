package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/testkit"
)

// backendFunc starts an HTTP server and returns its address.
func (w *world) backendFunc(h http.HandlerFunc) netip.AddrPort {
	s := httptest.NewServer(h)
	w.t.Cleanup(s.Close)
	return addrOf(s)
}

// streams makes streams part of the plan of the moment.
func (w *world) streams(all ...route.Stream) {
	p := *w.server.live.Load().plan
	p.Streams = all
	w.server.Apply(&p)
}

// TestStreamsAfterEnd has a plan come while the last exchanges end, as it does as long
// as anything happens in the cluster. Ports that are closed stay closed.
func TestStreamsAfterEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) {
		o.StreamAddr = func(uint16) string { return "127.0.0.1:0" }
	})
	w.set()
	w.end()
	if err := <-w.ended; err != nil {
		t.Fatal(err)
	}
	w.ended <- nil
	w.streams(route.Stream{Port: 1})
	if n := len(w.server.ports()) - len(w.server.listeners); n != 0 {
		t.Errorf("%d ports are open", n)
	}
}

// TestStreams opens and closes ports while connections go on.
func TestStreams(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := addrPort(free.Addr()).Port()
	free.Close()
	front := fmt.Sprintf("127.0.0.1:%d", port)
	w := newWorld(t, func(o *Options) {
		o.StreamAddr = func(port uint16) string { return fmt.Sprintf("127.0.0.1:%d", port) }
	})
	l, pc, backend := testkit.Loopback(t)
	testkit.Accept(l, func(c net.Conn) { io.Copy(c, c) })
	go func() {
		b := make([]byte, 2000)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			pc.WriteTo(b[:n], from)
		}
	}()
	w.set(service("a"), slice("a", backend), ingress("i", "", "/ a"))
	to := route.BackendKey{Service: named("a"), Port: model.IntOrString{Int: 80}}
	w.streams(route.Stream{Port: port, Backend: to, SendProxy: 1}, route.Stream{Port: port, UDP: true, Backend: to})

	c, err := net.Dial("tcp", front)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	r := bufio.NewReader(c)
	want := fmt.Sprintf("PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n", addrPort(c.LocalAddr()).Port(), port)
	if line, err := r.ReadString('\n'); line != want || err != nil {
		t.Fatalf("%q %v, want %q", line, err, want)
	}
	u, err := net.Dial("udp", front)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	u.SetDeadline(time.Now().Add(5 * time.Second))
	for i := range 3 {
		b := make([]byte, 100)
		fmt.Fprintf(u, "datagram %d", i)
		if n, err := u.Read(b); string(b[:n]) != fmt.Sprintf("datagram %d", i) || err != nil {
			t.Fatalf("UDP: %q %v", b[:n], err)
		}
	}
	w.streams() // closed, but not the connection
	if c, err := net.Dial("tcp", front); err == nil {
		c.Close()
		t.Error("the port is still open")
	}
	io.WriteString(c, "after\n")
	if line, err := r.ReadString('\n'); line != "after\n" || err != nil {
		t.Errorf("%q %v", line, err)
	}
	c.(*net.TCPConn).CloseWrite() // one direction, and then the other
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("%v", err)
	}
}

// TestStreamsOfConfigMaps: ports for TCP and UDP in the format of ingress-nginx are
// opened, led elsewhere and closed when the ConfigMap says so, and a connection that is
// open goes on.
func TestStreamsOfConfigMaps(t *testing.T) {
	t.Parallel()
	ports := freePorts(t, 3)
	w := newWorld(t, func(o *Options) {
		o.StreamAddr = func(port uint16) string { return fmt.Sprintf("127.0.0.1:%d", port) }
	})
	one, two := talker(t, "one"), talker(t, "two")
	tcp := func(pairs ...string) *model.ConfigMap { return configMap("ingress-nginx", "tcp-services", pairs...) }
	udp := func(pairs ...string) *model.ConfigMap { return configMap("ingress-nginx", "udp-services", pairs...) }
	svc := func(name string, at netip.AddrPort) []any {
		s, e := service(name), slice(name, at)
		s.Ports = append(s.Ports, model.ServicePort{Name: "u", Protocol: model.UDP, Port: 53})
		e.Ports = append(e.Ports, model.EndpointPort{Name: "u", Protocol: model.UDP, Port: at.Port()})
		return []any{s, e}
	}
	w.set(append(append(svc("one", one), svc("two", two)...), tcp(ports[0], "default/one:80", ports[1], "default/one:web:PROXY"), udp(ports[0], "default/one:53"))...)

	first := dialTalk(t, "tcp", ports[0])
	first.say(t, "", "one: ")
	dialTalk(t, "udp", ports[0]).say(t, "", "one: ")
	// A client that says by the PROXY protocol who it is.
	dialTalk(t, "tcp", ports[1]).say(t, "PROXY TCP4 192.0.2.1 192.0.2.2 1000 2000\r\n", "one: ")
	if c, err := net.Dial("tcp", "127.0.0.1:"+ports[2]); err == nil {
		c.Close()
		t.Error("a port that nobody asked for is open")
	}

	w.set(tcp(ports[0], "default/two:80", ports[2], "default/two:web"), udp(ports[0], "default/two:u"))
	first.say(t, "", "one: ") // it stays where it is
	dialTalk(t, "tcp", ports[0]).say(t, "", "two: ")
	dialTalk(t, "tcp", ports[2]).say(t, "", "two: ")
	dialTalk(t, "udp", ports[0]).say(t, "", "two: ")
	if c, err := net.Dial("tcp", "127.0.0.1:"+ports[1]); err == nil {
		c.Close()
		t.Error("a port that is not listed any more is open")
	}
	w.set(tcp(), udp())
	if c, err := net.Dial("tcp", "127.0.0.1:"+ports[0]); err == nil {
		c.Close()
		t.Error("a port is open without a ConfigMap that says so")
	}
	first.say(t, "", "one: ")
}

// talker is a server, for TCP and UDP on one port, that answers each line with its name before it.
func talker(t *testing.T, name string) netip.AddrPort {
	t.Helper()
	l, pc, addr := testkit.Loopback(t)
	testkit.Accept(l, func(c net.Conn) {
		for s := bufio.NewScanner(c); s.Scan(); {
			fmt.Fprintf(c, "%s: %s\n", name, s.Text())
		}
	})
	go func() {
		b := make([]byte, 2000)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			pc.WriteTo(append([]byte(name+": "), b[:n]...), from)
		}
	}()
	return addr
}

type talk struct {
	net.Conn
	r *bufio.Reader
}

func dialTalk(t *testing.T, network, port string) *talk {
	t.Helper()
	c, err := net.Dial(network, "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &talk{c, bufio.NewReader(c)}
}

func (c *talk) say(t *testing.T, before, want string) {
	t.Helper()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(c, before+"hello\n")
	if line, err := c.r.ReadString('\n'); line != want+"hello\n" || err != nil {
		t.Errorf("%q %v, want %q", line, err, want+"hello\n")
	}
}

func freePorts(t testing.TB, n int) (out []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		out = append(out, fmt.Sprint(addrPort(l.Addr()).Port()))
	}
	return out
}
