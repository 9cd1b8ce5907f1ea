package agent

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"k8s.io/client-go/rest"

	"github.com/fairway-net/fairway/internal/apply/status"
	"github.com/fairway-net/fairway/internal/config"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/address"
	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/run"
	"github.com/fairway-net/fairway/internal/source/kube"
	"github.com/fairway-net/fairway/internal/state"
)

// ControllerOptions are what `fairway controller` is started with.
type ControllerOptions struct {
	Config    config.Config
	Rest      *rest.Config
	Namespace string           // of the Lease and of the gateway's Service
	Identity  string           // unique among the replicas: the pod's name
	Streams   route.StreamMaps // as the gateway's
	Gateway   string           // name of the Service in front of the gateway; its addresses are those of the Ingresses
	Health    string           // address of /livez and /readyz; "": none
	Log       *slog.Logger
}

// RunController gives LoadBalancers their addresses, writes the status of
// Ingresses, and tells by Events what is wrong with an object. Replicas watch
// all the time and the one that holds the Lease writes. It returns when ctx
// ends, or with an error when the Lease is lost: the process must then end.
func RunController(ctx context.Context, o ControllerOptions) error {
	writer, err := status.NewWriter(o.Rest, o.Log)
	if err != nil {
		return err
	}
	store := state.New()
	kinds := append(route.Kinds(), model.KindNode)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	source := make(chan error, 1)
	go func() {
		source <- kube.Run(ctx, kube.Options{Rest: o.Rest, Kinds: kinds, Fields: routeFields(), Log: o.Log}, store)
	}()

	ready := func() error {
		if !store.Snapshot().Synced(kinds...) {
			return fmt.Errorf("not synced with the API server yet")
		}
		return nil
	}
	if o.Health != "" {
		if err := serveHealth(ctx, o.Health, ready, o.Log); err != nil {
			return err
		}
	}

	lease := model.Name{Namespace: o.Namespace, Name: "fairway-controller"}
	err = status.Lead(ctx, o.Rest, lease, o.Identity, o.Log, func(ctx context.Context) error {
		c := &controller{o: o, writer: writer, routes: route.New(route.Params{ConfigMaps: routeConfigMaps(o.Namespace), Streams: routeStreams(o.Streams, o.Namespace)})}
		w := store.Watch(kinds...)
		defer w.Close()
		// Resync renews Events that the API server is about to forget.
		return run.Loop(ctx, o.Log, "status", w, run.Options{Synced: kinds, Interval: 20 * time.Millisecond, Resync: 10 * time.Minute}, c.step)
	})
	if ctx.Err() != nil {
		return nil
	}
	select {
	case e := <-source:
		return e
	default:
		return err
	}
}

type controller struct {
	o      ControllerOptions
	writer *status.Writer
	routes *route.Planner
}

// step plans everything that the API should show and writes the difference.
func (c *controller) step(ctx context.Context, snap *state.Snapshot, changes state.Changes) error {
	addresses := address.Make(snap, c.o.Config.LBPools)
	routes := c.routes.Update(snap, changes, time.Now())
	again, err := c.writer.Apply(ctx, snap, status.Want{
		Services:  addresses.Addresses,
		Ingresses: ingressStatus(snap, routes.Claimed, model.Name{Namespace: c.o.Namespace, Name: c.o.Gateway}),
		Rejected:  slices.Concat(addresses.Rejected, routes.Rejected),
	})
	if err == nil && again > 0 {
		return run.Again{After: again}
	}
	return err
}

// ingressStatus gives the claimed Ingresses the gateway's addresses, and clears
// those that show the gateway's address but are not claimed (any more).
func ingressStatus(snap *state.Snapshot, claimed []model.Name, gateway model.Name) map[model.Name][]model.LoadBalancerIngress {
	var addrs []model.LoadBalancerIngress
	if svc := snap.Service(gateway); svc != nil {
		for _, in := range svc.LoadBalancer {
			addrs = append(addrs, model.LoadBalancerIngress{IP: in.IP, Hostname: in.Hostname})
		}
	}
	out := map[model.Name][]model.LoadBalancerIngress{}
	for _, name := range claimed {
		out[name] = addrs
	}
	for _, ing := range snap.Ingresses.All() {
		if _, ok := out[ing.Name]; ok || len(ing.Status) == 0 {
			continue
		}
		if slices.ContainsFunc(ing.Status, func(in model.LoadBalancerIngress) bool { return slices.Contains(addrs, in) }) {
			out[ing.Name] = nil
		}
	}
	return out
}
