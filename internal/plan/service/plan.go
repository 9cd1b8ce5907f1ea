package service

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// Affected returns the keys whose Plan may differ in snap from what it was
// before changes, each once. was is this node's own Node as it was then; nil
// before the first plan.
func Affected(snap *state.Snapshot, changes state.Changes, was *model.Node, p Params) []Key {
	self := snap.Node(p.Node)
	all := changes.All || !sameNode(was, self) // its zone and its addresses matter to every Service
	set := make(map[Key]struct{}, len(changes.Keys))
	if all {
		for _, k := range All(snap, p) {
			set[k] = struct{}{}
		}
	}
	// After a failed first step All comes with the keys of what changed since: a
	// Service deleted meanwhile is only there.
	for ch := range changes.Keys {
		if k, ok := keyOf(ch); ok {
			set[k] = struct{}{}
		}
	}
	return slices.Collect(maps.Keys(set))
}

// keyOf returns the key whose Plan depends on what changed; a Node is not seen to.
func keyOf(change state.Change) (Key, bool) {
	switch change.Kind {
	case model.KindService:
		return Key{model.KindService, model.ParseName(change.Key)}, true
	case model.KindEndpointSlice:
		if i := strings.LastIndexByte(change.Key, '/'); i >= 0 { // namespace/service/slice
			return Key{model.KindService, model.ParseName(change.Key[:i])}, true
		}
	case model.KindPod:
		return Key{model.KindPod, model.ParseName(change.Key)}, true
	}
	return Key{}, false
}

// sameNode reports whether two states of a Node are the same to every plan.
func sameNode(a, b *model.Node) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Zone == b.Zone && slices.Equal(a.InternalIPs, b.InternalIPs)
}

// All returns every key that has a Plan in snap.
func All(snap *state.Snapshot, p Params) []Key {
	var out []Key
	for _, svc := range snap.Services.All() {
		if proxied(svc) {
			out = append(out, Key{model.KindService, svc.Name})
		}
	}
	for _, pod := range snap.Pods.All() {
		if pod.Node == p.Node && hasHostPort(pod) {
			out = append(out, Key{model.KindPod, pod.Name})
		}
	}
	return out
}

// For plans key. A Service that is not there has a Plan without Ports.
func For(snap *state.Snapshot, p Params, key Key) Plan {
	if key.Kind == model.KindPod {
		return forPod(snap, p, key)
	}
	plan := Plan{Key: key}
	svc := snap.Service(key.Name)
	if svc == nil || !proxied(svc) {
		return plan
	}
	self := nodeOf(snap, p)
	local := map[netip.Addr]bool{} // ready endpoints here
	for _, family := range families(svc) {
		byPort := endpointsOf(snap, svc, family, self)
		for i := range svc.Ports {
			eps := byPort[portName{svc.Ports[i].Name, svc.Ports[i].Protocol}]
			plan.Ports = append(plan.Ports, planPort(svc, &svc.Ports[i], family, eps, self))
			for _, e := range eps {
				if e.local && e.ready {
					local[e.addr.Addr()] = true
				}
			}
		}
	}
	if p.NoSCTP {
		plan.Rejected = withoutSCTP(svc, p.Node)
	}
	slices.SortFunc(plan.Ports, comparePorts)
	if svc.Type == model.LoadBalancer && svc.ExternalLocal {
		plan.HealthCheckPort, plan.LocalReady = svc.HealthCheckNodePort, len(local)
	}
	return plan
}

// proxied reports whether proxies have anything to do with svc.
func proxied(svc *model.Service) bool { return skipped(svc) == "" }

// withoutSCTP says which ports programs on the node cannot use. They are planned
// all the same: packets of whoever brings SCTP along are served.
func withoutSCTP(svc *model.Service, node string) []model.Rejected {
	var out []model.Rejected
	for i := range svc.Ports {
		if svc.Ports[i].Protocol != model.SCTP {
			continue
		}
		out = append(out, model.Rejected{
			Ref:   model.Ref{Kind: model.KindService, Name: svc.Name, UID: svc.UID},
			Field: fmt.Sprintf("spec.ports[%d].protocol", i), Reason: "NoSCTP",
			Message: fmt.Sprintf("the kernel of node %s has no SCTP sockets: the port is forwarded, but no program on this node can listen or connect", node),
			Fix:     "use a kernel with CONFIG_IP_SCTP, or load the module sctp",
		})
	}
	return out
}

func families(svc *model.Service) []model.Family {
	var out []model.Family
	for _, a := range svc.ClusterIPs {
		if f := model.FamilyOf(a); !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out
}

// node is what the planner needs of the node it plans for.
type node struct {
	name, zone string
	addrs      []netip.Addr
}

func nodeOf(snap *state.Snapshot, p Params) node {
	n := node{name: p.Node}
	if obj := snap.Node(p.Node); obj != nil {
		n.zone, n.addrs = obj.Zone, obj.InternalIPs
	}
	return n
}

// planPort plans one port of a Service in one family.
func planPort(svc *model.Service, sp *model.ServicePort, family model.Family, eps []endpoint, self node) Port {
	p := Port{Family: family, Name: sp.Name, Protocol: sp.Protocol, Affinity: svc.Affinity}
	p.SourceRanges = restriction(svc.SourceRanges, family)
	set := func(by TrafficPolicy) int {
		if by == Local {
			return p.addSet(localSet(eps))
		}
		return p.addSet(clusterSet(eps, self))
	}
	add := func(a netip.Addr, port uint16, kind FrontendKind) {
		internal, external := policies(svc, kind)
		p.add(Frontend{Addr: a, Port: port, Kind: kind, Internal: set(internal), External: set(external), Restricted: kind == LoadBalancer && p.SourceRanges != nil})
	}
	for _, a := range model.CutFamily(svc.ClusterIPs, family) {
		add(a, sp.Port, ClusterIP)
	}
	for _, a := range model.CutFamily(svc.ExternalIPs, family) {
		add(a, sp.Port, ExternalIP)
	}
	if svc.Type == model.LoadBalancer {
		for _, in := range svc.LoadBalancer {
			if in.IP.IsValid() && !in.Proxy && model.FamilyOf(in.IP) == family {
				add(in.IP, sp.Port, LoadBalancer)
			}
		}
	}
	if sp.NodePort != 0 && svc.Type != model.ClusterIP {
		add(anyAddr(family), sp.NodePort, NodePort)
	}
	for _, e := range eps {
		if e.serving || e.ready {
			p.Serving = append(p.Serving, e.addr)
		}
	}
	slices.SortFunc(p.Frontends, compareFrontends)
	if p.SourceRanges != nil && slices.ContainsFunc(self.addrs, p.admits) {
		p.admitOwn()
	}
	return p
}

func (p *Port) admits(a netip.Addr) bool {
	return slices.ContainsFunc(p.SourceRanges, func(r netip.Prefix) bool { return r.Contains(a) })
}

// admitOwn lets a LoadBalancer's address come from itself: where a cloud has
// bound it to the node, that is the source of what the admitted node sends to it
// (kube-proxy's rule for LoadBalancers like virtual IPs).
func (p *Port) admitOwn() {
	for _, f := range p.Frontends {
		if f.Kind == LoadBalancer && !p.admits(f.Addr) {
			p.SourceRanges = append(p.SourceRanges, netip.PrefixFrom(f.Addr, f.Addr.BitLen()))
		}
	}
	slices.SortFunc(p.SourceRanges, netip.Prefix.Compare)
}

// policies returns which traffic policy counts at a frontend, for clients of
// this node and for all others. Clients of this node that name an address meant
// for the world need not make the detour through it: for them it is Cluster.
func policies(svc *model.Service, kind FrontendKind) (internal, external TrafficPolicy) {
	switch {
	case kind == ClusterIP && svc.InternalLocal:
		return Local, Local
	case kind != ClusterIP && svc.ExternalLocal:
		return Cluster, Local
	}
	return Cluster, Cluster
}

func anyAddr(f model.Family) netip.Addr {
	if f == model.IPv4 {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// restriction returns the source ranges of a family; nil admits everybody,
// which is also what a range of length 0 says.
func restriction(ranges []netip.Prefix, family model.Family) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range ranges {
		if model.FamilyOf(r.Addr()) != family {
			continue
		}
		if r.Bits() == 0 {
			return nil
		}
		out = append(out, r.Masked())
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}

// add appends f unless the same address and port is there already: an address
// may be both an external IP and a LoadBalancer's, and the wider one stays.
func (p *Port) add(f Frontend) {
	for _, have := range p.Frontends {
		if have.Addr == f.Addr && have.Port == f.Port {
			return
		}
	}
	p.Frontends = append(p.Frontends, f)
}

// addSet returns the index of set in p.Sets.
func (p *Port) addSet(set Set) int {
	for i := range p.Sets {
		if p.Sets[i].Drop == set.Drop && slices.Equal(p.Sets[i].Backends, set.Backends) {
			return i
		}
	}
	p.Sets = append(p.Sets, set)
	return len(p.Sets) - 1
}

func comparePorts(a, b Port) int {
	return cmp.Or(cmp.Compare(a.Family, b.Family), strings.Compare(a.Name, b.Name), cmp.Compare(a.Protocol, b.Protocol))
}

func compareFrontends(a, b Frontend) int {
	return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Port, b.Port))
}
