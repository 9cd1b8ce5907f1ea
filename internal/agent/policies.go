package agent

import (
	"context"
	"reflect"
	"sync"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/policy"
	"github.com/fairway-net/fairway/internal/state"
)

// policies keeps NetworkPolicy of the node's pods in the datapath.
type policies struct {
	planner  *policy.Planner
	datapath interface {
		ApplyPolicy(context.Context, policy.Plan) error
	}
	planned *planned
	done    func() // called after each success
	last    *policy.Plan
}

func (p *policies) kinds() []model.Kind {
	return []model.Kind{model.KindPod, model.KindNamespace, model.KindNetworkPolicy}
}

func (p *policies) step(ctx context.Context, snap *state.Snapshot, changes state.Changes) error {
	plan := p.planner.Update(snap, changes)
	// Most changes of a large cluster are pods that no policy of this node mentions.
	if p.last != nil && reflect.DeepEqual(*p.last, plan) {
		return nil
	}
	if err := p.datapath.ApplyPolicy(ctx, plan); err != nil {
		return err
	}
	p.last = &plan
	p.planned.set(plan)
	p.done()
	return nil
}

// planned is the set of pods whose policy the datapath knows.
type planned struct {
	mu      sync.Mutex
	uid     map[model.Name]string
	changed chan struct{} // closed and replaced at each change
}

func newPlanned() *planned {
	return &planned{uid: map[model.Name]string{}, changed: make(chan struct{})}
}

func (p *planned) set(plan policy.Plan) {
	uid := make(map[model.Name]string, len(plan.Pods))
	for _, pod := range plan.Pods {
		uid[pod.Pod] = pod.UID
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.uid = uid
	close(p.changed)
	p.changed = make(chan struct{})
}

// has reports whether the pod is there; uid "" is any.
func (p *planned) has(pod model.Name, uid string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	got, ok := p.uid[pod]
	return ok && (uid == "" || got == uid)
}

// await returns when the pod is there, or when ctx ends.
func (p *planned) await(ctx context.Context, pod model.Name, uid string) {
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		if p.has(pod, uid) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}
