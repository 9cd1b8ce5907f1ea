package bpf

import (
	"log/slog"
	"net/netip"
	"testing"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/policy"
	"github.com/fairway-net/fairway/internal/plan/service"
	"github.com/fairway-net/fairway/internal/state"
	"github.com/fairway-net/fairway/internal/testkit"
)

// The world of the tests, on addresses for documentation:
//
//	            198.51.100.0/24, 2001:db8::/64
//	     ┌───────────────┼──────────────┐
//	node1 .1          node2 .2       client .9
//	┌────┴────┐          │
//	a1       a2         b1           Service addresses: 10.96.0.0/16
//	10.1.1.2 10.1.1.3   10.1.2.2     LoadBalancer: 198.51.100.100 and up
//
// The client knows no route to pods, so that whatever it gets an answer to has
// been translated both ways.
type world struct {
	*testing.T
	store        *state.Store
	net          *testkit.Network
	node1, node2 *testNode
	client       *testkit.Host
	a1, a2, b1   *testkit.Pod
}

// testNode is a node with its datapath.
type testNode struct {
	*testkit.Node
	w      *world
	dir    string
	layout string
	cgroup *testkit.Cgroup
	dp     *Datapath
	pods   []*testkit.Pod
}

func newWorld(t *testing.T) *world {
	t.Helper()
	testkit.NeedRoot(t)
	w := &world{T: t, store: state.New(), net: testkit.NewNetwork(t)}
	w.node1 = w.node("node1", []string{"198.51.100.1/24", "2001:db8::1/64"}, "10.1.1.0/24", "fd00:1:1::/64")
	w.node2 = w.node("node2", []string{"198.51.100.2/24", "2001:db8::2/64"}, "10.1.2.0/24", "fd00:1:2::/64")
	w.client = w.net.Host("client", "198.51.100.9/24", "2001:db8::9/64")
	testkit.Join(w.node1.Node, w.node2.Node)
	w.a1, w.a2, w.b1 = w.node1.pod("a1"), w.node1.pod("a2"), w.node2.pod("b1")
	for _, n := range []*testNode{w.node1, w.node2} {
		n.open()
	}
	for _, p := range []*testkit.Pod{w.a1, w.a2, w.b1} {
		p.Serve(":8080")
	}
	w.openPods()
	return w
}

func (w *world) node(name string, addrs []string, cidrs ...string) *testNode {
	n := &testNode{Node: w.net.Node(name, addrs, cidrs...), w: w, dir: testkit.BPFFS(w.T), layout: layout, cgroup: testkit.NewCgroup(w.T, name)}
	w.store.Update(func(tx *state.Tx) {
		tx.Set(&model.Node{Name: name, InternalIPs: n.Addrs, PodCIDRs: n.PodCIDRs})
	})
	return n
}

func (n *testNode) pod(name string) *testkit.Pod {
	p := n.Pod(name)
	n.pods = append(n.pods, p)
	return p
}

// open opens the node's datapath and tells it of nodes and pods.
func (n *testNode) open() {
	n.w.Helper()
	err := n.Do(func() (err error) {
		n.dp, err = open(Options{Dir: n.dir, Cgroup: n.cgroup.Dir, Uplink: "eth0", Log: slog.New(slog.NewTextHandler(n.w.Output(), nil))}, n.layout)
		return err
	})
	if err != nil {
		n.w.Fatalf("open datapath of %s: %+v", n.Name, err)
	}
	dp := n.dp
	n.w.Cleanup(func() { dp.Close() })
	nodes := Nodes{Self: n.Addrs, Local: n.PodCIDRs, ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:96::/112")}}
	for _, o := range n.w.store.Snapshot().Nodes.All() {
		nodes.PodCIDRs = append(nodes.PodCIDRs, o.PodCIDRs...)
		if o.Name != n.Name {
			nodes.Others = append(nodes.Others, o.InternalIPs...)
		}
	}
	n.w.must(n.dp.ApplyNodes(n.w.Context(), nodes))
	for _, p := range n.pods {
		n.attach(p)
	}
}

func (n *testNode) attach(p *testkit.Pod) {
	n.w.Helper()
	n.w.must(n.Do(func() error { return n.dp.AttachPod(PodLink{Pod: podName(p), IfIndex: p.Index, IPs: p.IPs}) }))
}

func podName(p *testkit.Pod) model.Name { return model.Name{Namespace: "test", Name: p.Name} }

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// openPods lets all pods talk to everybody.
func (w *world) openPods() {
	w.Helper()
	for _, n := range []*testNode{w.node1, w.node2} {
		var plan policy.Plan
		for _, p := range n.pods {
			plan.Pods = append(plan.Pods, policy.PodPolicy{Pod: podName(p), IPs: p.IPs})
		}
		w.must(n.dp.ApplyPolicy(w.Context(), plan))
	}
}

// endpoint is a ready endpoint on the node that has the address.
func (w *world) endpoint(addr netip.Addr) model.Endpoint {
	e := model.Endpoint{Addr: addr, Ready: true, Serving: true}
	for _, n := range []*testNode{w.node1, w.node2} {
		for _, a := range n.Addrs {
			if a == addr {
				e.Node = n.Name
			}
		}
		for _, p := range n.pods {
			for _, a := range p.IPs {
				if a == addr {
					e.Node = n.Name
				}
			}
		}
	}
	return e
}

// set puts a Service with one port, 80, into the state and applies it on both
// nodes. Backends listen at 8080.
func (w *world) set(svc *model.Service, backends ...netip.Addr) {
	w.Helper()
	eps := make([]model.Endpoint, len(backends))
	for i, a := range backends {
		eps[i] = w.endpoint(a)
	}
	w.setEndpoints(svc, eps...)
}

func (w *world) setEndpoints(svc *model.Service, eps ...model.Endpoint) {
	w.Helper()
	w.setSlices(svc, []model.EndpointPort{{Name: "tcp", Protocol: model.TCP, Port: 8080}, {Name: "udp", Protocol: model.UDP, Port: 8080}}, eps...)
}

func (w *world) setSlices(svc *model.Service, ports []model.EndpointPort, eps ...model.Endpoint) {
	w.Helper()
	w.store.Update(func(tx *state.Tx) {
		tx.Set(svc)
		for _, f := range []model.Family{model.IPv4, model.IPv6} {
			s := &model.EndpointSlice{Name: model.Name{Namespace: svc.Namespace, Name: svc.Name.Name + []string{4: "-4", 6: "-6"}[f]}, Service: svc.Name.Name, Family: f, Ports: ports}
			for _, e := range eps {
				if model.FamilyOf(e.Addr) == f {
					s.Endpoints = append(s.Endpoints, e)
				}
			}
			tx.Set(s)
		}
	})
	w.apply(svc.Name)
}

// apply plans and applies a Service on both nodes.
func (w *world) apply(name model.Name) {
	w.Helper()
	for _, n := range []*testNode{w.node1, w.node2} {
		plan := service.For(w.store.Snapshot(), service.Params{Node: n.Name}, service.Key{Kind: model.KindService, Name: name})
		w.must(n.dp.ApplyServices(w.Context(), []service.Plan{plan}))
	}
}

// web is a Service of both families with the ports 80 over TCP and UDP.
func web(name string, clusterIPs ...string) *model.Service {
	s := &model.Service{Name: model.Name{Namespace: "test", Name: name}, Type: model.LoadBalancer, Ports: []model.ServicePort{
		{Name: "tcp", Protocol: model.TCP, Port: 80}, {Name: "udp", Protocol: model.UDP, Port: 80},
	}}
	for _, a := range clusterIPs {
		s.ClusterIPs = append(s.ClusterIPs, netip.MustParseAddr(a))
	}
	return s
}

// ask expects an answer and returns it.
func (w *world) ask(from *testkit.NS, c *testkit.Cgroup, network, addr string) testkit.Answer {
	w.Helper()
	a, err := from.Ask(c, network, addr)
	if err != nil {
		w.dump()
		w.Fatalf("%s to %s %s: %v", from.Name, network, addr, err)
	}
	return a
}

// dump logs what may explain a failure.
func (w *world) dump() {
	for _, n := range []*testNode{w.node1, w.node2} {
		drops, _ := n.dp.ReadDrops()
		w.Logf("%s drops: %v", n.Name, drops)
		services, _ := n.dp.ReadServices(func(service.Key) bool { return true })
		for _, s := range services {
			w.Logf("%s %v/%v -> %v, others %v", n.Name, s.Addr, s.Protocol, s.Internal, s.External)
		}
		each(n.dp.objs.Conns, func(k kernelTuple, c kernelConn) {
			w.Logf("%s flow scope %d proto %d %v:%d>%v:%d to %v:%d>%v:%d flags %#x", n.Name, k.Scope, k.Proto,
				k.Src.addr(), swap(k.Sport), k.Dst.addr(), swap(k.Dport), c.To.Src.addr(), swap(c.To.Sport), c.To.Dst.addr(), swap(c.To.Dport), c.Flags)
		})
	}
}
