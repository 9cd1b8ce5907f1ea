package zone

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

func ips(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

var svc = model.Name{Namespace: "ns", Name: "svc"}

func slice(name string, ports []model.EndpointPort, eps ...model.Endpoint) *model.EndpointSlice {
	return &model.EndpointSlice{Name: model.Name{Namespace: "ns", Name: name}, Service: "svc", Ports: ports, Endpoints: eps}
}

func ready(addr, hostname string) model.Endpoint {
	return model.Endpoint{Addr: netip.MustParseAddr(addr), Hostname: hostname, Ready: true}
}

func plan(objects ...any) Records {
	s := state.New()
	s.Update(func(tx *state.Tx) {
		for _, o := range objects {
			tx.Set(o)
		}
	})
	return Plan(s.Snapshot(), svc)
}

func TestPlan(t *testing.T) {
	http := model.ServicePort{Name: "http", Protocol: model.TCP, Port: 80, TargetPort: model.IntOrString{Int: 8080}}
	headless := &model.Service{Name: svc, Headless: true, Ports: []model.ServicePort{http}}
	targets := []model.EndpointPort{{Name: "http", Protocol: model.TCP, Port: 8080}}
	for _, c := range []struct {
		what    string
		objects []any
		want    string
	}{
		{"no Service", nil, ""},
		{"slices without a Service", []any{slice("a", targets, ready("10.0.0.1", ""))}, ""},
		{"no address yet", []any{&model.Service{Name: svc, Ports: []model.ServicePort{http}}}, ""},
		{"ClusterIP: the Service's port, not the target's", []any{&model.Service{Name: svc, ClusterIPs: ips("10.96.0.1", "fd00::1"), Ports: []model.ServicePort{http}}}, `
			svc.ns.svc.z. 5 IN A 10.96.0.1
			svc.ns.svc.z. 5 IN AAAA fd00::1
			svc.ns.svc.z. 5 IN SRV 0 100 80 svc.ns.svc.z.
			_http._tcp.svc.ns.svc.z. 5 IN SRV 0 100 80 svc.ns.svc.z.
			1.0.96.10.in-addr.arpa. 5 IN PTR svc.ns.svc.z.
			1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. 5 IN PTR svc.ns.svc.z.`},
		{"NodePort and LoadBalancer have a ClusterIP's names", []any{&model.Service{Name: svc, Type: model.LoadBalancer, ClusterIPs: ips("10.96.0.1"),
			LoadBalancer: []model.LoadBalancerIngress{{IP: netip.MustParseAddr("192.0.2.1")}}, ExternalIPs: ips("192.0.2.2")}}, `
			svc.ns.svc.z. 5 IN A 10.96.0.1
			1.0.96.10.in-addr.arpa. 5 IN PTR svc.ns.svc.z.`},
		{"the endpoints of a ClusterIP Service have no names", []any{&model.Service{Name: svc, ClusterIPs: ips("10.96.0.1")}, slice("a", targets, ready("10.0.0.1", "h"))}, `
			svc.ns.svc.z. 5 IN A 10.96.0.1
			1.0.96.10.in-addr.arpa. 5 IN PTR svc.ns.svc.z.`},
		{"headless: the target's port", []any{headless, slice("a", targets, ready("10.0.0.1", "h"))}, `
			svc.ns.svc.z. 5 IN A 10.0.0.1
			svc.ns.svc.z. 5 IN SRV 0 100 8080 h.svc.ns.svc.z.
			_http._tcp.svc.ns.svc.z. 5 IN SRV 0 100 8080 h.svc.ns.svc.z.
			h.svc.ns.svc.z. 5 IN A 10.0.0.1
			h.svc.ns.svc.z. 5 IN SRV 0 100 8080 h.svc.ns.svc.z.
			1.0.0.10.in-addr.arpa. 5 IN PTR h.svc.ns.svc.z.`},
		{"headless: ready decides, not serving", []any{headless, slice("a", nil, model.Endpoint{Addr: ips("10.0.0.1")[0], Serving: true}, model.Endpoint{Addr: ips("10.0.0.2")[0]})}, ""},
		{"headless: published although not ready and terminating", []any{headless, slice("a", nil, model.Endpoint{Addr: ips("10.0.0.1")[0], Ready: true, Terminating: true})}, `
			svc.ns.svc.z. 5 IN A 10.0.0.1
			10-0-0-1.svc.ns.svc.z. 5 IN A 10.0.0.1
			1.0.0.10.in-addr.arpa. 5 IN PTR 10-0-0-1.svc.ns.svc.z.`},
		{"headless: the same endpoint in two slices", []any{headless, slice("a", nil, ready("10.0.0.1", "")), slice("b", nil, ready("10.0.0.1", ""))}, `
			svc.ns.svc.z. 5 IN A 10.0.0.1
			10-0-0-1.svc.ns.svc.z. 5 IN A 10.0.0.1
			1.0.0.10.in-addr.arpa. 5 IN PTR 10-0-0-1.svc.ns.svc.z.`},
		{"headless: slices of another Service", []any{headless, &model.EndpointSlice{Name: model.Name{Namespace: "ns", Name: "x"}, Service: "svc2", Endpoints: []model.Endpoint{ready("10.0.0.1", "")}}}, ""},
		{"headless: IPv6 that would end in a dash", []any{headless, slice("a", nil, ready("fd00::", ""))}, `
			svc.ns.svc.z. 5 IN AAAA fd00::
			fd00--0.svc.ns.svc.z. 5 IN AAAA fd00::
			0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. 5 IN PTR fd00--0.svc.ns.svc.z.`},
		{"ExternalName", []any{&model.Service{Name: svc, Type: model.ExternalName, ExternalName: "Www.example.com", Ports: []model.ServicePort{http}}}, `
			svc.ns.svc.z. 5 IN CNAME www.example.com.`},
		{"ExternalName that is an address", []any{&model.Service{Name: svc, Type: model.ExternalName, ExternalName: "192.0.2.1"}}, ""},
	} {
		r := plan(c.objects...)
		for _, o := range c.objects {
			Trim(o)
		}
		if trimmed := plan(c.objects...); !reflect.DeepEqual(r, trimmed) {
			t.Errorf("%s: other records after Trim: %v", c.what, trimmed)
		}
		var got, want []string
		for _, rr := range r.List(Params{Zone: "z", TTL: 5}) {
			got = append(got, rr.String())
		}
		for line := range strings.Lines(c.want) {
			if line = strings.TrimSpace(line); line != "" {
				want = append(want, line)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n got %s\nwant %s", c.what, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
		}
		if r.Empty() != (len(want) == 0) {
			t.Errorf("%s: Empty is %v", c.what, r.Empty())
		}
	}
}

func TestKeys(t *testing.T) {
	s := state.New()
	w := s.Watch(Kinds()...)
	defer w.Close()
	s.Update(func(tx *state.Tx) {
		tx.Set(&model.Service{Name: svc})
		tx.Set(&model.Namespace{Name: "ns"})
	})
	snap, changes := w.Take()
	if services, namespaces := Keys(changes, snap); !slices.Equal(services, []model.Name{svc}) || !slices.Equal(namespaces, []string{"ns"}) {
		t.Errorf("at first: %v %v", services, namespaces)
	}
	s.Update(func(tx *state.Tx) {
		tx.Set(slice("a", nil))
		tx.Set(slice("b", nil))
		tx.Delete(model.KindNamespace, "ns")
		tx.Set(&model.Node{Name: "n"})
	})
	snap, changes = w.Take()
	if services, namespaces := Keys(changes, snap); !slices.Equal(services, []model.Name{svc}) || !slices.Equal(namespaces, []string{"ns"}) {
		t.Errorf("after a change of slices: %v %v", services, namespaces)
	}
}

func TestDashed(t *testing.T) {
	for _, s := range []string{"10.0.0.1", "255.255.255.255", "fd00::", "fd00::1", "::1", "::", "1:2:3:4:5:6:7:8", "2001:db8::8a2e:370:7334"} {
		a := netip.MustParseAddr(s)
		label := Dashed(a)
		if back, ok := ParseDashed(label); !ok || back != a {
			t.Errorf("%s: %q parses to %v", s, label, back)
		}
		if strings.HasSuffix(label, "-") || len(label) > 63 {
			t.Errorf("%s: %q is no label", s, label)
		}
	}
	for _, s := range []string{"", "web", "10-0-0", "10-0-0-256", "1-2-3-4-5", "10-0-0-1-", "fd00-", "01-2-3-4"} {
		if a, ok := ParseDashed(s); ok {
			t.Errorf("%q parses to %v", s, a)
		}
	}
}
