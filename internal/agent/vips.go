package agent

import (
	"context"
	"net/netip"
	"slices"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/address"
	"github.com/fairway-net/fairway/internal/state"
)

// vips keeps the LoadBalancer addresses that this node answers for.
type vips struct {
	node     string
	datapath interface {
		ApplyVIPs(context.Context, []netip.Addr) error
	}
	done    func() // called after each success
	last    []netip.Addr
	applied bool
}

func (v *vips) kinds() []model.Kind {
	return []model.Kind{model.KindService, model.KindEndpointSlice, model.KindNode}
}

func (v *vips) step(ctx context.Context, snap *state.Snapshot, _ state.Changes) error {
	var mine []netip.Addr
	for addr, node := range address.Announcers(snap) {
		if node == v.node {
			mine = append(mine, addr)
		}
	}
	slices.SortFunc(mine, netip.Addr.Compare)
	if v.applied && slices.Equal(mine, v.last) {
		return nil
	}
	if err := v.datapath.ApplyVIPs(ctx, mine); err != nil {
		return err
	}
	v.last, v.applied = mine, true
	v.done()
	return nil
}
