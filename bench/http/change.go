package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"time"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy"
	loop "github.com/fairway-net/fairway/internal/run"
	"github.com/fairway-net/fairway/internal/state"
)

const changeCase = "change of one route among 10,000 hosts of 10 paths"

// change measures how long it takes from the event of a changed Ingress to the first
// request that is routed by it: the gateway's own loop, planner and proxy, in this process.
func (b *bench) change(ctx context.Context) error {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	defer backend.Close()
	server, err := proxy.New(proxy.Options{Listen: map[string]string{"http": "127.0.0.1:0"}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	if err := server.Open(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	store := state.New()
	store.Update(func(tx *state.Tx) {
		addr := netip.MustParseAddrPort(backend.Listener.Addr().String())
		name := model.Name{Namespace: "default", Name: "web"}
		tx.Set(&model.Service{Name: name, Ports: []model.ServicePort{{Name: "web", Protocol: model.TCP, Port: 80}}})
		tx.Set(&model.EndpointSlice{Name: model.Name{Namespace: "default", Name: "web-1"}, Service: "web", Family: model.IPv4,
			Ports: []model.EndpointPort{{Name: "web", Protocol: model.TCP, Port: addr.Port()}}, Endpoints: []model.Endpoint{{Addr: addr.Addr(), Ready: true, Serving: true}}})
		for i := range manyHosts {
			tx.Set(ingressOf(i, 0))
		}
	})
	for _, k := range route.Kinds() {
		store.Update(func(tx *state.Tx) { tx.SetSynced(k) })
	}
	go func() { _ = server.Run(ctx) }()
	planner := route.New(route.Params{})
	w := store.Watch(route.Kinds()...)
	defer w.Close()
	go func() {
		_ = loop.Loop(ctx, slog.New(slog.DiscardHandler), "routes", w, loop.Options{Synced: route.Kinds(), Interval: 5 * time.Millisecond, Resync: time.Hour},
			func(_ context.Context, snap *state.Snapshot, changes state.Changes) error {
				server.Apply(planner.Update(snap, changes, time.Now()))
				return nil
			})
	}()
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	if err := untilRouted(ctx, client, server.Addr("http"), 0, 0); err != nil {
		return err
	}
	var took []float64
	for n := 1; n <= 300; n++ {
		host := n * 7919 % manyHosts
		begun := time.Now()
		store.Update(func(tx *state.Tx) { tx.Set(ingressOf(host, n)) })
		if err := untilRouted(ctx, client, server.Addr("http"), host, n); err != nil {
			return err
		}
		took = append(took, float64(time.Since(begun).Microseconds())/1000)
		time.Sleep(20 * time.Millisecond)
	}
	slices.Sort(took)
	b.set.Add("fairway", changeCase, "median to the first request", "ms", took[len(took)/2])
	b.set.Add("fairway", changeCase, "p99 to the first request", "ms", took[len(took)*99/100])
	return nil
}

// untilRouted asks for the path that version n of a host's Ingress has.
func untilRouted(ctx context.Context, c *http.Client, addr net.Addr, host, n int) error {
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; {
		r, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("http://%s/v%d", addr, n), nil)
		if err != nil {
			return err
		}
		r.Host = fmt.Sprintf("h%d.example", host)
		resp, err := c.Do(r)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
		time.Sleep(200 * time.Microsecond)
	}
	return fmt.Errorf("version %d of host %d is not routed", n, host)
}

func ingressOf(i, version int) *model.Ingress {
	rule := model.IngressRule{Host: fmt.Sprintf("h%d.example", i)}
	for p := range 10 {
		path := fmt.Sprintf("/p%d", p)
		if p == 0 {
			path = fmt.Sprintf("/v%d", version)
		}
		rule.Paths = append(rule.Paths, model.IngressPath{Path: path, Type: model.Prefix, Backend: model.IngressBackend{Service: "web", Port: model.IntOrString{Int: 80}}})
	}
	return &model.Ingress{Name: model.Name{Namespace: "default", Name: fmt.Sprintf("i%d", i)}, ClassName: "fairway", Annotations: map[string]string{}, Rules: []model.IngressRule{rule}}
}
