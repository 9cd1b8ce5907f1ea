package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
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
// a node: the same source, planner, applier, interval and sweep. dir has a
// bpffs at bpf and the name of the cgroup to serve in the file cgroup; the file
// synced gets the seconds from the first complete list to all programmed.
func proxy(ctx context.Context, dir string) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cgroup, err := os.ReadFile(filepath.Join(dir, "cgroup"))
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	store := state.New()
	kinds := []model.Kind{model.KindService, model.KindEndpointSlice, model.KindPod, model.KindNode}
	failed := make(chan error, 2)
	go func() {
		failed <- kube.Run(ctx, kube.Options{Rest: &rest.Config{Host: "http://" + apiAddr, QPS: -1}, Kinds: kinds, Log: log}, store)
		stop()
	}()
	datapath, err := bpf.Open(bpf.Options{Dir: filepath.Join(dir, "bpf"), Cgroup: string(cgroup), Uplink: "eth0", Log: log})
	if err != nil {
		return err
	}
	defer datapath.Close()
	pods := []netip.Prefix{netip.MustParsePrefix(podCIDR), netip.MustParsePrefix(clients)}
	nodes := bpf.Nodes{Self: []netip.Addr{netip.MustParseAddr(nodeIP)}, Others: []netip.Addr{netip.MustParseAddr(otherIP)}, Local: pods, PodCIDRs: append([]netip.Prefix{netip.MustParsePrefix(otherCIDR)}, pods...)}
	if err := datapath.ApplyNodes(ctx, nodes); err != nil {
		return err
	}
	go func() {
		for ctx.Err() == nil {
			if _, err := datapath.Sweep(ctx); err != nil && ctx.Err() == nil {
				failed <- fmt.Errorf("sweep: %w", err)
				stop()
			}
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Second):
			}
		}
	}()
	p := &follower{dir: dir, datapath: datapath}
	run.Loop(ctx, log, "services", store.Watch(kinds...), run.Options{Synced: kinds, Interval: time.Millisecond}, p.step)
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// follower does what the agent does for Services.
type follower struct {
	dir      string
	datapath *bpf.Datapath
	self     *model.Node
}

func (f *follower) step(ctx context.Context, snap *state.Snapshot, changes state.Changes) error {
	start, params := time.Now(), service.Params{Node: nodeName}
	for keys := range slices.Chunk(service.Affected(snap, changes, f.self, params), 512) {
		plans := make([]service.Plan, len(keys))
		for i, k := range keys {
			plans[i] = service.For(snap, params, k)
		}
		if err := f.datapath.ApplyServices(ctx, plans); err != nil {
			return err
		}
	}
	f.self = snap.Node(nodeName)
	if !changes.All {
		return nil
	}
	took := fmt.Sprint(time.Since(start).Seconds())
	go debug.FreeOSMemory() // what the first lists took
	return errors.Join(f.datapath.PruneServices(ctx), os.WriteFile(filepath.Join(f.dir, "synced"), []byte(took), 0o600))
}
