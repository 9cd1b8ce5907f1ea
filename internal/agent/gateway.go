package agent

import (
	"context"
	"log/slog"
	"time"

	"k8s.io/client-go/rest"

	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy"
	"github.com/fairway-net/fairway/internal/run"
	"github.com/fairway-net/fairway/internal/source/kube"
	"github.com/fairway-net/fairway/internal/state"
)

// GatewayOptions are what `fairway gateway` is started with.
type GatewayOptions struct {
	Rest   *rest.Config
	Params route.Params
	Proxy  proxy.Options
	Health string // address of /livez, /readyz, /metrics and /routes; "": none
	Log    *slog.Logger
}

// RunGateway serves what Ingresses ask for. It only serves: statuses and Events
// are the controller's. When ctx ends it stops gracefully, and follows the
// cluster until it has, so that no request is sent to a pod that left meanwhile.
func RunGateway(ctx context.Context, o GatewayOptions) error {
	server, err := proxy.New(o.Proxy)
	if err != nil {
		return err
	}
	if err := server.Open(); err != nil {
		return err
	}
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if o.Health != "" {
		if err := serveHealth(watching, o.Health, server.Ready, o.Log,
			endpoint{"GET /metrics", server.ServeMetrics}, endpoint{"GET /routes", server.ServeRoutes}); err != nil {
			return err
		}
	}
	store := state.New()
	failed := make(chan error, 2)
	serving, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		failed <- kube.Run(watching, kube.Options{Rest: o.Rest, Kinds: route.Kinds(), Log: o.Log}, store)
		cancel()
	}()
	planner := route.New(o.Params)
	go func() {
		w := store.Watch(route.Kinds()...)
		defer w.Close()
		// Resync only notices certificates that expired.
		failed <- run.Loop(watching, o.Log, "routes", w, run.Options{Synced: route.Kinds(), Interval: 5 * time.Millisecond, Resync: time.Hour},
			func(_ context.Context, snap *state.Snapshot, changes state.Changes) error {
				server.Apply(planner.Update(snap, changes, time.Now()))
				return nil
			})
	}()
	if err := server.Run(serving); err != nil {
		return err
	}
	if ctx.Err() == nil { // nobody asked for the end: a source gave up
		return <-failed
	}
	return nil
}
