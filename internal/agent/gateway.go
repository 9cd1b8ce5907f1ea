package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy"
	"github.com/fairway-net/fairway/internal/run"
	"github.com/fairway-net/fairway/internal/source/file"
	"github.com/fairway-net/fairway/internal/source/kube"
	"github.com/fairway-net/fairway/internal/state"
)

// GatewayOptions are what `fairway gateway` is started with.
type GatewayOptions struct {
	Rest      *rest.Config
	Manifests []string // files and directories to read instead of watching Rest's API server
	Node      string   // that the gateway runs on; "": not known, so that no endpoint is near
	Namespace string   // of the gateway, where its ConfigMap is; "": fairway-system
	Params    route.Params
	Proxy     proxy.Options
	Health    string // address of /livez, /readyz, /metrics and /routes; "": none
	Log       *slog.Logger
}

// RunGateway serves what Ingresses ask for. It only serves: statuses and Events
// are the controller's. When ctx ends it stops gracefully, and follows the
// cluster until it has, so that no request is sent to a pod that left meanwhile.
// Its ports are opened only when it knows what to serve: where another gateway has them
// on the same host, that one goes on alone until then.
func RunGateway(ctx context.Context, o GatewayOptions) error {
	server, err := proxy.New(o.Proxy)
	if err != nil {
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
	if len(o.Manifests) > 0 {
		if err := followManifests(watching, o, store); err != nil {
			return err
		}
		// No Service is in front, with the ports that everybody expects.
		o.Params.HTTP, o.Params.HTTPS = portOf(o.Proxy.Listen["http"]), portOf(o.Proxy.Listen["https"])
	} else {
		go func() {
			kinds, fields := route.Kinds(), routeFields()
			if o.Node != "" { // nothing waits for it: without it all endpoints are alike
				kinds = append(kinds, model.KindNode)
				fields[model.KindNode] = "metadata.name=" + o.Node
			}
			failed <- kube.Run(watching, kube.Options{Rest: o.Rest, Kinds: kinds, Fields: fields, Log: o.Log}, store)
			cancel()
		}()
	}
	if o.Params.ConfigMaps == nil {
		o.Params.ConfigMaps = routeConfigMaps(o.Namespace)
	}
	outside := &externals{apply: server.Apply, log: o.Log, known: map[string][]netip.Addr{}, lookup: func(ctx context.Context, name string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	}}
	go outside.Run(watching)
	o.Params.Streams = routeStreams(o.Params.Streams, o.Namespace)
	o.Params.Node = o.Node
	o.reserve()
	planner := route.New(o.Params)
	planned := make(chan struct{})
	first := sync.OnceFunc(func() { close(planned) })
	go func() {
		w := store.Watch(append(route.Kinds(), model.KindNode)...)
		defer w.Close()
		said := map[model.Rejected]bool{}
		// Resync only notices certificates that expired.
		failed <- run.Loop(watching, o.Log, "routes", w, run.Options{Synced: route.Kinds(), Interval: 5 * time.Millisecond, Resync: time.Hour},
			func(_ context.Context, snap *state.Snapshot, changes state.Changes) error {
				plan := planner.Update(snap, changes, time.Now())
				outside.Apply(watching, plan)
				first()
				if len(o.Manifests) > 0 { // no controller tells by Events
					said = tell(o.Log, plan.Rejected, said)
				}
				return nil
			})
	}()
	select {
	case <-planned:
	case <-serving.Done():
		if ctx.Err() != nil { // told to end before it began
			return nil
		}
		return <-failed
	case err := <-failed:
		return err
	}
	if err := server.Open(); err != nil {
		return err
	}
	if err := server.Run(serving); err != nil {
		return err
	}
	if ctx.Err() == nil { // nobody asked for the end: a source gave up
		return <-failed
	}
	return nil
}

// routeFields keep what no Ingress can name out of memory: releases of Helm, which
// are big, and what every namespace has.
func routeFields() map[model.Kind]string {
	return map[model.Kind]string{
		model.KindSecret:    "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token,type!=kubernetes.io/dockerconfigjson,type!=kubernetes.io/dockercfg,type!=bootstrap.kubernetes.io/token",
		model.KindConfigMap: "metadata.name!=kube-root-ca.crt",
	}
}

// routeConfigMaps are where options are looked for: in the namespace of ingress-nginx,
// and, with more weight, in ours.
func routeConfigMaps(namespace string) []model.Name {
	names := slices.Clone(route.DefaultConfigMaps)
	if namespace != "" {
		names[len(names)-1].Namespace = namespace
	}
	return names
}

// routeStreams are where ports for TCP and UDP are looked for, unless said otherwise.
func routeStreams(given route.StreamMaps, namespace string) route.StreamMaps {
	own := func(given, names []model.Name) []model.Name {
		if given != nil {
			return given
		}
		names = slices.Clone(names)
		if namespace != "" {
			names[len(names)-1].Namespace = namespace
		}
		return names
	}
	return route.StreamMaps{TCP: own(given.TCP, route.DefaultStreamMaps.TCP), UDP: own(given.UDP, route.DefaultStreamMaps.UDP)}
}

// reserve keeps ConfigMaps from opening the ports that the gateway itself listens on: the
// kernel would give each of two listeners at one port a share of the connections.
func (o *GatewayOptions) reserve() {
	p := &o.Params
	p.Reserved = append(slices.Clone(route.DefaultReserved), portOf(o.Health))
	for _, addr := range o.Proxy.Listen {
		p.Reserved = append(p.Reserved, portOf(addr))
	}
	if o.Proxy.HTTP3 {
		p.ReservedUDP = append(p.ReservedUDP, portOf(o.Proxy.Listen["https"]))
	}
}

// portOf is the port of an address to listen on; 0 if it has none yet.
func portOf(addr string) uint16 {
	_, text, _ := net.SplitHostPort(addr)
	n, _ := strconv.ParseUint(text, 10, 16)
	return uint16(n)
}

// ErrManifests is why a gateway without an API server does not begin.
var ErrManifests = errors.New("read manifests")

// followManifests reads the manifests once, so that a mistake is an error, and
// then again whenever they change.
func followManifests(ctx context.Context, o GatewayOptions, store *state.Store) error {
	src := file.New(file.Options{Paths: o.Manifests, Log: o.Log}, store)
	if err := src.Load(); err != nil {
		return fmt.Errorf("%w: %w", ErrManifests, err)
	}
	go src.Run(ctx)
	return nil
}

// tell logs what is rejected now and was not before, and returns what is rejected.
func tell(log *slog.Logger, rejected []model.Rejected, before map[model.Rejected]bool) map[model.Rejected]bool {
	now := make(map[model.Rejected]bool, len(rejected))
	for _, r := range rejected {
		if now[r] = true; !before[r] {
			log.Warn(r.String(), "object", r.Ref.String(), "reason", r.Reason)
		}
	}
	return now
}
