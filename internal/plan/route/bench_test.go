package route

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// manyHosts is a cluster of n Ingresses, each with a host of its own, ten paths and
// ten Services of five endpoints.
func manyHosts(n int) (*state.Store, *state.Watch, *Planner) {
	store := state.New()
	store.Update(func(tx *state.Tx) {
		tx.Set(&model.IngressClass{Name: "fairway", Controller: "fairway.dev/ingress"})
		for i := range n {
			tx.Set(bigIngress(i, 10))
			for j := range 10 {
				tx.Set(&model.Service{Name: bigName(i, j), Ports: []model.ServicePort{{Protocol: model.TCP, Port: 80}}})
				tx.Set(bigSlice(i, j, 5))
			}
		}
	})
	watch, planner := store.Watch(), New(Params{})
	snap, changes := watch.Take()
	planner.Update(snap, changes, now)
	return store, watch, planner
}

func bigName(i, j int) model.Name {
	return model.Name{Namespace: fmt.Sprint("ns", i), Name: fmt.Sprint("svc", j)}
}

func bigIngress(i, paths int) *model.Ingress {
	ing := &model.Ingress{Name: model.Name{Namespace: fmt.Sprint("ns", i), Name: "i"}, ClassName: "fairway", Rules: []model.IngressRule{{Host: fmt.Sprintf("host%d.example.com", i)}}}
	for j := range paths {
		ing.Rules[0].Paths = append(ing.Rules[0].Paths, model.IngressPath{Path: fmt.Sprintf("/path%d", j), Type: model.Prefix,
			Backend: model.IngressBackend{Service: fmt.Sprint("svc", j), Port: model.IntOrString{Int: 80}}})
	}
	return ing
}

func bigSlice(i, j, endpoints int) *model.EndpointSlice {
	s := &model.EndpointSlice{Name: bigName(i, j), Service: fmt.Sprint("svc", j), Family: model.IPv4, Ports: []model.EndpointPort{{Protocol: model.TCP, Port: 8080}}}
	for k := range endpoints {
		s.Endpoints = append(s.Endpoints, model.Endpoint{Addr: netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(j*10 + k)}), Ready: true})
	}
	return s
}

// BenchmarkChange is the cost of planning one change among 1,000 hosts with ten
// paths each (10,000 backends, 50,000 endpoints).
func BenchmarkChange(b *testing.B) {
	store, watch, planner := manyHosts(1000)
	for _, c := range []struct {
		name   string
		change func(n int) any
	}{
		{"endpoint", func(n int) any { return bigSlice(n%1000, n%10, 4+n/1000%2) }},
		{"route", func(n int) any { return bigIngress(n%1000, 9+n/1000%2) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			n := 0
			for b.Loop() {
				n++
				store.Update(func(tx *state.Tx) { tx.Set(c.change(n)) })
				snap, changes := watch.Take()
				planner.Update(snap, changes, now)
			}
		})
	}
}

// BenchmarkChangeOfMany is the cost of planning one change among 10,000 hosts with ten
// paths each, all of which lead to one Service.
func BenchmarkChangeOfMany(b *testing.B) {
	const hosts = 10_000
	ingress := func(i, version int, tls bool) *model.Ingress {
		ing := bigIngress(i, 10)
		ing.Name = model.Name{Namespace: "default", Name: fmt.Sprint("i", i)}
		for j := range ing.Rules[0].Paths {
			ing.Rules[0].Paths[j].Backend.Service = "web"
		}
		ing.Rules[0].Paths[0].Path = fmt.Sprint("/version", version)
		if tls {
			ing.TLS = []model.IngressTLS{{Hosts: []string{ing.Rules[0].Host}, Secret: fmt.Sprint("tls", i%100)}}
		}
		return ing
	}
	for _, tls := range []bool{false, true} {
		b.Run(fmt.Sprintf("tls=%v", tls), func(b *testing.B) {
			store := state.New()
			store.Update(func(tx *state.Tx) {
				tx.Set(&model.IngressClass{Name: "fairway", Controller: "fairway.dev/ingress"})
				tx.Set(&model.Service{Name: model.Name{Namespace: "default", Name: "web"}, Ports: []model.ServicePort{{Protocol: model.TCP, Port: 80}}})
				tx.Set(&model.EndpointSlice{Name: model.Name{Namespace: "default", Name: "web-1"}, Service: "web", Family: model.IPv4,
					Ports: []model.EndpointPort{{Protocol: model.TCP, Port: 8080}}, Endpoints: bigSlice(0, 0, 5).Endpoints})
				for i := range hosts {
					tx.Set(ingress(i, 0, tls))
				}
			})
			watch, planner := store.Watch(), New(Params{})
			snap, changes := watch.Take()
			planner.Update(snap, changes, now)
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				n++
				store.Update(func(tx *state.Tx) { tx.Set(ingress(n*7919%hosts, n, tls)) })
				snap, changes := watch.Take()
				planner.Update(snap, changes, now)
			}
		})
	}
}

// BenchmarkMatch is the cost of finding a request's rule.
func BenchmarkMatch(b *testing.B) {
	for _, hosts := range []int{1, 10000} {
		b.Run(fmt.Sprint(hosts, "hosts"), func(b *testing.B) {
			store := state.New()
			store.Update(func(tx *state.Tx) {
				for i := range hosts {
					tx.Set(bigIngress(i, 10))
				}
			})
			p := Make(store.Snapshot(), Params{}, now)
			names := make([]string, 256)
			for i := range names {
				names[i] = fmt.Sprintf("host%d.example.com", i*31%hosts)
			}
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				n++
				match, _, _ := CanonicalPath("/path7/x/y")
				r := Request{Host: CanonicalHost(names[n%256]), Path: match}
				if _, rule := p.Listeners[0].Hosts.Match(&r); rule == nil {
					b.Fatal("no rule")
				}
			}
		})
	}
}
