package address

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/config"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// svc makes a LoadBalancer Service; older has lower age. The options are
// "status=IP", "want=IP", "pool=NAME", "class=C", "type=ClusterIP", "v6", "deleting".
func svc(name string, age int, options ...string) *model.Service {
	s := &model.Service{Name: model.Name{Namespace: "ns", Name: name}, Type: model.LoadBalancer, Families: []model.Family{model.IPv4},
		Created: time.Unix(int64(1000+age), 0), Annotations: map[string]string{}}
	for _, o := range options {
		k, v, _ := strings.Cut(o, "=")
		switch k {
		case "status":
			s.LoadBalancer = append(s.LoadBalancer, model.LoadBalancerIngress{IP: netip.MustParseAddr(v)})
		case "want":
			s.Annotations["metallb.io/loadBalancerIPs"] = v
		case "spec":
			s.LoadBalancerIP = v
		case "pool":
			s.Annotations["fairway.dev/address-pool"] = v
		case "class":
			s.LoadBalancerClass = v
		case "type":
			s.Type = model.ClusterIP
		case "v6":
			s.Families = append(s.Families, model.IPv6)
		case "deleting":
			s.Deleting = true
		}
	}
	return s
}

func snapshot(services ...*model.Service) *state.Snapshot {
	st := state.New()
	st.Update(func(tx *state.Tx) {
		for _, s := range services {
			tx.Set(s)
		}
	})
	return st.Snapshot()
}

func show(p Plan) string {
	var lines []string
	for n, a := range p.Addresses {
		lines = append(lines, fmt.Sprint(n.Name, a))
	}
	slices.Sort(lines)
	for _, r := range p.Rejected {
		lines = append(lines, r.Ref.Name.Name+" "+r.Reason)
	}
	return strings.Join(lines, "; ")
}

func TestMake(t *testing.T) {
	for _, tt := range []struct {
		name     string
		pools    string
		services []*model.Service
		want     string
	}{
		{"lowest free, oldest first, no .0", "10.9.0.0/29", []*model.Service{svc("b", 1), svc("a", 2)}, "a[10.9.0.2]; b[10.9.0.1]"},
		{"status is kept", "10.9.0.0/29", []*model.Service{svc("a", 1), svc("b", 2, "status=10.9.0.1")}, "a[10.9.0.2]; b[10.9.0.1]"},
		{"status outside the pools is replaced", "10.9.0.0/29", []*model.Service{svc("a", 1, "status=192.0.2.1")}, "a[10.9.0.1]"},
		{"two show the same address: the oldest keeps it", "10.9.0.0/29", []*model.Service{svc("a", 2, "status=10.9.0.1"), svc("b", 1, "status=10.9.0.1")}, "a[10.9.0.2]; b[10.9.0.1]"},
		{"a wish goes before the others", "10.9.0.0/29", []*model.Service{svc("a", 1), svc("b", 2, "want=10.9.0.1")}, "a[10.9.0.2]; b[10.9.0.1]"},
		{"a changed wish moves", "10.9.0.0/29", []*model.Service{svc("a", 1, "status=10.9.0.1", "spec=10.9.0.3")}, "a[10.9.0.3]"},
		{"a wish for a taken address", "10.9.0.0/29", []*model.Service{svc("a", 1, "status=10.9.0.1"), svc("b", 2, "want=10.9.0.1")}, "a[10.9.0.1]; b[]; b AddressInUse"},
		{"a wish outside the pools", "10.9.0.0/29", []*model.Service{svc("a", 1, "want=192.0.2.1")}, "a[]; a AddressNotInPool"},
		{"a wish that is no address", "10.9.0.0/29", []*model.Service{svc("a", 1, "want=ten")}, "a[]; a InvalidAddress"},
		{"named pool", "10.9.0.0/29 edge=10.8.0.1", []*model.Service{svc("a", 1, "pool=edge"), svc("b", 2, "pool=edge"), svc("c", 3, "pool=none")}, "a[10.8.0.1]; b[]; c[]; b PoolExhausted; c PoolNotFound"},
		{"exhausted", "10.9.0.1", []*model.Service{svc("a", 1), svc("b", 2)}, "a[10.9.0.1]; b[]; b PoolExhausted"},
		{"no pools", "", []*model.Service{svc("a", 1)}, "a[]; a PoolExhausted"},
		{"foreign class", "10.9.0.1", []*model.Service{svc("a", 1, "class=service.k8s.aws/nlb"), svc("b", 2, "class="+Class)}, "b[10.9.0.1]"},
		{"no longer a load balancer", "10.9.0.1", []*model.Service{svc("a", 1, "type", "status=10.9.0.1"), svc("b", 2)}, "a[]; b[10.9.0.1]"},
		{"deleting frees the address", "10.9.0.1", []*model.Service{svc("a", 1, "deleting", "status=10.9.0.1"), svc("b", 2)}, "b[10.9.0.1]"},
		{"IPv6: no routers' anycast address", "10.9.0.0/29 fd00::/112", []*model.Service{svc("a", 1, "v6")}, "a[10.9.0.1 fd00::1]"},
		{"dual-stack", "10.9.0.1 fd00::1-fd00::9", []*model.Service{svc("a", 1, "v6")}, "a[10.9.0.1 fd00::1]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pools, err := config.ParsePools(tt.pools)
			if err != nil {
				t.Fatal(err)
			}
			if got := show(Make(snapshot(tt.services...), pools)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// Whatever the order of events, writing the plan into the statuses must be a
// fixed point, and no address may have two owners.
func TestMakeIsStable(t *testing.T) {
	pools, _ := config.ParsePools("10.9.0.0/28")
	var services []*model.Service
	for i := range 20 {
		o := []string{}
		if i%5 == 0 {
			o = append(o, fmt.Sprintf("want=10.9.0.%d", 1+i%7))
		}
		services = append(services, svc(fmt.Sprint("s", i), i*7%20, o...))
	}
	first := Make(snapshot(services...), pools)
	owner := map[netip.Addr]model.Name{}
	for n, as := range first.Addresses {
		for _, a := range as {
			if o, dup := owner[a]; dup {
				t.Fatalf("%v given to %v and %v", a, o, n)
			}
			owner[a] = n
		}
	}
	if len(owner) != 15 { // .1 to .15; .0 is left out
		t.Errorf("%d addresses given, want all 15", len(owner))
	}
	for _, s := range services {
		s.LoadBalancer = nil
		for _, a := range first.Addresses[s.Name] {
			s.LoadBalancer = append(s.LoadBalancer, model.LoadBalancerIngress{IP: a})
		}
	}
	if again := Make(snapshot(services...), pools); show(again) != show(first) {
		t.Errorf("not a fixed point:\n%s\n%s", show(first), show(again))
	}
}

func TestAnnouncers(t *testing.T) {
	st := state.New()
	v4, both := []netip.Addr{netip.MustParseAddr("192.0.2.1")}, []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::2")}
	nodes := []*model.Node{{Name: "n1", Ready: true, InternalIPs: v4}, {Name: "n2", Ready: true, InternalIPs: both}, {Name: "n3", Ready: true, InternalIPs: both},
		{Name: "down", InternalIPs: both}, {Name: "excluded", Ready: true, ExcludeLB: true, InternalIPs: both}}
	st.Update(func(tx *state.Tx) {
		for _, n := range nodes {
			tx.Set(n)
		}
		for i := 1; i <= 200; i++ {
			tx.Set(svc(fmt.Sprint("s", i), i, fmt.Sprintf("status=10.9.0.%d", i)))
		}
		local := svc("local", 1, "status=10.9.1.1")
		local.ExternalLocal = true
		tx.Set(local)
		empty := svc("empty", 1, "status=10.9.1.2")
		empty.ExternalLocal = true
		tx.Set(empty)
		tx.Set(&model.EndpointSlice{Name: model.Name{Namespace: "ns", Name: "x"}, Service: "local", Family: model.IPv4,
			Endpoints: []model.Endpoint{{Ready: true, Node: "n2"}, {Serving: true, Terminating: true, Node: "n1"}}})
		families := svc("families", 1, "v6", "status=10.9.1.3", "status=fd00::3")
		families.ExternalLocal = true
		tx.Set(families)
		tx.Set(&model.EndpointSlice{Name: model.Name{Namespace: "ns", Name: "y4"}, Service: "families", Family: model.IPv4, Endpoints: []model.Endpoint{{Ready: true, Node: "n1"}}})
		tx.Set(&model.EndpointSlice{Name: model.Name{Namespace: "ns", Name: "y6"}, Service: "families", Family: model.IPv6, Endpoints: []model.Endpoint{{Ready: true, Node: "n3"}}})
		for i := 1; i <= 20; i++ {
			tx.Set(svc(fmt.Sprint("six", i), i, "v6", fmt.Sprintf("status=fd00::1:%d", i)))
		}
	})
	before := Announcers(st.Snapshot())
	if got := before[netip.MustParseAddr("10.9.1.1")]; got != "n2" {
		t.Errorf("local policy: announced by %q, want n2", got)
	}
	if got, ok := before[netip.MustParseAddr("10.9.1.2")]; ok {
		t.Errorf("local policy without endpoints: announced by %q", got)
	}
	if a, b := before[netip.MustParseAddr("10.9.1.3")], before[netip.MustParseAddr("fd00::3")]; a != "n1" || b != "n3" {
		t.Errorf("each family where its endpoints are: %q and %q, want n1 and n3", a, b)
	}
	share := map[string]int{}
	for a, n := range before {
		if a.Is4() {
			share[n]++
		} else if n == "n1" {
			t.Errorf("%v is announced by a node without IPv6", a)
		}
	}
	for _, n := range []string{"n1", "n2", "n3"} {
		if share[n] < 45 || share[n] > 90 {
			t.Errorf("unfair share: %v", share)
		}
	}
	if len(share) != 3 {
		t.Errorf("nodes that may not announce do: %v", share)
	}
	st.Update(func(tx *state.Tx) { tx.Set(&model.Node{Name: "n3", InternalIPs: both}) })
	for a, n := range Announcers(st.Snapshot()) {
		if before[a] != "n3" && before[a] != n {
			t.Errorf("%v moved from %s to %s although its node is up", a, before[a], n)
		}
	}
}
