package service

import (
	"cmp"
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
	found := map[portName]map[netip.AddrPort]endpoint{}
	for _, slice := range snap.SlicesOf(svc.Name) {
		if slice.Family != family || slice.Headless {
			continue
		}
		for _, sp := range slice.Ports {
			if sp.Port == 0 {
				continue
			}
			name := portName{sp.Name, sp.Protocol}
			if found[name] == nil {
				found[name] = map[netip.AddrPort]endpoint{}
			}
			for i := range slice.Endpoints {
				e := convert(&slice.Endpoints[i], sp.Port, self)
				if have, ok := found[name][e.addr]; !ok || have.terminating && !e.terminating {
					found[name][e.addr] = e
				}
			}
		}
	}
	out := make(map[portName][]endpoint, len(found))
	for name, eps := range found {
		list := make([]endpoint, 0, len(eps))
		for _, e := range eps {
			list = append(list, e)
		}
		slices.SortFunc(list, func(a, b endpoint) int { return cmp.Or(a.addr.Compare(b.addr)) })
		out[name] = list
	}
	return out
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

// clusterSet is the set of traffic policy Cluster: the ready endpoints that the
// hints allow to this node, else those that serve while terminating.
func clusterSet(eps []endpoint, self node) Set {
	near := topology(eps, self)
	if set := backends(eps, func(e *endpoint) bool { return e.ready && near(e) }); len(set.Backends) > 0 {
		return set
	}
	return backends(eps, (*endpoint).draining)
}

// localSet is the set of traffic policy Local. Where there are endpoints, but
// none here, clients must not be refused: a balancer would take that for an
// answer, and another node has the endpoints.
func localSet(eps []endpoint) Set {
	set := backends(eps, func(e *endpoint) bool { return e.local && e.ready })
	if len(set.Backends) == 0 {
		set = backends(eps, func(e *endpoint) bool { return e.local && e.draining() })
	}
	if len(set.Backends) == 0 {
		set.Drop = slices.ContainsFunc(eps, func(e endpoint) bool { return e.ready || e.draining() })
	}
	return set
}

func backends(eps []endpoint, keep func(*endpoint) bool) Set {
	var set Set
	for i := range eps {
		if keep(&eps[i]) {
			set.Backends = append(set.Backends, Backend{eps[i].addr, eps[i].local})
		}
	}
	return set
}

// topology returns which endpoints this node should use, by the hints alone:
// those for this node if every ready endpoint has node hints and one of them is
// for this node; else the same with zones; else all (KEP-2433, KEP-4444).
func topology(eps []endpoint, self node) func(*endpoint) bool {
	hinted := func(hints func(*endpoint) []string, to string) func(*endpoint) bool {
		hit := false
		for i := range eps {
			if !eps[i].ready {
				continue
			}
			h := hints(&eps[i])
			if len(h) == 0 {
				return nil
			}
			hit = hit || slices.Contains(h, to)
		}
		if !hit || to == "" {
			return nil
		}
		return func(e *endpoint) bool { return slices.Contains(hints(e), to) }
	}
	if f := hinted(func(e *endpoint) []string { return e.nodeHints }, self.name); f != nil {
		return f
	}
	if f := hinted(func(e *endpoint) []string { return e.zoneHints }, self.zone); f != nil {
		return f
	}
	return func(*endpoint) bool { return true }
}
