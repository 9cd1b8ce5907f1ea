package agent

import (
	"context"
	"maps"
	"slices"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/service"
	"github.com/fairway-net/fairway/internal/state"
)

// services keeps the node's Services in the datapath, one change at a time.
type services struct {
	params   service.Params
	datapath interface {
		ApplyServices(context.Context, []service.Plan) error
		PruneServices(context.Context) error
	}
	health *healthPorts
	done   func() // called after each success
	pruned bool
}

func (s *services) kinds() []model.Kind {
	return []model.Kind{model.KindService, model.KindEndpointSlice, model.KindPod, model.KindNode}
}

func (s *services) step(ctx context.Context, snap *state.Snapshot, changes state.Changes) error {
	keys := s.affected(snap, changes)
	plans := make([]service.Plan, 0, len(keys))
	for _, k := range keys {
		plans = append(plans, service.For(snap, s.params, k))
	}
	if err := s.datapath.ApplyServices(ctx, plans); err != nil {
		return err
	}
	if !s.pruned { // the first step is complete, of synced sources: what it did not mention is stale
		if err := s.datapath.PruneServices(ctx); err != nil {
			return err
		}
		s.pruned = true
	}
	s.done()
	return s.health.apply(plans)
}

// affected are the keys to plan anew. After a failed first step All comes with
// the keys of what changed since: a Service deleted meanwhile is only there.
func (s *services) affected(snap *state.Snapshot, changes state.Changes) []service.Key {
	set := map[service.Key]struct{}{}
	if changes.All {
		for _, k := range service.All(snap, s.params) {
			set[k] = struct{}{}
		}
	}
	for ch := range changes.Keys {
		for _, k := range service.Keys(ch, snap, s.params) {
			set[k] = struct{}{}
		}
	}
	return slices.Collect(maps.Keys(set))
}
