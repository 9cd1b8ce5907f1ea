package bpf

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/testkit"
)

// Two Services with the same backend, asked from one local port: to the kernel
// both would be one and the same connection (Cilium #11810, #18632).
func TestOneLocalPortTwoServices(t *testing.T) {
	w := newWorld(t)
	for family, c := range []struct{ local, node, one, two string }{
		{"10.1.1.2:40000", "198.51.100.1:40000", "10.96.0.1:80", "10.96.0.2:80"},
		{"[fd00:1:1::2]:40000", "[2001:db8::1]:40000", "[fd00:96::1]:80", "[fd00:96::2]:80"},
	} {
		one, two := web("one", []string{"10.96.0.1", "fd00:96::1"}[family]), web("two", []string{"10.96.0.2", "fd00:96::2"}[family])
		w.set(one, w.b1.IPs[family])
		w.set(two, w.b1.IPs[family])
		for _, network := range []string{"tcp", "udp"} {
			for range 3 { // the port is used again
				w.bothAnswer(w.a1.NS, network, c.local, c.one, c.two)
			}
		}
		// Where there is another backend, no packet needs to be rewritten for it.
		w.set(two, w.a2.IPs[family], w.b1.IPs[family])
		flows := 0
		start, err := monotonic()
		w.must(err)
		for range 5 {
			w.bothAnswer(w.a1.NS, "tcp", c.local, c.one, c.two)
		}
		each(w.node1.dp.objs.Conns, func(k kernelTuple, c kernelConn) {
			if k.Dst == addrOf(two.ClusterIPs[0]) && k.Proto == 6 && c.Flags&connNAT != 0 && time.Duration(c.Seen) > start {
				flows++
			}
		})
		if flows > 3 { // one of 256 has no luck
			t.Errorf("%d of 5 connections went by way of packets", flows)
		}
	}
}

// bothAnswer opens a connection to each of two addresses from one local port.
func (w *world) bothAnswer(ns *testkit.NS, network, local, one, two string) {
	w.Helper()
	var conns []*testkit.Conn
	for _, to := range []string{one, two} {
		c, err := ns.Dial(w.node1.cgroup, network, to, local)
		if err != nil {
			w.dump()
			w.Fatalf("%s from %s to %s: %v", network, local, to, err)
		}
		conns = append(conns, c)
	}
	for i, text := range []string{"one", "two", "one again", "two again"} {
		if a, err := conns[i%2].Ask(text); err != nil || a.Text != text[:3] {
			w.dump()
			w.Errorf("%s from %s, %s: %+v %v", network, local, text, a, err)
		}
	}
	for i := range conns { // the one that was opened last first, or all would be in the other's way
		conns[len(conns)-1-i].Close()
	}
	if network == "tcp" { // until the kernel gives the port back
		time.Sleep(50 * time.Millisecond)
	}
}

// A connection by a Service's packets is over; the next one from its port goes to
// the same backend directly, and has nothing to do with the Service.
func TestOneLocalPortServiceThenDirect(t *testing.T) {
	w := newWorld(t)
	w.client.Route("10.1.1.0/24", "198.51.100.1")
	w.client.Route("fd00:1:1::/64", "2001:db8::1")
	w.node1.Route("10.96.0.0/16", "198.51.100.2")
	w.node1.Route("fd00:96::/112", "2001:db8::2")
	for family, addr := range []struct{ clusterIP, nodePort string }{{"10.96.0.1:80", "198.51.100.1:30080"}, {"[fd00:96::1]:80", "[2001:db8::1]:30080"}} {
		for _, c := range []struct {
			from    *testkit.NS
			local   netip.Addr
			backend *testkit.Pod
			service string
		}{
			{w.a1.NS, w.a1.IPs[family], w.b1, addr.clusterIP},
			{w.client.NS, w.client.Addrs[family], w.a1, addr.nodePort},
			{w.node1.NS, w.node1.Addrs[family], w.b1, addr.clusterIP},
		} {
			w.set(nodePort("web", "10.96.0.1"), c.backend.IPs...)
			local := netip.AddrPortFrom(c.local, 40000).String()
			direct := netip.AddrPortFrom(c.backend.IPs[family], 8080).String()
			for range 3 {
				for _, to := range []string{c.service, direct} {
					conn, err := c.from.Dial(nil, "tcp", to, local)
					if err != nil {
						w.dump()
						t.Fatalf("from %s to %s: %v", local, to, err)
					}
					_, err = conn.Ask("x")
					w.must(err)
					conn.Close()
					time.Sleep(50 * time.Millisecond) // until the kernel gives the port back
				}
			}
		}
	}
}

// An unconnected socket asks two Services with the same backend at once: each
// answer comes from whom it was for.
func TestUnconnectedUDPTwoServices(t *testing.T) {
	w := newWorld(t)
	for family, any := range []string{"0.0.0.0:0", "[::]:0"} {
		addrs := []string{[]string{"10.96.0.1:80", "[fd00:96::1]:80"}[family], []string{"10.96.0.2:80", "[fd00:96::2]:80"}[family]}
		for i, name := range []string{"one", "two"} {
			w.set(web(name, netip.MustParseAddrPort(addrs[i]).Addr().String()), w.b1.IPs[family])
		}
		sock, err := w.a1.ListenUDP(w.node1.cgroup, any)
		w.must(err)
		defer sock.Close()
		sock.SetDeadline(time.Now().Add(10 * time.Second))
		for range 10 {
			got := map[string]bool{}
			for _, a := range addrs {
				_, err := sock.WriteTo([]byte(a), udpAddr(a))
				w.must(err)
			}
			for range addrs {
				buf := make([]byte, 512)
				n, from, err := sock.ReadFrom(buf)
				if err != nil {
					w.dump()
					t.Fatal(err)
				}
				a, err := testkit.ParseAnswer(string(buf[:n]))
				w.must(err)
				if a.Text != from.String() {
					t.Errorf("the answer to what was sent to %s comes from %v", a.Text, from)
				}
				got[a.Text] = true
			}
			if len(got) != 2 {
				t.Errorf("answers from %v", got)
			}
		}
	}
}

// A program of the node that the socket hooks do not see asks a Service whose
// backend is the node itself.
func TestNodeAsksItselfByPackets(t *testing.T) {
	w := newWorld(t)
	w.node1.Serve(":8080")
	w.node1.Route("10.96.0.0/16", "198.51.100.2")
	w.node1.Route("fd00:96::/112", "2001:db8::2")
	w.set(web("web", "10.96.0.1", "fd00:96::1"), w.node1.Addrs...)
	for _, network := range []string{"tcp", "udp"} {
		for _, addr := range []string{"10.96.0.1:80", "[fd00:96::1]:80"} {
			for range 5 {
				if a := w.ask(w.node1.NS, nil, network, addr); a.Server != "node1" {
					t.Errorf("%s %s: %+v", network, addr, a)
				}
			}
		}
	}
}

func udpAddr(s string) *net.UDPAddr { return net.UDPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
