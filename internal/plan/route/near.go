package route

import (
	"slices"

	"github.com/fairway-net/fairway/internal/dialect/fairway"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// place is where the gateway runs. The zero place is nowhere: all endpoints are alike.
type place struct{ node, zone string }

func placeOf(snap *state.Snapshot, node string) place {
	if n, ok := snap.Nodes.Get(node); ok && node != "" {
		return place{node, n.Zone}
	}
	return place{node: node}
}

// hinted is an endpoint with what its slice says of where it should be used.
type hinted struct {
	Endpoint
	zones, nodes []string
}

// mark says which endpoints are near: those that hints name for the node, else for the
// zone (KEP-4444, KEP-2433), or those of the zone if that is asked for. As in kube-proxy
// hints count only if all endpoints have them, and if they leave any. Where all
// endpoints are near, or none, nothing is said.
func (at place) mark(all []hinted, zones fairway.Zones) []Endpoint {
	var near func(e *hinted) bool
	every := func(f func(e *hinted) bool) bool {
		return !slices.ContainsFunc(all, func(e hinted) bool { return !f(&e) })
	}
	some := func(f func(e *hinted) bool) bool {
		return slices.ContainsFunc(all, func(e hinted) bool { return f(&e) })
	}
	byNode := func(e *hinted) bool { return slices.Contains(e.nodes, at.node) }
	byZone := func(e *hinted) bool { return slices.Contains(e.zones, at.zone) }
	switch {
	case zones == fairway.Off:
	case zones == fairway.Prefer && at.zone != "":
		near = func(e *hinted) bool { return e.Zone == at.zone }
	case at.node != "" && every(func(e *hinted) bool { return len(e.nodes) > 0 }) && some(byNode):
		near = byNode
	case at.zone != "" && every(func(e *hinted) bool { return len(e.zones) > 0 }) && some(byZone):
		near = byZone
	}
	if near != nil && every(near) {
		near = nil
	}
	out := make([]Endpoint, len(all))
	for i := range all {
		out[i] = all[i].Endpoint
		out[i].Near = near != nil && near(&all[i])
	}
	return out
}

// moved says that the gateway's node has another zone than it had.
func (p *Planner) moved(snap *state.Snapshot, ch state.Change) bool {
	if ch.Kind != model.KindNode || ch.Key != p.params.Node || p.params.Node == "" {
		return false
	}
	old := p.at
	p.at = placeOf(snap, p.params.Node)
	return old != p.at
}
