package agent

import (
	"context"
	"errors"
	"slices"

	"github.com/fairway-net/fairway/internal/apply/bpf"
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
	self   *model.Node // this node, as of the last success
}

func (s *services) kinds() []model.Kind {
	return []model.Kind{model.KindService, model.KindEndpointSlice, model.KindPod, model.KindNode}
}

func (s *services) step(ctx context.Context, snap *state.Snapshot, changes state.Changes) error {
	checks, err := s.apply(ctx, snap, service.Affected(snap, changes, s.self, s.params))
	if err != nil {
		return err
	}
	if !s.pruned { // the first step is complete, of synced sources: what it did not mention is stale
		if err := s.datapath.PruneServices(ctx); err != nil {
			return err
		}
		s.pruned = true
	}
	s.self = snap.Node(s.params.Node)
	s.done()
	return s.health.apply(checks)
}

// apply plans keys and applies the plans, some at a time: those of a whole
// cluster are many times what the datapath remembers of them. It returns the
// plans that concern the health checks, without their ports.
func (s *services) apply(ctx context.Context, snap *state.Snapshot, keys []service.Key) (checks []service.Plan, err error) {
	const some = 512
	var failed []bpf.Failed
	for keys := range slices.Chunk(keys, some) {
		plans := make([]service.Plan, len(keys))
		for i, k := range keys {
			plans[i] = service.For(snap, s.params, k)
			if s.health.concerns(&plans[i]) {
				checks = append(checks, service.Plan{Key: k, HealthCheckPort: plans[i].HealthCheckPort, LocalReady: plans[i].LocalReady})
			}
		}
		err := s.datapath.ApplyServices(ctx, plans)
		if part := (*bpf.ApplyError)(nil); errors.As(err, &part) { // all others are to be applied as well
			failed = append(failed, part.Failed...)
		} else if err != nil {
			return nil, err
		}
	}
	if failed != nil {
		return nil, &bpf.ApplyError{Failed: failed}
	}
	return checks, nil
}
