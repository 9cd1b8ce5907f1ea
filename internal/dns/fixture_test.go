package dns

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/dns/index"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/zone"
	"github.com/fairway-net/fairway/internal/state"
)

var params = index.Params{
	Params:  zone.Params{Zone: "cluster.local", TTL: 5, DNS: []netip.Addr{ip("10.96.0.10")}},
	Reverse: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("10.96.0.0/12")},
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func ips(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, ip(s))
	}
	return out
}

func name(s string) model.Name { return model.ParseName(s) }

func ready(addr, hostname string) model.Endpoint {
	return model.Endpoint{Addr: ip(addr), Hostname: hostname, Ready: true, Serving: true}
}

func slice(svc, suffix string, ports []model.EndpointPort, eps ...model.Endpoint) *model.EndpointSlice {
	n := name(svc)
	return &model.EndpointSlice{Name: model.Name{Namespace: n.Namespace, Name: n.Name + suffix}, Service: n.Name, Ports: ports, Endpoints: eps}
}

// cluster is one of everything that the specification speaks of.
func cluster() *state.Store {
	http := model.ServicePort{Name: "http", Protocol: model.TCP, Port: 80}
	dns := model.ServicePort{Name: "dns", Protocol: model.UDP, Port: 53}
	pg := []model.EndpointPort{{Name: "pg", Protocol: model.TCP, Port: 5432}}
	s := state.New()
	s.Update(func(tx *state.Tx) {
		tx.Set(&model.Namespace{Name: "default"})
		tx.Set(&model.Namespace{Name: "empty"})
		// web: dual stack, two named ports. plain: one port without a name.
		tx.Set(&model.Service{Name: name("default/web"), ClusterIPs: ips("10.96.0.20", "fd00:96::20"), Ports: []model.ServicePort{http, dns}})
		tx.Set(&model.Service{Name: name("default/plain"), ClusterIPs: ips("10.96.0.21"), Ports: []model.ServicePort{{Protocol: model.TCP, Port: 80}}})
		tx.Set(&model.Service{Name: name("default/pending"), Ports: []model.ServicePort{http}}) // no address yet
		tx.Set(&model.Service{Name: name("default/both"), ClusterIPs: ips("10.96.0.23"), Ports: []model.ServicePort{dns, {Name: "dns-tcp", Protocol: model.TCP, Port: 53}}})
		// A namespace whose object has not arrived.
		tx.Set(&model.Service{Name: name("early/web"), ClusterIPs: ips("10.96.0.22")})

		// db: a StatefulSet's Service with hostnames, one replica not ready, one terminating but serving.
		tx.Set(&model.Service{Name: name("default/db"), Headless: true, Ports: []model.ServicePort{{Name: "pg", Protocol: model.TCP, Port: 5432}}})
		tx.Set(slice("default/db", "-1", pg, ready("10.244.0.5", "db-0"), ready("10.244.1.5", "db-1"),
			model.Endpoint{Addr: ip("10.244.2.5"), Hostname: "db-2"},
			model.Endpoint{Addr: ip("10.244.3.5"), Hostname: "db-3", Serving: true, Terminating: true}))
		// many: dual stack in several slices, without hostnames, two ports that differ by slice; no ports in the Service.
		tx.Set(&model.Service{Name: name("default/many"), Headless: true})
		tx.Set(slice("default/many", "-1", []model.EndpointPort{{Name: "a", Protocol: model.TCP, Port: 1001}}, ready("10.244.0.6", ""), ready("10.244.0.7", "")))
		tx.Set(slice("default/many", "-2", []model.EndpointPort{{Name: "a", Protocol: model.TCP, Port: 1002}}, ready("10.244.0.7", "")))
		tx.Set(slice("default/many", "-6", nil, ready("fd00:244::6", ""), ready("fd00:244::", "")))
		// noports: headless without ports; its pod is db-0's as well. twins: two pods of one hostname, host network.
		tx.Set(&model.Service{Name: name("default/noports"), Headless: true})
		tx.Set(slice("default/noports", "-1", []model.EndpointPort{{Port: 0}}, ready("10.244.0.5", "")))
		tx.Set(&model.Service{Name: name("default/twins"), Headless: true})
		tx.Set(slice("default/twins", "-1", nil, ready("10.244.0.8", "same"), ready("10.244.0.9", "same"), ready("10.244.0.9", "other")))
		// hollow: headless without a ready endpoint.
		tx.Set(&model.Service{Name: name("default/hollow"), Headless: true})
		tx.Set(slice("default/hollow", "-1", pg, model.Endpoint{Addr: ip("10.244.0.10"), Hostname: "h"}))

		alias := func(n, to string) {
			tx.Set(&model.Service{Name: name(n), Type: model.ExternalName, ExternalName: to, Ports: []model.ServicePort{http}})
		}
		alias("default/to-web", "web.default.svc.cluster.local")
		alias("default/to-db", "DB-0.db.default.svc.cluster.local")
		alias("default/to-nothing", "nothing.default.svc.cluster.local")
		alias("default/outside", "www.example.com")
		alias("default/to-outside", "outside.default.svc.cluster.local")
		alias("default/loop-a", "loop-b.default.svc.cluster.local")
		alias("default/loop-b", "loop-a.default.svc.cluster.local")
		alias("default/address", "192.0.2.1")
		for _, k := range zone.Kinds() {
			tx.SetSynced(k)
		}
	})
	return s
}

// fill makes an index of all that store holds.
func fill(t testing.TB, store *state.Store) *index.Index {
	t.Helper()
	x, err := index.New(params)
	if err != nil {
		t.Fatal(err)
	}
	snap := store.Snapshot()
	services, namespaces := zone.Keys(state.Changes{All: true}, snap)
	for _, s := range services {
		x.Set(zone.Plan(snap, s))
	}
	for _, n := range namespaces {
		x.SetNamespace(n, true)
	}
	x.SetSerial(7)
	x.SetSynced()
	return x
}

// loopback is any port of it.
func loopback() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")} }

// start runs a server on loopback for the length of the test.
func start(t testing.TB, o Options) netip.AddrPort {
	t.Helper()
	if o.Listen == nil {
		o.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	}
	if o.Log == nil {
		o.Log = quiet()
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, time.Second) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the server does not end")
		}
	})
	return s.Addrs()[0]
}
