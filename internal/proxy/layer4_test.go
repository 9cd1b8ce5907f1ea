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
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	pc, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
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
	w.set(service("a"), slice("a", addrPort(l.Addr())), ingress("i", "", "/ a"))
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
