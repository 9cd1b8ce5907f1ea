package bpf

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	oracle "github.com/fairway-net/fairway/internal/explain"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
	"github.com/fairway-net/fairway/internal/testkit"
)

// Random Services and policies, random packets: the kernel's programs do what the
// model says, let answers and ICMP errors find back, and keep all checksums.
func TestRandomPackets(t *testing.T) {
	w := newWorld(t)
	s := newSim(w.node1)
	rounds, packets := 25, 60
	if testing.Short() {
		rounds = 5
	}
	port, met := uint16(1024), 0
	for round := range rounds {
		seed := uint64(round)
		if round > 5 { // the rest is new every time
			seed = uint64(time.Now().UnixNano())
		}
		g := &generator{rand.New(rand.NewPCG(seed, 0)), w}
		snap := g.snapshot()
		facts := oracle.Gather(snap, "node1", nil, serviceCIDRs)
		w.node1.program(facts)
		twin := oracle.New(facts)
		for range packets {
			port++
			p := g.packet(port, facts)
			answer := twin.Ask(p)
			if answer.Service.Name.Name != "" {
				met++
			}
			if err := s.check(p, answer); err != nil {
				t.Errorf("seed %d: %v from %v to %v (%v, origin %d):\n%v", seed, p.Protocol, p.Src, p.Dst, answer.Service, p.From, err)
			}
		}
		if t.Failed() {
			for _, plan := range facts.Services {
				t.Log(plan.String())
			}
			return
		}
		w.must(w.node1.dp.PruneServices(t.Context()))
		g.forget(facts)
	}
	t.Logf("%d of %d packets met a Service", met, rounds*packets)
	if met < rounds*packets/3 {
		t.Error("these are too few")
	}
}

type generator struct {
	*rand.Rand
	w *world
}

func (g *generator) chance(n int) bool { return g.IntN(n) == 0 }

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }

// port is a Service's, mostly 80.
func (g *generator) port() uint16 { return pick[uint16](g, 80, 80, 80, 81) }

// forget takes the Services out again.
func (g *generator) forget(f oracle.Facts) {
	for i := range f.Services {
		f.Services[i].Ports = nil
	}
	g.w.must(g.w.node1.dp.ApplyServices(g.w.Context(), f.Services))
}

func (g *generator) snapshot() *state.Snapshot {
	store := state.New()
	store.Update(func(tx *state.Tx) {
		for _, n := range []*testNode{g.w.node1, g.w.node2} {
			tx.Set(&model.Node{Name: n.Name, InternalIPs: n.Addrs, PodCIDRs: n.PodCIDRs})
			for _, p := range n.pods {
				tx.Set(&model.Pod{Name: podName(p), Node: n.Name, IPs: p.IPs, Labels: map[string]string{"app": p.Name}})
			}
		}
		tx.Set(&model.Namespace{Name: "test"})
		for i := range 6 {
			svc := g.service(i)
			tx.Set(svc)
			for j, f := range []model.Family{model.IPv4, model.IPv6, model.IPv4} {
				tx.Set(g.slice(svc, f, j))
			}
		}
		for i := range g.IntN(3) {
			tx.Set(g.policy(i))
		}
	})
	return store.Snapshot()
}

func (g *generator) service(i int) *model.Service {
	svc := &model.Service{
		Name: model.Name{Namespace: "test", Name: fmt.Sprintf("s%d", i)},
		Type: pick(g, model.ClusterIP, model.NodePort, model.LoadBalancer, model.LoadBalancer),
		ClusterIPs: pick(g, []netip.Addr{clusterIP(4, i)}, []netip.Addr{clusterIP(6, i)}, []netip.Addr{clusterIP(4, i), clusterIP(6, i)},
			[]netip.Addr{clusterIP(6, i), clusterIP(4, i)}),
		InternalLocal: g.chance(4), ExternalLocal: g.chance(3),
	}
	if g.chance(4) {
		svc.Affinity = time.Hour
	}
	for j, proto := range protocols {
		if j > 0 && g.chance(2) {
			continue
		}
		svc.Ports = append(svc.Ports, model.ServicePort{Name: proto.String(), Protocol: proto, Port: g.port(), NodePort: uint16(30000 + i)})
	}
	for g.chance(2) { // two Services may name the same one
		svc.ExternalIPs = append(svc.ExternalIPs, netip.MustParseAddr(pick(g, "203.0.113.1", "203.0.113.2", "2001:db8:113::1", "198.51.100.1")))
	}
	if svc.Type == model.LoadBalancer {
		for _, a := range []netip.Addr{vip(4, i), vip(6, i)} {
			svc.LoadBalancer = append(svc.LoadBalancer, model.LoadBalancerIngress{IP: a, Proxy: g.chance(5)})
		}
		for g.chance(3) {
			svc.SourceRanges = append(svc.SourceRanges, netip.MustParsePrefix(pick(g, "198.51.100.0/28", "10.1.1.2/31", "10.0.0.0/8", "0.0.0.0/0", "2001:db8::/64", "fd00::/16")))
		}
	}
	return svc
}

func clusterIP(f model.Family, i int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf(map[model.Family]string{4: "10.96.0.%d", 6: "fd00:96::%d"}[f], i+1))
}

func vip(f model.Family, i int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf(map[model.Family]string{4: "198.51.100.%d", 6: "2001:db8::%d"}[f], i+100))
}

// backends are pods and nodes.
func (g *generator) backends() []netip.Addr {
	out := append(append([]netip.Addr{}, g.w.node1.Addrs...), g.w.node2.Addrs...)
	for _, p := range []*testkit.Pod{g.w.a1, g.w.a2, g.w.b1} {
		out = append(out, p.IPs...)
	}
	return out
}

func (g *generator) slice(svc *model.Service, f model.Family, i int) *model.EndpointSlice {
	s := &model.EndpointSlice{Name: model.Name{Namespace: "test", Name: fmt.Sprintf("%s-%d", svc.Name.Name, i)}, Service: svc.Name.Name, Family: f}
	for _, p := range svc.Ports {
		s.Ports = append(s.Ports, model.EndpointPort{Name: p.Name, Protocol: p.Protocol, Port: uint16(8080 + g.IntN(2))})
	}
	for _, a := range g.backends() {
		if model.FamilyOf(a) != f || g.chance(2) {
			continue
		}
		e := g.w.endpoint(a)
		switch g.IntN(6) {
		case 0:
			e.Ready = false
		case 1:
			e.Ready, e.Terminating = false, true
		case 2:
			e.Ready, e.Serving = false, false
		}
		if g.chance(4) {
			e.NodeHints = []string{pick(g, "node1", "node2")}
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

func (g *generator) policy(i int) *model.NetworkPolicy {
	peers := func() []model.PolicyRule {
		var rules []model.PolicyRule
		for g.chance(2) {
			r := model.PolicyRule{Peers: []model.PolicyPeer{{Block: &model.IPBlock{CIDR: netip.MustParsePrefix(pick(g, "10.1.0.0/16", "198.51.100.0/29", "fd00:1::/32", "10.1.1.2/32", "2001:db8::/64"))}}}}
			if g.chance(2) {
				r.Ports = []model.PolicyPort{{Protocol: pick(g, protocols...), Port: model.IntOrString{Int: uint16(8080 + g.IntN(2))}}}
			}
			rules = append(rules, r)
		}
		return rules
	}
	return &model.NetworkPolicy{
		Name:    model.Name{Namespace: "test", Name: fmt.Sprintf("p%d", i)},
		Pods:    model.Selector{MatchLabels: map[string]string{"app": pick(g, "a1", "a2")}},
		Ingress: g.chance(2), Egress: g.chance(2), IngressRules: peers(), EgressRules: peers(),
	}
}

// packet is one from anywhere to somewhere, mostly to a Service.
func (g *generator) packet(port uint16, facts oracle.Facts) oracle.Packet {
	p := oracle.Packet{From: pick(g, oracle.FromNet, oracle.FromNet, oracle.FromPod, oracle.FromPod, oracle.FromNode), Protocol: pick(g, protocols...)}
	family := pick(g, 0, 1)
	var src netip.Addr
	switch p.From {
	case oracle.FromNet:
		src = pick(g, g.w.client.Addrs, g.w.node2.Addrs, g.w.b1.IPs)[family]
	case oracle.FromPod:
		src = pick(g, g.w.a1.IPs, g.w.a2.IPs)[family]
	case oracle.FromNode:
		src = g.w.node1.Addrs[family]
	}
	f := model.FamilyOf(src)
	i := g.IntN(7)
	own, other := g.w.node1.Addrs[family], g.w.node2.Addrs[family]
	external := map[model.Family][]string{4: {"203.0.113.1", "203.0.113.2", "203.0.113.77"}, 6: {"2001:db8:113::1", "2001:db8:113::77"}}[f]
	at := pick(g,
		netip.AddrPortFrom(clusterIP(f, i), g.port()), netip.AddrPortFrom(clusterIP(f, i), g.port()),
		netip.AddrPortFrom(vip(f, i), g.port()), netip.AddrPortFrom(vip(f, i), g.port()),
		netip.AddrPortFrom(netip.MustParseAddr(pick(g, external...)), g.port()),
		netip.AddrPortFrom(own, uint16(30000+i)), netip.AddrPortFrom(own, uint16(30000+i)), netip.AddrPortFrom(other, uint16(30000+i)),
	)
	if p.From == oracle.FromNode && at.Addr() == own { // it would not get to a program
		at = netip.AddrPortFrom(clusterIP(f, i), 80)
	}
	p.Src, p.Dst = netip.AddrPortFrom(src, port), at
	if g.chance(2) {
		g.aim(&p, facts)
	}
	return p
}

// aim makes a packet go to a frontend, if one is found that it can reach.
func (g *generator) aim(p *oracle.Packet, facts oracle.Facts) {
	for range 20 {
		plan := pick(g, facts.Services...)
		if len(plan.Ports) == 0 {
			continue
		}
		port := pick(g, plan.Ports...)
		f := pick(g, port.Frontends...)
		if model.FamilyOf(f.Addr) != model.FamilyOf(p.Src.Addr()) || p.From == oracle.FromNode && g.w.node1.has(f.Addr) {
			continue
		}
		p.Protocol, p.Dst = port.Protocol, netip.AddrPortFrom(f.Addr, f.Port)
		if f.Addr.IsUnspecified() {
			p.Dst = netip.AddrPortFrom(pick(g, model.CutFamily(g.w.node1.Addrs, port.Family)...), f.Port)
		}
		return
	}
}

func (n *testNode) has(a netip.Addr) bool { return a.IsUnspecified() || slices.Contains(n.Addrs, a) }
