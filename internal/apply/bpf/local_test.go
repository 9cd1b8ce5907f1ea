package bpf

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/testkit"
)

// localCase is one cell: who asks which address, and what happens in each state
// of the endpoint, which is on node2.
type localCase struct {
	client string // pod or node
	same   bool   // on the node of the endpoint
	kind   string // of the address
	want   [3]string
}

// External traffic policy Local, seen from inside the cluster. Who names a
// LoadBalancer's address, an external IP or the own node's NodePort does not need
// the detour through it: the policy is then Cluster. Another node's NodePort is
// that node's to decide, for which the client is one from outside
// (e2e "externalTrafficPolicy", kube-proxy's short-circuits).
var localCases = func() []localCase {
	var out []localCase
	for _, client := range []string{"pod", "node"} {
		for _, same := range []bool{true, false} {
			for _, kind := range []string{"own NodePort", "LoadBalancer", "external IP"} {
				out = append(out, localCase{client, same, kind, [3]string{"b1", "b1", "refused"}})
			}
		}
		out = append(out,
			localCase{client, false, "NodePort of the other", [3]string{"b1", "b1", "refused"}},
			localCase{client, true, "NodePort of the other", [3]string{"silence", "silence", "refused"}})
	}
	return out
}()

func TestLocalPolicyMatrix(t *testing.T) {
	w := newWorld(t)
	states := []struct {
		name string
		set  func(e *model.Endpoint)
	}{
		{"ready", func(*model.Endpoint) {}},
		{"only terminating", func(e *model.Endpoint) { e.Ready, e.Terminating = false, true }},
		{"none", nil},
	}
	for i, state := range states {
		svc, _ := everywhere()
		svc.ExternalLocal = true
		var eps []model.Endpoint
		for _, a := range w.b1.IPs {
			if e := w.endpoint(a); state.set != nil {
				state.set(&e)
				eps = append(eps, e)
			}
		}
		w.setEndpoints(svc, eps...)
		for _, c := range localCases {
			for family := range 2 {
				w.localCell(c, state.name, c.want[i], family)
			}
		}
	}
}

func (w *world) localCell(c localCase, state, want string, family int) {
	w.Helper()
	n, other, pod := w.node1, w.node2, w.a1
	if c.same {
		n, other, pod = w.node2, w.node1, w.b1
	}
	at := map[string]netip.AddrPort{
		"own NodePort":          netip.AddrPortFrom(n.Addrs[family], 30080),
		"NodePort of the other": netip.AddrPortFrom(other.Addrs[family], 30080),
		"LoadBalancer":          netip.AddrPortFrom([]netip.Addr{netip.MustParseAddr("198.51.100.100"), netip.MustParseAddr("2001:db8::100")}[family], 80),
		"external IP":           netip.AddrPortFrom([]netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8:113::1")}[family], 80),
	}[c.kind]
	from := n.NS
	ways := []*testkit.Cgroup{n.cgroup}
	if c.client == "pod" {
		from, ways = pod.NS, append(ways, nil) // by packets as well
	}
	for _, cgroup := range ways {
		patience := 5 * time.Second
		if want == "silence" {
			patience = 200 * time.Millisecond
		}
		a, err := from.AskWithin(cgroup, "tcp", at.String(), patience)
		got := a.Server
		switch {
		case errors.Is(err, unix.ECONNREFUSED):
			got = "refused"
		case isTimeout(err):
			got = "silence"
		case err != nil:
			got = err.Error()
		}
		if got != want {
			w.dump()
			w.Errorf("%s: %s, same node %t, %s (%v), hooks %t: %s, want %s", state, c.client, c.same, c.kind, at, cgroup != nil, got, want)
		}
	}
}

// A client keeps its backend for all addresses of a port, until it has been away
// for the timeout, or the affinity is off.
func TestAffinityOverAddresses(t *testing.T) {
	w := newWorld(t)
	svc, addrs := everywhere()
	backends := append(append(append([]netip.Addr{}, w.a1.IPs...), w.a2.IPs...), w.b1.IPs...)
	apply := func(timeout time.Duration) {
		svc.Affinity = timeout
		w.set(svc, backends...)
	}
	w.client.Route("203.0.113.0/24", "198.51.100.1")
	w.client.Route("2001:db8:113::/64", "2001:db8::1")
	for _, c := range []struct {
		name   string
		from   *testkit.NS
		cgroup *testkit.Cgroup
		addrs  []string
		wait   bool // for the timeout
	}{
		{"the world", w.client.NS, nil, []string{addrs[2], addrs[6]}, true},
		{"the world, IPv6", w.client.NS, nil, []string{addrs[3], addrs[7]}, true},
		{"sockets", w.a1.NS, w.node1.cgroup, []string{addrs[0], addrs[2], addrs[4], addrs[6]}, true},
		{"sockets, IPv6", w.a1.NS, w.node1.cgroup, []string{addrs[1], addrs[3], addrs[5], addrs[7]}, false},
		{"packets", w.a1.NS, nil, []string{addrs[0], addrs[2], addrs[4], addrs[6]}, false},
		{"packets, IPv6", w.a1.NS, nil, []string{addrs[1], addrs[3], addrs[5], addrs[7]}, false},
	} {
		visit := func(n int, pause time.Duration) map[string]bool {
			seen := map[string]bool{}
			for i := range n {
				time.Sleep(pause)
				seen[w.ask(c.from, c.cgroup, "tcp", c.addrs[i%len(c.addrs)]).Server] = true
			}
			return seen
		}
		apply(time.Hour)
		if seen := visit(20, 0); len(seen) != 1 {
			t.Errorf("%s: went to %v, want one backend", c.name, seen)
		}
		apply(0)
		if seen := visit(30, 0); len(seen) != 3 {
			t.Errorf("%s: without affinity went to %v, want all", c.name, seen)
		}
		if !c.wait {
			continue
		}
		apply(time.Second)
		if seen := visit(8, 1100*time.Millisecond); len(seen) < 2 {
			t.Errorf("%s: away for longer than the timeout and always to %v", c.name, seen)
		}
	}
}

// UDP flows recover at once when their backend goes: from sockets that are
// connected, sockets that are not, and packets. Each client keeps its socket for
// ever, but for the connected one, which the kernel tells to give it up.
func TestUDPRecovers(t *testing.T) {
	w := newWorld(t)
	w.a1.Hold()
	for family, any := range []string{"0.0.0.0:0", "[::]:0"} {
		svc, addrs := everywhere()
		node := addrs[2+family]
		asks := map[string]func() (testkit.Answer, error){}
		loose, err := w.a1.ListenUDP(w.node1.cgroup, any)
		w.must(err)
		defer loose.Close()
		asks["unconnected"] = func() (testkit.Answer, error) { return loose.Ask(addrs[family], "x") }
		for name, c := range map[string]struct {
			from   *testkit.NS
			cgroup *testkit.Cgroup
			addr   string
		}{"connected": {w.a1.NS, w.node1.cgroup, addrs[family]}, "packets of a pod": {w.a1.NS, nil, addrs[family]}, "packets from the world": {w.client.NS, nil, node}} {
			var conn *testkit.Conn
			asks[name] = func() (a testkit.Answer, err error) {
				for range 2 { // once more, if the socket was ended
					if conn == nil {
						if conn, err = c.from.Dial(c.cgroup, "udp", c.addr, ""); err != nil {
							return a, err
						}
					}
					if a, err = conn.Ask("x"); !errors.Is(err, unix.ECONNABORTED) && !errors.Is(err, unix.EDESTADDRREQ) {
						return a, err
					}
					conn.Close()
					conn = nil
				}
				return a, err
			}
		}
		for _, change := range []struct {
			name string
			old  func(*model.Endpoint)
		}{
			{"gone", nil},
			{"terminating and not serving", func(e *model.Endpoint) { e.Ready, e.Serving, e.Terminating = false, false, true }},
			{"not ready", func(e *model.Endpoint) { e.Ready, e.Serving = false, false }},
		} {
			w.set(svc, w.a2.IPs...)
			for name, ask := range asks {
				w.goesTo("a2", name, ask)
			}
			eps := []model.Endpoint{w.endpoint(w.b1.IPs[0]), w.endpoint(w.b1.IPs[1])}
			for _, a := range w.a2.IPs {
				if e := w.endpoint(a); change.old != nil {
					change.old(&e)
					eps = append(eps, e)
				}
			}
			w.setEndpoints(svc, eps...)
			for name, ask := range asks {
				w.goesTo("b1", name+", the other is "+change.name, ask)
			}
		}
	}
}

// goesTo expects the answer of a server. Sockets are ended beside the change, which
// takes milliseconds if the machine is not busy: they may ask more than once.
func (w *world) goesTo(server, name string, ask func() (testkit.Answer, error)) {
	w.Helper()
	a, err := ask()
	for start := time.Now(); strings.HasPrefix(name, "connected") && a.Server != server && time.Since(start) < 5*time.Second; {
		a, err = ask()
	}
	if err != nil || a.Server != server {
		w.dump()
		w.Errorf("%s: %v %v, want %s", name, a, err, server)
	}
}
