package bpf

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/policy"
	"github.com/fairway-net/fairway/internal/testkit"
)

// everywhere is a Service with every kind of address, in both families, and the
// addresses at which a client on node1 finds it.
func everywhere() (*model.Service, []string) {
	svc := nodePort("web", "10.96.0.1")
	svc.LoadBalancer = []model.LoadBalancerIngress{{IP: netip.MustParseAddr("198.51.100.100")}, {IP: netip.MustParseAddr("2001:db8::100")}}
	svc.ExternalIPs = []netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8:113::1")}
	return svc, []string{
		"10.96.0.1:80", "[fd00:96::1]:80", "198.51.100.1:30080", "[2001:db8::1]:30080",
		"198.51.100.100:80", "[2001:db8::100]:80", "203.0.113.1:80", "[2001:db8:113::1]:80",
	}
}

// A pod that is its own backend, with sockets that the hooks see and with such
// that they do not. No policy is between a pod and itself.
func TestHairpin(t *testing.T) {
	w := newWorld(t)
	quiet := w.node1.pod("quiet")
	w.node1.attach(quiet)
	svc, addrs := everywhere()
	w.set(svc, w.a1.IPs...)
	w.enforce(nil, map[*testkit.Pod]enforced{w.a1: {ingress: []policy.Rule{}, egress: []policy.Rule{}}})
	for _, cgroup := range []*testkit.Cgroup{w.node1.cgroup, nil} {
		for _, addr := range addrs {
			for _, network := range []string{"tcp", "udp"} {
				conn, err := w.a1.Dial(cgroup, network, addr, "")
				if err != nil {
					w.dump()
					t.Errorf("%s %s, hooks %t: %v", network, addr, cgroup != nil, err)
					continue
				}
				for range 3 {
					if a, err := conn.Ask("x"); err != nil || a.Server != "a1" {
						w.dump()
						t.Errorf("%s %s, hooks %t: %v, %v", network, addr, cgroup != nil, a, err)
					}
				}
				conn.Close()
			}
		}
	}
	// By way of another node.
	w.openPods()
	for _, addr := range []string{"198.51.100.2:30080", "[2001:db8::2]:30080"} {
		if a := w.ask(w.a1.NS, w.node1.cgroup, "tcp", addr); a.Server != "a1" {
			t.Errorf("%s: %v", addr, a)
		}
	}
	// Nobody listens: the pod's own refusal comes back to it.
	w.set(svc, quiet.IPs...)
	for _, addr := range addrs {
		if _, err := quiet.AskWithin(nil, "udp", addr, 5*time.Second); !errors.Is(err, unix.ECONNREFUSED) {
			w.dump()
			t.Errorf("%s: %v, want connection refused", addr, err)
		}
	}
}

// Sockets of the node that the hooks do not see, as far as packets get to the uplink.
func TestFromNodeByPackets(t *testing.T) {
	w := newWorld(t)
	for _, dst := range []string{"10.96.0.0/16", "203.0.113.0/24"} {
		w.node1.Route(dst, "198.51.100.9")
	}
	for _, dst := range []string{"fd00:96::/112", "2001:db8:113::/64"} {
		w.node1.Route(dst, "2001:db8::9")
	}
	w.node2.Serve(":8080")
	svc, addrs := everywhere()
	svc.ExternalLocal = true // not for clients of the node
	host := []netip.Addr{netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("2001:db8::2")}
	for name, backends := range map[string][]netip.Addr{"a1": w.a1.IPs, "b1": w.b1.IPs, "node2": host} {
		w.set(svc, backends...)
		for _, addr := range []string{addrs[0], addrs[1], addrs[6], addrs[7]} {
			for _, network := range []string{"tcp", "udp"} {
				conn, err := w.node1.Dial(nil, network, addr, "")
				if err != nil {
					w.dump()
					t.Fatalf("%s %s: %v", network, addr, err)
				}
				for range 3 {
					a, err := conn.Ask("x")
					if err != nil || a.Server != name || a.Client.Addr() != w.node1.Addrs[0] && a.Client.Addr() != w.node1.Addrs[1] {
						w.dump()
						t.Fatalf("%s %s: %v, %v; want %s to see node1", network, addr, a, err, name)
					}
				}
				conn.Close()
			}
		}
	}
	w.set(svc)
	for _, addr := range []string{addrs[0], addrs[1], "10.96.0.1:81"} {
		for _, network := range []string{"tcp", "udp"} {
			if _, err := w.node1.AskWithin(nil, network, addr, 5*time.Second); !errors.Is(err, unix.ECONNREFUSED) {
				w.dump()
				t.Errorf("%s %s without endpoints: %v, want connection refused", network, addr, err)
			}
		}
	}
}

// Nothing is sent to an address for Services that none has, by whatever way.
func TestUnallocatedAddress(t *testing.T) {
	w := newWorld(t)
	w.set(web("web", "10.96.0.1", "fd00:96::1"), append(w.a1.IPs, w.b1.IPs...)...)
	w.client.Route("10.96.0.0/16", "198.51.100.1")
	w.client.Route("fd00:96::/112", "2001:db8::1")
	w.node1.Route("10.96.0.0/16", "198.51.100.9")
	w.node1.Route("fd00:96::/112", "2001:db8::9")
	for i, from := range []*testkit.NS{w.client.NS, w.node1.NS, w.a1.NS} {
		for j, addr := range []string{"10.96.0.99:80", "[fd00:96::99]:80"} {
			before := w.node1.dropped(DropUnallocated)
			if _, err := from.AskWithin(nil, "udp", addr, 100*time.Millisecond); !errors.Is(err, unix.EAGAIN) && !isTimeout(err) {
				t.Errorf("%s to %s: %v, want silence", from.Name, addr, err)
			}
			if n := w.node1.dropped(DropUnallocated) - before; n != 1 {
				t.Errorf("case %d.%d: %d packets dropped, want 1", i, j, n)
			}
		}
	}
	// From outside to an address that there is: the backend sees the client here,
	// and this node there.
	for i, addr := range []string{"10.96.0.1:80", "[fd00:96::1]:80"} {
		for range 20 {
			a := w.ask(w.client.NS, nil, "tcp", addr)
			want := map[string]netip.Addr{"a1": w.client.Addrs[i], "b1": w.node1.Addrs[i]}[a.Server]
			if a.Client.Addr() != want {
				t.Fatalf("%s: %v, want the client to be %v", addr, a, want)
			}
		}
	}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
