package address

import (
	"hash/fnv"
	"net/netip"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// Announcers returns which node answers ARP and NDP for each LoadBalancer
// address, for all Services that Fairway gives addresses (Ours).
//
// Every node computes the same without talking to the others: of the nodes that
// may announce, the one with the highest hash of (node, address) wins, so that
// a node that comes or goes moves only its own share of the addresses. A node
// may announce if it is Ready, not being deleted and not excluded by
// node.kubernetes.io/exclude-from-external-load-balancers, and if it has an
// address of the family itself; with externalTrafficPolicy Local it must also
// have an endpoint that would take the traffic. If no node qualifies nobody
// announces.
func Announcers(snap *state.Snapshot) map[netip.Addr]string {
	out := map[netip.Addr]string{}
	for _, s := range snap.Services.All() {
		if !Ours(s) {
			continue
		}
		for _, in := range s.LoadBalancer {
			if in.IP.IsValid() && !in.Proxy {
				var local map[string]bool
				if s.ExternalLocal {
					local = nodesWithEndpoints(snap, s.Name, model.FamilyOf(in.IP))
				}
				if node := elect(snap, in.IP, local); node != "" {
					out[in.IP] = node
				}
			}
		}
	}
	return out
}

func elect(snap *state.Snapshot, addr netip.Addr, only map[string]bool) string {
	best, bestScore := "", uint64(0)
	for _, n := range snap.Nodes.All() {
		if !n.Ready || n.Deleting || n.ExcludeLB || (only != nil && !only[n.Name]) || len(model.CutFamily(n.InternalIPs, model.FamilyOf(addr))) == 0 {
			continue
		}
		if score := hash(n.Name, addr); best == "" || score > bestScore {
			best, bestScore = n.Name, score
		}
	}
	return best
}

func hash(node string, addr netip.Addr) uint64 {
	h := fnv.New64a()
	h.Write([]byte(node))
	h.Write([]byte{'#'})
	h.Write(addr.AsSlice())
	// FNV's high bits barely depend on the last bytes; mix them (splitmix64's finaliser).
	x := h.Sum64()
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// nodesWithEndpoints returns the nodes with ready endpoints of a family, or,
// where no endpoint at all is ready, those with serving ones that terminate (KEP-1669).
func nodesWithEndpoints(snap *state.Snapshot, service model.Name, family model.Family) map[string]bool {
	ready, fallback := map[string]bool{}, map[string]bool{}
	for _, slice := range snap.SlicesOf(service) {
		if slice.Family != family {
			continue
		}
		for i := range slice.Endpoints {
			switch e := &slice.Endpoints[i]; {
			case e.Ready:
				ready[e.Node] = true
			case e.Serving && e.Terminating:
				fallback[e.Node] = true
			}
		}
	}
	if len(ready) == 0 {
		return fallback
	}
	return ready
}
