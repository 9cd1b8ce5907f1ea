package trace

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"

	"github.com/fairway-net/fairway/internal/dns/index"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/zone"
	"github.com/fairway-net/fairway/internal/state"
)

func TestRun(t *testing.T) {
	addr := netip.MustParseAddr
	store := state.New()
	store.Update(func(tx *state.Tx) {
		tx.Set(&model.Namespace{Name: "shop"})
		tx.Set(&model.Service{Name: model.ParseName("shop/web"), ClusterIPs: []netip.Addr{addr("10.96.0.1")}})
		tx.Set(&model.Service{Name: model.ParseName("shop/db"), Headless: true})
		tx.Set(&model.EndpointSlice{Name: model.ParseName("shop/db-x"), Service: "db", Endpoints: []model.Endpoint{
			{Addr: addr("10.244.0.1"), Ready: true, Pod: "db-0"}, {Addr: addr("10.244.0.2"), Pod: "db-1"}}})
		tx.Set(&model.Pod{Name: model.ParseName("shop/db-0"), IPs: []netip.Addr{addr("10.244.0.1")}})
		tx.Set(&model.Service{Name: model.ParseName("shop/down"), Headless: true})
		tx.Set(&model.Service{Name: model.ParseName("shop/ext"), Type: model.ExternalName, ExternalName: "example.com"})
	})
	p := index.Params{Params: zone.Params{Zone: "cluster.local", TTL: 5}}
	for _, c := range []struct{ name, from, want string }{
		{"web", "shop", `web.shop.svc.cluster.local. NOERROR [web.shop.svc.cluster.local. 5 IN A 10.96.0.1] [Service shop/web: clusterIPs [10.96.0.1]]`},
		{"web.shop", "other", `
			web.shop.other.svc.cluster.local. NXDOMAIN [] [no namespace "other"]
			web.shop.svc.cluster.local. NOERROR [web.shop.svc.cluster.local. 5 IN A 10.96.0.1] [Service shop/web: clusterIPs [10.96.0.1]]`},
		{"db", "shop", `db.shop.svc.cluster.local. NOERROR [db.shop.svc.cluster.local. 5 IN A 10.244.0.1] [Service shop/db: headless EndpointSlice db-x: Pod db-0 10.244.0.1 EndpointSlice db-x: Pod db-1 10.244.0.2 is not ready]`},
		{"down.shop.svc.cluster.local.", "", `down.shop.svc.cluster.local. NXDOMAIN [] [Service shop/down: headless no EndpointSlice has an endpoint for it]`},
		{"wbe.shop.svc.cluster.local.", "", `wbe.shop.svc.cluster.local. NXDOMAIN [] [no Service shop/wbe]`},
		{"ext", "shop", `ext.shop.svc.cluster.local. NOERROR [ext.shop.svc.cluster.local. 5 IN CNAME example.com. then example.com. is forwarded] [Service shop/ext: type ExternalName to example.com]`},
		{"example.com", "shop", `
			example.com.shop.svc.cluster.local. NXDOMAIN [] [no Service shop/com]
			example.com.svc.cluster.local. NXDOMAIN [] [no namespace "com"]
			example.com.cluster.local. NXDOMAIN [] []
			example.com. FORWARDED [] [not in cluster.local: forwarded to the upstream servers]`},
	} {
		steps, err := Run(store.Snapshot(), p, OfNamespace(c.from, p.Zone).Names(c.name), mdns.TypeA)
		if err != nil {
			t.Fatal(err)
		}
		var got, want []string
		for _, s := range steps {
			got = append(got, fmt.Sprint(s.Name, " ", s.Status, " ", s.Answers, " ", s.Objects))
		}
		for line := range strings.Lines(c.want) {
			if line = strings.TrimSpace(line); line != "" {
				want = append(want, line)
			}
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s from %q:\n got %s\nwant %s", c.name, c.from, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
		}
	}
	for _, c := range []struct {
		name string
		kind uint16
		want string
	}{
		{"1.0.96.10.in-addr.arpa.", mdns.TypePTR, "Service shop/web: clusterIPs [10.96.0.1]"},
		{"1.0.244.10.in-addr.arpa.", mdns.TypePTR, "EndpointSlice db-x: Pod db-0 10.244.0.1"},
		{"10-244-0-1.shop.pod.cluster.local.", mdns.TypeA, "Pod shop/db-0 has it"},
		{"10-244-0-9.shop.pod.cluster.local.", mdns.TypeA, "no Pod of namespace shop has 10.244.0.9"},
		{"x.shop.pod.cluster.local.", mdns.TypeA, `"x" is no address`},
		{"10-244-0-9.nowhere.pod.cluster.local.", mdns.TypeA, `no namespace "nowhere"`},
	} {
		steps, err := Run(store.Snapshot(), p, []string{c.name}, c.kind)
		if err != nil || len(steps) != 1 || !strings.Contains(fmt.Sprint(steps[0].Objects), c.want) {
			t.Errorf("%s: %v %v, want %s", c.name, steps, err, c.want)
		}
	}
}

// TestResolvers: which names a pod's resolver asks for follows from its dnsPolicy and
// dnsConfig.
func TestResolvers(t *testing.T) {
	cluster := "a.b.shop.svc.cluster.local. a.b.svc.cluster.local. a.b.cluster.local."
	for _, c := range []struct {
		what string
		pod  model.Pod
		want string // names for "a.b", or what the error says
	}{
		{"as usual", model.Pod{}, cluster + " a.b."},
		{"fewer dots", model.Pod{Resolver: &model.Resolver{Ndots: 1}}, "a.b. " + cluster},
		{"more domains", model.Pod{Resolver: &model.Resolver{Ndots: -1, Search: []string{"corp.example."}}}, cluster + " a.b.corp.example. a.b."},
		{"host network", model.Pod{HostNetwork: true}, "in the host's network dnsPolicy ClusterFirst is the node's"},
		{"host network with the cluster's", model.Pod{HostNetwork: true, Resolver: &model.Resolver{Policy: "ClusterFirstWithHostNet", Ndots: -1}}, cluster + " a.b."},
		{"the node's", model.Pod{Resolver: &model.Resolver{Policy: "Default", Ndots: -1}}, "dnsPolicy Default"},
		{"its own", model.Pod{Resolver: &model.Resolver{Policy: "None", Ndots: -1, Search: []string{"x.example"}}}, "a.b. a.b.x.example."},
	} {
		c.pod.Name = model.ParseName("shop/p")
		r, err := OfPod(&c.pod, "cluster.local")
		got := strings.Join(r.Names("a.b"), " ")
		if err != nil {
			got = err.Error()
		}
		if err == nil && got != c.want || err != nil && !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
	if got := OfNamespace("shop", "cluster.local").Names("a.b.c.d.e.f"); got[0] != "a.b.c.d.e.f." || len(got) != 4 {
		t.Errorf("a name with ndots dots: %v", got)
	}
	if got := OfNamespace("", "cluster.local").Names("a"); len(got) != 1 {
		t.Errorf("without a pod: %v", got)
	}
}
