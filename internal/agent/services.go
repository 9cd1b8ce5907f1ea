package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/fairway-net/fairway/internal/apply/bpf"
	"github.com/fairway-net/fairway/internal/apply/status"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/service"
	"github.com/fairway-net/fairway/internal/report"
	"github.com/fairway-net/fairway/internal/run"
	"github.com/fairway-net/fairway/internal/state"
)

// retryFailed is how long a Service that did not fit into the kernel waits for room.
const retryFailed = 5 * time.Second

// services keeps the node's Services in the datapath, one change at a time. One
// that cannot be put there holds up no other: it is tried again until there is room.
type services struct {
	params   service.Params
	datapath interface {
		ApplyServices(context.Context, []service.Plan) error
		PruneServices(context.Context) error
	}
	health   *healthPorts
	metrics  *serviceMetrics
	problems *problems
	done     func() // called after each success
	pruned   bool
	last     *state.Snapshot // of the last success; nil: none yet

	mu     sync.Mutex
	failed map[service.Key]error // what is not, or not wholly, in the kernel

	events interface { // tells by Events what a Service asks for in vain
		Apply(context.Context, *state.Snapshot, status.Want) (again time.Duration, err error)
	}
	log      *slog.Logger
	rejected map[service.Key][]model.Rejected
	untold   bool // rejected has changed
}

func (s *services) kinds() []model.Kind {
	return []model.Kind{model.KindService, model.KindEndpointSlice, model.KindPod, model.KindNode}
}

func (s *services) step(ctx context.Context, snap *state.Snapshot, changes state.Changes) error {
	start := s.metrics.now()
	var self *model.Node
	if s.last != nil {
		self = s.last.Node(s.params.Node)
	}
	keys := service.Affected(snap, changes, self, s.params)
	for k := range s.failed {
		if !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	checks, failed, err := s.apply(ctx, snap, keys)
	if err != nil {
		return err
	}
	s.note(failed)
	s.metrics.rejected.Store(int64(len(s.rejected)))
	if !s.pruned { // the first step is complete, of synced sources: what it did not mention is stale
		if err := s.datapath.PruneServices(ctx); err != nil {
			return err
		}
		s.pruned = true
	}
	s.metrics.sync.Observe(s.metrics.now().Sub(start))
	s.metrics.programmed(s.last, snap, changes)
	s.last = snap
	s.done()
	if err := s.health.apply(checks); err != nil {
		return err
	}
	if len(failed) > 0 {
		return run.Again{After: retryFailed}
	}
	return s.tell(ctx, snap)
}

// noteRejected remembers what a plan rejects.
func (s *services) noteRejected(p *service.Plan) {
	if len(p.Rejected) == 0 && len(s.rejected[p.Key]) == 0 {
		return
	}
	if s.untold = true; s.rejected == nil {
		s.rejected = map[service.Key][]model.Rejected{}
	}
	if s.rejected[p.Key] = p.Rejected; len(p.Rejected) == 0 {
		delete(s.rejected, p.Key)
	}
}

// tell writes an Event for each part of a Service that this node cannot do, for as
// long as that lasts.
func (s *services) tell(ctx context.Context, snap *state.Snapshot) error {
	if !s.untold && len(s.rejected) == 0 {
		return nil
	}
	again, err := s.events.Apply(ctx, snap, status.Want{Rejected: slices.Concat(slices.Collect(maps.Values(s.rejected))...)})
	if s.untold = false; err != nil {
		s.log.Warn("write Events", "err", err) // the Services are in place
	}
	if again > 0 {
		return run.Again{After: again}
	}
	return nil
}

// apply plans keys and applies the plans, some at a time: those of a whole
// cluster are many times what the datapath remembers of them. It returns the
// plans that concern the health checks, without their ports, and what failed.
func (s *services) apply(ctx context.Context, snap *state.Snapshot, keys []service.Key) (checks []service.Plan, failed []bpf.Failed, err error) {
	const some = 512
	for keys := range slices.Chunk(keys, some) {
		plans := make([]service.Plan, len(keys))
		for i, k := range keys {
			plans[i] = service.For(snap, s.params, k)
			s.noteRejected(&plans[i])
			if s.health.concerns(&plans[i]) {
				checks = append(checks, service.Plan{Key: k, HealthCheckPort: plans[i].HealthCheckPort, LocalReady: plans[i].LocalReady})
			}
		}
		err := s.datapath.ApplyServices(ctx, plans)
		if part := (*bpf.ApplyError)(nil); errors.As(err, &part) { // all others have been applied
			failed = append(failed, part.Failed...)
		} else if err != nil {
			return nil, nil, err
		}
	}
	return checks, failed, nil
}

// note remembers what has failed and tells of it. Each step tries all that
// failed before, so nothing else can be there still.
func (s *services) note(failed []bpf.Failed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = map[service.Key]error{}
	for _, f := range failed {
		s.failed[f.Key] = f.Err
	}
	s.metrics.failed.Store(int64(len(failed)))
	if len(failed) == 0 {
		s.problems.clear("services")
		return
	}
	t := troubleOf(failed[0].Err)
	s.problems.set("services", false, model.Rejected{Reason: t.Reason, Fix: t.Fix,
		Message: fmt.Sprintf("%d Services are not, or not wholly, in the kernel; one is %v: %s", len(failed), failed[0].Key, t.Message)})
}

// failures are what `fairway services` shows of them.
func (s *services) failures() []report.Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []report.Failure
	for k, err := range s.failed {
		t := troubleOf(err)
		out = append(out, report.Failure{Owner: k.String(), Message: t.Message, Fix: t.Fix})
	}
	return out
}
