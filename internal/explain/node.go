package explain

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/policy"
	"github.com/fairway-net/fairway/internal/plan/service"
)

// Facts are what a Node is made from: what its datapath is told.
type Facts struct {
	Addrs        []netip.Addr   // the node's own InternalIPs, primary first
	Pods         []netip.Addr   // addresses of pods on this node
	Cluster      []netip.Prefix // pods and nodes of the cluster: nothing is masqueraded towards them
	ServiceCIDRs []netip.Prefix
	Services     []service.Plan
	Policy       policy.Plan
}

// Node answers questions about one node.
type Node struct {
	facts     Facts
	frontends map[place]frontend
	services  map[netip.Addr]bool // addresses whose every port is a Service's business
	classes   []policy.ClassPrefix
	sets      map[string][]policy.Rule
	pods      map[netip.Addr]policy.PodPolicy
}

// place is where a frontend is.
type place struct {
	addr     netip.Addr // unspecified: the node's own addresses
	port     uint16
	protocol model.Protocol
}

// frontend is a frontend with its Port, and whose it is.
type frontend struct {
	service.Frontend
	port *service.Port
	key  service.Key
}

// New takes the facts as they are; they must not change afterwards.
func New(f Facts) *Node {
	n := &Node{
		facts: f, frontends: map[place]frontend{}, services: map[netip.Addr]bool{},
		sets: map[string][]policy.Rule{}, pods: map[netip.Addr]policy.PodPolicy{},
	}
	plans := slices.Clone(f.Services)
	slices.SortFunc(plans, func(a, b service.Plan) int { // of two at one place, the first by name has it
		return cmp.Or(cmp.Compare(a.Key.Kind, b.Key.Kind), a.Key.Name.Compare(b.Key.Name))
	})
	for i := range plans {
		n.addPlan(&plans[i])
	}
	n.classes = slices.Clone(f.Policy.Classes)
	slices.SortFunc(n.classes, func(a, b policy.ClassPrefix) int { return cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits()) })
	for _, s := range f.Policy.Sets {
		n.sets[s.Name] = s.Rules
	}
	for _, p := range f.Policy.Pods {
		for _, a := range p.IPs {
			n.pods[a] = p
		}
	}
	return n
}

func (n *Node) addPlan(plan *service.Plan) {
	for i := range plan.Ports {
		p := &plan.Ports[i]
		for _, f := range p.Frontends {
			at := place{f.Addr, f.Port, p.Protocol}
			if _, taken := n.frontends[at]; !taken {
				n.frontends[at] = frontend{f, p, plan.Key}
			}
			// An external IP may be a host's own address, with ports of its own.
			if f.Kind == service.ClusterIP || f.Kind == service.LoadBalancer {
				n.services[f.Addr] = true
			}
		}
	}
}

// own reports whether a is one of the node's addresses.
func (n *Node) own(a netip.Addr) bool {
	return slices.Contains(n.facts.Addrs, a) || a.IsLoopback()
}

// primary is the address that the node gives to what it masquerades.
func (n *Node) primary(f model.Family) netip.Addr {
	if own := model.CutFamily(n.facts.Addrs, f); len(own) > 0 {
		return own[0]
	}
	return netip.Addr{}
}

func in(nets []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Contains(a) })
}

// frontend finds what answers at an address and port.
func (n *Node) frontend(at netip.AddrPort, protocol model.Protocol) (frontend, bool) {
	f, ok := n.frontends[place{at.Addr(), at.Port(), protocol}]
	if ok || !n.own(at.Addr()) {
		return f, ok
	}
	any := netip.IPv4Unspecified()
	if at.Addr().Is6() {
		any = netip.IPv6Unspecified()
	}
	f, ok = n.frontends[place{any, at.Port(), protocol}]
	return f, ok
}

// allows reports whether the pod at addr lets peer pass in one direction.
func (n *Node) allows(addr, peer netip.Addr, out bool, protocol model.Protocol, port uint16) bool {
	pod, ok := n.pods[addr]
	if !ok {
		return false // its policy is not known yet
	}
	set := pod.Ingress
	if out {
		set = pod.Egress
	}
	if set == nil {
		return true
	}
	class := ""
	if i := slices.IndexFunc(n.classes, func(c policy.ClassPrefix) bool { return c.Prefix.Contains(peer) }); i >= 0 {
		class = n.classes[i].Class
	}
	return slices.ContainsFunc(n.sets[*set], func(r policy.Rule) bool {
		return (r.AnyPeer || r.Class == class) && (r.AnyProtocol || r.Protocol == protocol && r.PortLo <= port && port <= r.PortHi)
	})
}
