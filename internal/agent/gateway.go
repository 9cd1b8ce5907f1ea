package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
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
	Admin  string // address of /healthz, /readyz, /metrics and /routes; "": none
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
	if o.Admin != "" {
		if err := serveAdmin(watching, o.Admin, server.Admin(), o.Log); err != nil {
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

// serveAdmin serves h on addr until ctx ends. It returns once it listens.
func serveAdmin(ctx context.Context, addr string, h http.Handler, log *slog.Logger) error {
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("serve admin: %w", err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { srv.Close() })
	go func() {
		if err := srv.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
			log.Error("admin server ended", "err", err)
		}
	}()
	return nil
}
