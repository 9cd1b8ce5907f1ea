package service

import (
	"net/netip"
	"slices"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// endpoint is one endpoint of one port.
type endpoint struct {
	addr                        netip.AddrPort
	ready, serving, terminating bool
	local                       bool
	zoneHints, nodeHints        []string
}

// draining says that e may serve where nothing ready is left (KEP-1669).
func (e *endpoint) draining() bool { return e.serving && e.terminating && !e.ready }

// portName joins a ServicePort to the ports of slices.
type portName struct {
	name     string
	protocol model.Protocol
}

// endpointsOf collects the endpoints of svc in a family from all its slices, by
// port, each address and port once. Of two entries for the same one, the one
// that is not terminating wins: its pod has taken over the address.
func endpointsOf(snap *state.Snapshot, svc *model.Service, family model.Family, self node) map[portName][]endpoint {
	out := map[portName][]endpoint{}
	for _, slice := range snap.SlicesOf(svc.Name) {
		if joins(slice, family) != Chosen {
			continue
		}
		for _, sp := range slice.Ports {
			if sp.Port == 0 {
				continue
			}
			name := portName{sp.Name, sp.Protocol}
			eps := slices.Grow(out[name], len(slice.Endpoints))
			for i := range slice.Endpoints {
				eps = append(eps, convert(&slice.Endpoints[i], sp.Port, self))
			}
			out[name] = eps
		}
	}
	for name, eps := range out {
		// The sort is stable: of equals the first counts.
		slices.SortStableFunc(eps, func(a, b endpoint) int {
			if c := a.addr.Compare(b.addr); c != 0 || a.terminating == b.terminating {
				return c
			}
			if a.terminating {
				return 1
			}
			return -1
		})
		out[name] = slices.CompactFunc(eps, func(a, b endpoint) bool { return a.addr == b.addr })
	}
	return out
}

// joins returns Chosen if the endpoints of slice are looked at in a family.
func joins(slice *model.EndpointSlice, families ...model.Family) Verdict {
	switch {
	case slice.DomainNames != nil:
		return DomainName
	case slice.Headless:
		return HeadlessSlice
	case !slices.Contains(families, slice.Family):
		return OtherFamily
	}
	return Chosen
}

func convert(e *model.Endpoint, port uint16, self node) endpoint {
	addr := e.Addr.Unmap()
	return endpoint{
		addr: netip.AddrPortFrom(addr, port), ready: e.Ready, serving: e.Serving, terminating: e.Terminating,
		// A hand-written slice may leave nodeName out and still mean this node.
		local:     e.Node != "" && e.Node == self.name || e.Node == "" && slices.Contains(self.addrs, addr),
		zoneHints: e.ZoneHints, nodeHints: e.NodeHints,
	}
}

// clusterSet is the set of traffic policy Cluster.
func clusterSet(eps []endpoint, self node) Set { return setOf(eps, byCluster(eps, self)) }

// localSet is the set of traffic policy Local. Where there are endpoints, but
// none here, clients must not be refused: a balancer would take that for an
// answer, and another node has the endpoints.
func localSet(eps []endpoint) Set {
	set := setOf(eps, byLocal(eps))
	if len(set.Backends) == 0 {
		set.Drop = slices.ContainsFunc(eps, func(e endpoint) bool { return e.ready || e.draining() })
	}
	return set
}

func setOf(eps []endpoint, judge func(*endpoint) Verdict) Set {
	var set Set
	for i := range eps {
		if judge(&eps[i]).In() {
			set.Backends = append(set.Backends, Backend{eps[i].addr, eps[i].local})
		}
	}
	return set
}
