package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"

	"github.com/fairway-net/fairway/internal/apply/bpf"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/service"
	"github.com/fairway-net/fairway/internal/run"
	"github.com/fairway-net/fairway/internal/source/kube"
	"github.com/fairway-net/fairway/internal/state"
)

// proxy is the Service path of Fairway's agent alone, as kube-proxy is that of
// a node: the same source, planner, applier and interval. dir has a bpffs at
// bpf and the name of the cgroup to serve in the file cgroup.
func proxy(ctx context.Context, dir string) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cgroup, err := os.ReadFile(filepath.Join(dir, "cgroup"))
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	datapath, err := bpf.Open(bpf.Options{Dir: filepath.Join(dir, "bpf"), Cgroup: string(cgroup), Log: log})
	if err != nil {
		return err
	}
	defer datapath.Close()
	store := state.New()
	kinds := []model.Kind{model.KindService, model.KindEndpointSlice, model.KindPod, model.KindNode}
	failed := make(chan error, 1)
	go func() {
		err := kube.Run(ctx, kube.Options{Rest: &rest.Config{Host: "http://" + apiAddr, QPS: -1}, Kinds: kinds, Log: log}, store)
		failed <- err
		stop()
	}()
	params := service.Params{Node: nodeName}
	step := func(ctx context.Context, snap *state.Snapshot, changes state.Changes) error {
		keys := map[service.Key]struct{}{}
		if changes.All {
			for _, k := range service.All(snap, params) {
				keys[k] = struct{}{}
			}
		}
		for ch := range changes.Keys {
			for _, k := range service.Keys(ch, snap, params) {
				keys[k] = struct{}{}
			}
		}
		plans := make([]service.Plan, 0, len(keys))
		for k := range keys {
			plans = append(plans, service.For(snap, params, k))
		}
		return datapath.ApplyServices(ctx, plans)
	}
	run.Loop(ctx, log, "services", store.Watch(kinds...), run.Options{Synced: kinds, Interval: 5 * time.Millisecond}, step)
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}
