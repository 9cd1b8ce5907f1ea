package agent

import (
	"context"
	"log/slog"

	"k8s.io/client-go/rest"

	"github.com/fairway-net/fairway/internal/dns/index"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/zone"
	"github.com/fairway-net/fairway/internal/run"
	"github.com/fairway-net/fairway/internal/source/kube"
	"github.com/fairway-net/fairway/internal/state"
)

// podScope says which Pods DNS has to know.
type podScope uint8

const (
	noPods   podScope = iota
	nodePods          // those of this node: for their search paths
	allPods           // for names below "pod" that only Pods have
)

// podFeed keeps an index's Pods. Most clusters need none, so it watches them
// only while the settings do; it is used by one goroutine at a time.
type podFeed struct {
	rest  *rest.Config // nil: the Pods are in store
	node  string       // this node's name; "": unknown
	store *state.Store
	x     *index.Index
	log   *slog.Logger

	scope podScope
	stop  func() // ends the watch and returns when it has ended
}

// follow makes the feed follow the Pods of scope, until ctx ends.
func (f *podFeed) follow(ctx context.Context, scope podScope) {
	if scope == nodePods && f.node == "" {
		scope = allPods
	}
	if scope == f.scope {
		return
	}
	if f.stop != nil {
		f.stop()
		f.x.ForgetPods()
		f.stop = nil
	}
	if f.scope = scope; scope == noPods {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	store, done := f.store, make(chan struct{})
	if f.rest != nil {
		store = state.New()
		o := kube.Options{Rest: f.rest, Kinds: []model.Kind{model.KindPod}, Trim: zone.Trim, Log: f.log}
		if scope == nodePods {
			o.Fields = map[model.Kind]string{model.KindPod: "spec.nodeName=" + f.node}
		}
		go func() {
			if err := kube.Run(ctx, o, store); err != nil {
				f.log.Error("watch of pods ended", "err", err)
			}
		}()
	}
	go func() {
		defer close(done)
		f.run(ctx, store)
	}()
	f.stop = func() { cancel(); <-done }
}

func (f *podFeed) run(ctx context.Context, store *state.Store) {
	w := store.Watch(model.KindPod)
	defer w.Close()
	kinds := []model.Kind{model.KindPod}
	_ = run.Loop(ctx, f.log, "pods", w, run.Options{Synced: kinds}, func(_ context.Context, snap *state.Snapshot, changes state.Changes) error {
		for _, n := range zone.PodKeys(changes, snap) {
			p := zone.PlanPod(snap, n)
			// Pods of other nodes may have other search domains after the cluster's.
			if pod := snap.Pod(n); f.node != "" && pod != nil && pod.Node != f.node {
				p.Search = false
			}
			f.x.SetPod(p)
		}
		f.x.SetPodsSynced(true)
		return nil
	})
}
