// Command standalone is the proxy without a cluster around it, for benchmarks: any
// number of hosts with ten paths each, all of which lead to one address.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy"
	"github.com/fairway-net/fairway/internal/state"
)

func main() {
	http := flag.String("http", "127.0.0.1:8080", "address to listen at")
	https := flag.String("https", "", "address to listen at for TLS")
	backend := flag.String("backend", "127.0.0.1:9000", "address of the endpoint")
	hosts := flag.Int("hosts", 1, "how many hosts: h0.example, h1.example …; 0: one rule for all")
	h2c := flag.Bool("h2c", false, "the endpoint speaks HTTP/2")
	profile := flag.String("profile", "", "write profiles of processor time and allocations to FILE.cpu and FILE.mem")
	flag.Parse()
	if *profile != "" {
		end, err := startProfiles(*profile)
		if err != nil {
			fmt.Fprintln(os.Stderr, "standalone:", err)
			os.Exit(1)
		}
		defer end()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *http, *https, *backend, *hosts, *h2c); err != nil {
		fmt.Fprintln(os.Stderr, "standalone:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, http, https, backend string, hosts int, h2c bool) error {
	endpoint, err := netip.ParseAddrPort(backend)
	if err != nil {
		return fmt.Errorf("parse -backend: %w", err)
	}
	o := proxy.Options{Listen: map[string]string{"http": http}, Log: slog.Default(), Drain: time.Second}
	if https != "" {
		o.Listen["https"] = https
	}
	server, err := proxy.New(o)
	if err != nil {
		return err
	}
	if err := server.Open(); err != nil {
		return err
	}
	store := state.New()
	store.Update(func(tx *state.Tx) { fill(tx, endpoint, hosts, h2c) })
	watch := store.Watch()
	defer watch.Close()
	snap, _ := watch.Take()
	server.Apply(route.Make(snap, route.Params{}, time.Now()))
	return server.Run(ctx)
}

// startProfiles begins to take profiles, which end writes.
func startProfiles(file string) (end func(), err error) {
	runtime.MemProfileRate = 4096
	cpu, err := os.Create(file + ".cpu")
	if err != nil {
		return nil, fmt.Errorf("create profile: %w", err)
	}
	mem, err := os.Create(file + ".mem")
	if err != nil {
		return nil, fmt.Errorf("create profile: %w", err)
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, fmt.Errorf("start profile: %w", err)
	}
	return func() {
		pprof.StopCPUProfile()
		_ = pprof.Lookup("allocs").WriteTo(mem, 0)
		_, _ = cpu.Close(), mem.Close()
	}, nil
}

// fill makes one Service and an Ingress per host.
func fill(tx *state.Tx, endpoint netip.AddrPort, hosts int, h2c bool) {
	name := func(s string) model.Name { return model.Name{Namespace: "default", Name: s} }
	protocol := ""
	if h2c {
		protocol = "kubernetes.io/h2c"
	}
	tx.Set(&model.Service{Name: name("web"), Ports: []model.ServicePort{{Name: "web", Protocol: model.TCP, AppProtocol: protocol, Port: 80, TargetPort: model.IntOrString{Int: endpoint.Port()}}}})
	tx.Set(&model.EndpointSlice{Name: name("web-1"), Service: "web", Family: model.IPv4,
		Ports:     []model.EndpointPort{{Name: "web", Protocol: model.TCP, Port: endpoint.Port()}},
		Endpoints: []model.Endpoint{{Addr: endpoint.Addr(), Ready: true, Serving: true}}})
	for i := range max(hosts, 1) {
		rule := model.IngressRule{}
		if hosts > 0 {
			rule.Host = fmt.Sprintf("h%d.example", i)
		}
		for p := range 10 {
			path := "/"
			if p > 0 {
				path = fmt.Sprintf("/p%d", p)
			}
			rule.Paths = append(rule.Paths, model.IngressPath{Path: path, Type: model.Prefix, Backend: model.IngressBackend{Service: "web", Port: model.IntOrString{Int: 80}}})
		}
		tx.Set(&model.Ingress{Name: name(fmt.Sprintf("i%d", i)), ClassName: "fairway", Annotations: map[string]string{}, Rules: []model.IngressRule{rule}})
	}
}
