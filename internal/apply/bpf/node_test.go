package bpf

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/testkit"
)

func nodePort(name, clusterIP string) *model.Service {
	svc := web(name, clusterIP, "fd00:96::"+clusterIP[len("10.96.0."):])
	svc.Ports[0].NodePort, svc.Ports[1].NodePort = 30080, 30080
	return svc
}

// A client of the world comes to node1. A backend on node1 sees its address, one
// on node2 sees node1's.
func TestNodePort(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name    string
		backend []netip.Addr
		server  string
		sees    []string
	}{
		{"local", w.a1.IPs, "a1", []string{"198.51.100.9", "2001:db8::9"}},
		{"remote", w.b1.IPs, "b1", []string{"198.51.100.1", "2001:db8::1"}},
	} {
		w.set(nodePort("web", "10.96.0.1"), c.backend...)
		for i, addr := range []string{"198.51.100.1:30080", "[2001:db8::1]:30080"} {
			for _, network := range []string{"tcp", "udp"} {
				a := w.ask(w.client.NS, nil, network, addr)
				if a.Server != c.server || a.Client.Addr().String() != c.sees[i] {
					t.Errorf("%s %s %s: %+v, want %s to see %s", c.name, network, addr, a, c.server, c.sees[i])
				}
			}
		}
	}
}

// A process of the node itself as the backend.
func TestHostNetworkBackend(t *testing.T) {
	w := newWorld(t)
	w.node1.Serve("198.51.100.1:8080")
	w.node2.Serve("198.51.100.2:8080")
	w.set(nodePort("web", "10.96.0.1"), netip.MustParseAddr("198.51.100.1"))
	if a := w.ask(w.client.NS, nil, "tcp", "198.51.100.1:30080"); a.Server != "node1" || a.Client.Addr() != w.client.Addrs[0] {
		t.Errorf("local: %+v", a)
	}
	w.set(nodePort("web", "10.96.0.1"), netip.MustParseAddr("198.51.100.2"))
	if a := w.ask(w.client.NS, nil, "tcp", "198.51.100.1:30080"); a.Server != "node2" {
		t.Errorf("remote: %+v", a)
	}
	w.ask(w.a1.NS, w.node1.cgroup, "tcp", "10.96.0.1:80")
}

// The address of a LoadBalancer belongs to no interface: the node that announces
// it answers ARP and NDP in BPF.
func TestLoadBalancer(t *testing.T) {
	for name, c := range map[string]struct {
		vip     string
		service string
		family  int
	}{"IPv4": {"198.51.100.100", "10.96.0.1", 0}, "IPv6": {"2001:db8::100", "fd00:96::1", 1}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			vip := netip.MustParseAddr(c.vip)
			at := netip.AddrPortFrom(vip, 80).String()
			svc := web("web", c.service)
			svc.LoadBalancer = []model.LoadBalancerIngress{{IP: vip}}
			w.set(svc, w.a1.IPs[c.family], w.b1.IPs[c.family])
			if _, err := w.client.AskWithin(nil, "tcp", at, 300*time.Millisecond); err == nil {
				t.Fatal("an address that nobody announces answers")
			}
			w.must(w.node1.Do(func() error { return w.node1.dp.ApplyVIPs(t.Context(), []netip.Addr{vip}) }))
			seen := map[string]bool{}
			for range 20 {
				seen[w.ask(w.client.NS, nil, "tcp", at).Server] = true
			}
			if !seen["a1"] || !seen["b1"] {
				t.Errorf("answers came from %v, want both", seen)
			}
			// The announcement moves: neighbours are told.
			w.must(w.node1.Do(func() error { return w.node1.dp.ApplyVIPs(t.Context(), nil) }))
			w.must(w.node2.Do(func() error { return w.node2.dp.ApplyVIPs(t.Context(), []netip.Addr{vip}) }))
			w.set(svc, w.b1.IPs[c.family])
			if a := w.ask(w.client.NS, nil, "tcp", at); a.Client.Addr() != w.client.Addrs[c.family] {
				t.Errorf("after the move: %+v, want the client's own address at a local backend", a)
			}
		})
	}
}

// The device lets questions for announced addresses in, and those only.
func TestAnnouncedAddressIsListenedFor(t *testing.T) {
	w := newWorld(t)
	member := func() bool {
		var text []byte
		w.must(w.node1.Do(func() (err error) { text, err = os.ReadFile("/proc/thread-self/net/igmp6"); return err }))
		return strings.Contains(string(text), "ff0200000000000000000001ff010203")
	}
	apply := func(vips ...netip.Addr) {
		w.must(w.node1.Do(func() error { return w.node1.dp.ApplyVIPs(t.Context(), vips) }))
	}
	for _, want := range []bool{true, false, true} {
		if apply(); want {
			apply(netip.MustParseAddr("2001:db8::101:203"), netip.MustParseAddr("2001:db8:1::101:203"))
		}
		if got := member(); got != want {
			t.Errorf("listens: %t, want %t", got, want)
		}
	}
}

// Whoever wants to use an announced IPv6 address hears that it is taken.
func TestAnnouncedAddressIsDefended(t *testing.T) {
	w := newWorld(t)
	vip := netip.MustParseAddr("2001:db8::100")
	w.must(w.node1.Do(func() error { return w.node1.dp.ApplyVIPs(t.Context(), []netip.Addr{vip}) }))
	w.client.Sysctl("ipv6/conf/all/accept_dad", "1")
	w.client.Sysctl("ipv6/conf/eth0/accept_dad", "1")
	w.client.Sysctl("ipv6/conf/eth0/dad_transmits", "1")
	for addr, taken := range map[string]bool{"2001:db8::100/64": true, "2001:db8::101/64": false} {
		a := testkit.Addr(t, addr)
		a.Flags = 0
		w.must(w.client.Link.AddrAdd(w.client.Uplink, a))
		state := func() int {
			all, err := w.client.Link.AddrList(w.client.Uplink, unix.AF_INET6)
			w.must(err)
			for _, x := range all {
				if x.IP.Equal(a.IP) {
					return x.Flags
				}
			}
			t.Fatalf("%s is not there", addr)
			return 0
		}
		for deadline := time.Now().Add(10 * time.Second); state()&unix.IFA_F_TENTATIVE != 0 && state()&unix.IFA_F_DADFAILED == 0; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s is still tentative", addr)
			}
		}
		if got := state()&unix.IFA_F_DADFAILED != 0; got != taken {
			t.Errorf("%s is a duplicate: %t, want %t", addr, got, taken)
		}
	}
}

// One client port, two addresses, one backend: the flows must not mix, with the
// backend here (the client's address is kept) or there.
func TestSamePortTwoAddresses(t *testing.T) {
	w := newWorld(t)
	w.client.Route("203.0.113.0/24", "198.51.100.1")
	w.client.Route("2001:db8:113::/64", "2001:db8::1")
	for _, backend := range append(append([]netip.Addr{}, w.a1.IPs...), w.b1.IPs...) {
		svc := nodePort("web", "10.96.0.1")
		for _, a := range []string{"203.0.113.1", "203.0.113.2", "2001:db8:113::1", "2001:db8:113::2"} {
			svc.ExternalIPs = append(svc.ExternalIPs, netip.MustParseAddr(a))
		}
		w.set(svc, backend)
		local, first, second := "198.51.100.9:40000", "203.0.113.1:80", "203.0.113.2:80"
		if backend.Is6() {
			local, first, second = "[2001:db8::9]:40000", "[2001:db8:113::1]:80", "[2001:db8:113::2]:80"
		}
		for _, network := range []string{"tcp", "udp"} {
			one, err := w.client.Dial(nil, network, first, local)
			w.must(err)
			two, err := w.client.Dial(nil, network, second, local)
			w.must(err)
			for range 3 {
				if _, err := one.Ask("one"); err != nil {
					w.dump()
					t.Errorf("%v %s first: %v", backend, network, err)
				}
				if a, err := two.Ask("two"); err != nil || a.Text != "two" {
					t.Errorf("%v %s second: %v %v", backend, network, a, err)
				}
			}
			one.Close()
			two.Close()
		}
	}
}

func TestTrafficPolicyLocal(t *testing.T) {
	w := newWorld(t)
	svc := nodePort("web", "10.96.0.1")
	svc.ExternalLocal = true
	w.set(svc, w.b1.IPs[0])
	if a := w.ask(w.client.NS, nil, "tcp", "198.51.100.2:30080"); a.Client.Addr() != w.client.Addrs[0] {
		t.Errorf("at the node with the endpoint: %+v", a)
	}
	if _, err := w.client.AskWithin(nil, "tcp", "198.51.100.1:30080", 300*time.Millisecond); err == nil {
		t.Error("at the node without: an answer")
	}
	if n := w.node1.dropped(DropNoLocalEndpoints); n == 0 {
		t.Error("the drop was not counted")
	}
	// Clients of the node itself are served by all endpoints.
	w.ask(w.node1.NS, w.node1.cgroup, "tcp", "198.51.100.1:30080")
}

func (n *testNode) dropped(r Drop) uint64 {
	n.w.Helper()
	counts, err := n.dp.ReadDrops()
	n.w.must(err)
	for _, c := range counts {
		if c.Reason == r {
			return c.Count
		}
	}
	return 0
}

func TestSourceRanges(t *testing.T) {
	w := newWorld(t)
	vip := netip.MustParseAddr("198.51.100.100")
	svc := nodePort("web", "10.96.0.1")
	svc.LoadBalancer = []model.LoadBalancerIngress{{IP: vip}}
	svc.SourceRanges = []netip.Prefix{netip.MustParsePrefix("198.51.100.8/30")}
	w.set(svc, w.a2.IPs[0])
	w.must(w.node1.Do(func() error { return w.node1.dp.ApplyVIPs(t.Context(), []netip.Addr{vip}) }))
	w.ask(w.client.NS, nil, "tcp", "198.51.100.100:80")
	if _, err := w.a1.AskWithin(w.node1.cgroup, "tcp", "198.51.100.100:80", 300*time.Millisecond); err == nil {
		t.Error("a pod outside the ranges got an answer")
	}
	svc = nodePort("web", "10.96.0.1")
	svc.LoadBalancer = []model.LoadBalancerIngress{{IP: vip}}
	svc.SourceRanges = []netip.Prefix{netip.MustParsePrefix("10.1.1.0/24")}
	w.set(svc, w.a2.IPs[0])
	if _, err := w.client.AskWithin(nil, "tcp", "198.51.100.100:80", 300*time.Millisecond); err == nil {
		t.Error("a client outside the ranges got an answer")
	}
	w.ask(w.a1.NS, w.node1.cgroup, "tcp", "198.51.100.100:80") // translated at the pod's link
	w.ask(w.client.NS, nil, "tcp", "198.51.100.1:30080")       // ranges are not for NodePorts
}

func TestAffinity(t *testing.T) {
	w := newWorld(t)
	svc := nodePort("web", "10.96.0.1")
	svc.Affinity = 3600e9
	w.set(svc, w.a1.IPs[0], w.a2.IPs[0], w.b1.IPs[0])
	for _, from := range []func() string{
		func() string { return w.ask(w.client.NS, nil, "tcp", "198.51.100.1:30080").Server },
		func() string { return w.ask(w.a1.NS, w.node1.cgroup, "tcp", "10.96.0.1:80").Server },
	} {
		first := from()
		for range 20 {
			if s := from(); s != first {
				t.Errorf("went to %s, then to %s", first, s)
			}
		}
	}
}

// Pods reach the world under their node's address, and each other under their own.
func TestMasquerade(t *testing.T) {
	w := newWorld(t)
	w.client.Serve(":9000")
	for _, addr := range []string{"198.51.100.9:9000", "[2001:db8::9]:9000"} {
		for _, network := range []string{"tcp", "udp"} {
			a := w.ask(w.a1.NS, w.node1.cgroup, network, addr)
			if a.Client.Addr() != w.node1.Addrs[0] && a.Client.Addr() != w.node1.Addrs[1] {
				t.Errorf("%s %s: the world sees %v, want node1", network, addr, a.Client)
			}
		}
	}
	if a := w.ask(w.a1.NS, w.node1.cgroup, "tcp", w.b1.IPs[0].String()+":8080"); a.Client.Addr() != w.a1.IPs[0] {
		t.Errorf("another node's pod sees %v, want the pod's own address", a.Client)
	}
}
