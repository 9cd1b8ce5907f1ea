package bpf

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/testkit"
)

func TestClusterIPFromSockets(t *testing.T) {
	w := newWorld(t)
	w.set(web("web", "10.96.0.1", "fd00:96::1"), append(w.a2.IPs, w.b1.IPs...)...)
	for _, c := range []struct{ network, addr string }{
		{"tcp4", "10.96.0.1:80"}, {"udp4", "10.96.0.1:80"}, {"tcp6", "[fd00:96::1]:80"}, {"udp6", "[fd00:96::1]:80"},
	} {
		seen := map[string]int{}
		for range 40 {
			conn, err := w.a1.Dial(w.node1.cgroup, c.network, c.addr, "")
			w.must(err)
			if got := conn.RemoteAddr().String(); got != c.addr {
				t.Errorf("%s: the program sees its peer as %s, want %s", c.network, got, c.addr)
			}
			a, err := conn.Ask("x")
			if err != nil {
				w.dump()
				t.Fatalf("%s: %v", c.network, err)
			}
			if !a.Client.Addr().IsPrivate() || a.Client.Addr() != w.a1.IPs[0] && a.Client.Addr() != w.a1.IPs[1] {
				t.Errorf("%s: the backend sees %v, want the pod's own address", c.network, a.Client)
			}
			seen[a.Server]++
			conn.Close()
		}
		if seen["a2"] == 0 || seen["b1"] == 0 {
			t.Errorf("%s: 40 connections went to %v, want both backends", c.network, seen)
		}
	}
}

// An unconnected UDP socket: replies come from the Service, and it stays with
// its backend until that is gone.
func TestUnconnectedUDP(t *testing.T) {
	w := newWorld(t)
	svc := web("dns", "10.96.0.10")
	other := web("dns2", "10.96.0.11")
	w.set(svc, w.a2.IPs[0], w.b1.IPs[0])
	w.set(other, w.b1.IPs[0])
	sock, err := w.a1.ListenUDP(w.node1.cgroup, "0.0.0.0:0")
	w.must(err)
	defer sock.Close()
	first, err := sock.Ask("10.96.0.10:80", "x")
	w.must(err)
	for range 10 {
		again, err := sock.Ask("10.96.0.10:80", "x")
		w.must(err)
		if again.Server != first.Server {
			t.Fatalf("the backend changed from %s to %s", first.Server, again.Server)
		}
		if _, err := sock.Ask("10.96.0.11:80", "x"); err != nil {
			t.Fatalf("a second Service through the same socket: %v", err)
		}
	}
	left := map[string]*testkit.Pod{"a2": w.b1, "b1": w.a2}[first.Server]
	w.set(svc, left.IPs[0])
	again, err := sock.Ask("10.96.0.10:80", "x")
	w.must(err)
	if again.Server != left.Name {
		t.Errorf("after the backend is gone: %s, want %s", again.Server, left.Name)
	}
}

func TestRefusedAtOnce(t *testing.T) {
	w := newWorld(t)
	w.set(web("empty", "10.96.0.2"))
	w.set(web("web", "10.96.0.3"), w.a2.IPs[0])
	for _, addr := range []string{"10.96.0.2:80", "10.96.0.3:81"} {
		start := time.Now()
		_, err := w.a1.Dial(w.node1.cgroup, "tcp", addr, "")
		if !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: %v, want connection refused", addr, err)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("%s: refused after %v", addr, d)
		}
	}
}

func TestSelfTest(t *testing.T) {
	w := newWorld(t)
	in := func(c *testkit.Cgroup) error {
		return c.Do(func() error { return w.node1.Do(func() error { return w.node1.dp.SelfTest(t.Context()) }) })
	}
	if err := in(w.node1.cgroup); err != nil {
		t.Errorf("inside the cgroup: %v", err)
	}
	if err := in(nil); err == nil {
		t.Error("outside the cgroup: no error")
	}
}

// Pods of a node and the node itself reach its NodePorts without leaving it.
func TestNodePortFromSockets(t *testing.T) {
	w := newWorld(t)
	svc := web("web", "10.96.0.1")
	svc.Ports[0].NodePort, svc.Ports[1].NodePort = 30080, 30080
	w.set(svc, w.b1.IPs[0])
	for _, addr := range []string{"198.51.100.1:30080", "127.0.0.1:30080"} {
		if a := w.ask(w.node1.NS, w.node1.cgroup, "tcp", addr); a.Server != "b1" {
			t.Errorf("%s: %v", addr, a)
		}
	}
	w.ask(w.a1.NS, w.node1.cgroup, "udp", "198.51.100.1:30080")
	// A pod's loopback is the pod's own, whatever the node has there.
	w.a1.Serve("127.0.0.1:30080")
	for _, network := range []string{"tcp", "udp"} {
		for _, addr := range []string{"127.0.0.1:30080", "0.0.0.0:30080"} { // connect() takes both for loopback
			if a := w.ask(w.a1.NS, w.node1.cgroup, network, addr); a.Server != "a1" {
				t.Errorf("%s from a pod to itself at %s: %v", network, addr, a)
			}
		}
	}
}

// A connected UDP socket cannot be moved to another backend: it is ended, so
// that its program makes a new one. TCP connections are left alone.
func TestConnectedUDPIsEnded(t *testing.T) {
	w := newWorld(t)
	// A namespace is found by the processes in it, as a pod's is.
	w.a1.Hold()
	for family, vip := range []string{"10.96.0.10", "fd00:96::10"} {
		svc := web("dns", vip)
		at := netip.AddrPortFrom(netip.MustParseAddr(vip), 80).String()
		w.set(svc, w.a2.IPs[family])
		gone, err := w.a1.Dial(w.node1.cgroup, "udp", at, "")
		w.must(err)
		defer gone.Close()
		stays, err := w.a1.Dial(w.node1.cgroup, "tcp", at, "")
		w.must(err)
		defer stays.Close()
		direct, err := w.a1.Dial(w.node1.cgroup, "udp", netip.AddrPortFrom(w.a2.IPs[family], 8080).String(), "")
		w.must(err)
		defer direct.Close()
		_, err = gone.Ask("x")
		w.must(err)
		w.set(svc, w.b1.IPs[family])
		w.aborted("the socket of the backend that is gone", gone)
		for name, c := range map[string]*testkit.Conn{"TCP": stays, "not to a Service": direct} {
			if _, err := c.Ask("x"); err != nil {
				t.Errorf("the socket %s: %v", name, err)
			}
		}
	}
}

// aborted expects that a socket is ended, and not by its peer.
func (w *world) aborted(what string, c *testkit.Conn) {
	w.Helper()
	c.SetReadDeadline(time.Now().Add(20 * time.Second)) // the machine may be busy
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNABORTED) {
		w.Errorf("%s: %v, want connection aborted", what, err)
	}
}

// A TCP connection ends when the pod at its other end is gone, and by nothing
// else that happens to its Service.
func TestVanishedPodResets(t *testing.T) {
	w := newWorld(t)
	w.a1.Hold()
	for family, vip := range []string{"10.96.0.10", "fd00:96::10"} {
		svc := web("web", vip)
		at := netip.AddrPortFrom(netip.MustParseAddr(vip), 80).String()
		dial := func(backend netip.Addr, addr string) *testkit.Conn {
			w.set(svc, backend)
			c, err := w.a1.Dial(w.node1.cgroup, "tcp", addr, "")
			w.must(err)
			t.Cleanup(func() { c.Close() })
			_, err = c.Ask("x")
			w.must(err)
			return c
		}
		here, there := dial(w.a2.IPs[family], at), dial(w.b1.IPs[family], at)
		direct := dial(w.a2.IPs[family], netip.AddrPortFrom(w.a2.IPs[family], 8080).String())
		alive := func(when string, conns ...*testkit.Conn) {
			t.Helper()
			for _, c := range conns {
				if _, err := c.Ask("x"); err != nil {
					t.Errorf("%s: %v", when, err)
				}
			}
		}
		e := w.endpoint(w.a2.IPs[family])
		e.Ready, e.Terminating = false, true
		w.setEndpoints(svc, e, w.endpoint(w.b1.IPs[family]))
		alive("an endpoint terminates", here, there)
		e.Serving = false
		w.setEndpoints(svc, e, w.endpoint(w.b1.IPs[family]))
		alive("an endpoint serves no more", here, there)
		w.set(svc, w.b1.IPs[family])
		alive("an endpoint has left", here, there)
		w.set(svc)
		alive("no endpoints", here, there)
		w.node1.applyGone(nil, w.a2.IPs[family])
		w.aborted("the pod is gone", here)
		alive("another pod is gone", there, direct)
		w.node1.applyGone([]netip.Addr{w.a2.IPs[family]}, w.b1.IPs[family])
		w.aborted("the other pod is gone", there)
		// The address is given again.
		alive("a new pod", dial(w.a2.IPs[family], at))
		w.node1.applyGone([]netip.Addr{w.b1.IPs[family]})
	}
}

// What is known of a TCP socket goes with it, and does not hold for what the
// socket does after a connection that has failed.
func TestPeerOfSocket(t *testing.T) {
	w := newWorld(t)
	w.a1.Hold()
	for family, vip := range []string{"10.96.0.10", "fd00:96::10"} {
		svc, a2, b1 := web("web", vip), w.a2.IPs[family], w.b1.IPs[family]
		at := netip.AddrPortFrom(netip.MustParseAddr(vip), 80)
		w.set(svc, a2)
		ends, err := w.a1.Dial(w.node1.cgroup, "tcp", at.String(), "")
		w.must(err)
		w.setSlices(svc, []model.EndpointPort{{Name: "tcp", Protocol: model.TCP, Port: 8099}}, w.endpoint(a2)) // nobody listens there
		fd := -1
		w.must(w.node1.cgroup.Do(func() error {
			return w.a1.Do(func() (err error) {
				if fd, err = unix.Socket([]int{unix.AF_INET, unix.AF_INET6}[family], unix.SOCK_STREAM, 0); err != nil {
					return err
				}
				if err := unix.Connect(fd, sockaddr(at)); !errors.Is(err, unix.ECONNREFUSED) {
					t.Errorf("connect to a Service whose endpoint does not listen: %v", err)
				}
				return unix.Connect(fd, sockaddr(netip.AddrPortFrom(b1, 8080)))
			})
		}))
		if n := w.node1.tcpPeers(); n != 2 {
			t.Errorf("%d sockets are known, want 2", n)
		}
		w.node1.applyGone(nil, a2)
		w.aborted("the pod is gone", ends)
		if code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); code != 0 || err != nil {
			t.Errorf("the socket that goes elsewhere now: error %d, %v", code, err)
		}
		if _, err := unix.Getpeername(fd); err != nil {
			t.Errorf("the socket that goes elsewhere now: %v", err)
		}
		unix.Close(fd)
		ends.Close()
		if n := w.node1.tcpPeers(); n != 0 {
			t.Errorf("%d sockets are known after all are closed", n)
		}
		w.node1.applyGone([]netip.Addr{a2})
	}
}

func (n *testNode) tcpPeers() (count int) {
	n.w.Helper()
	n.w.must(eachBatch(n.dp.objs.TcpPeers, func(uint64, kernelTcpPeer) { count++ }))
	return count
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

func (n *testNode) applyGone(back []netip.Addr, gone ...netip.Addr) {
	n.w.Helper()
	n.w.must(n.dp.ApplyGone(n.w.Context(), gone, back))
}
