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
		steps, err := Run(store.Snapshot(), p, Names(c.name, c.from, p.Zone), mdns.TypeA)
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
	if got := Names("a.b.c.d.e.f", "shop", "cluster.local"); got[0] != "a.b.c.d.e.f." || len(got) != 4 {
		t.Errorf("a name with ndots dots: %v", got)
	}
}
