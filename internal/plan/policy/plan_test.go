package policy

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

var (
	everyone = model.Selector{}
	allow    = []model.PolicyRule{{}}
	noRule   []model.PolicyRule
)

func label(kv ...string) *model.Selector {
	s := &model.Selector{MatchLabels: map[string]string{}}
	for i := 0; i < len(kv); i += 2 {
		s.MatchLabels[kv[i]] = kv[i+1]
	}
	return s
}

func from(peers ...model.PolicyPeer) []model.PolicyRule { return []model.PolicyRule{{Peers: peers}} }

func on(ports ...model.PolicyPort) []model.PolicyRule { return []model.PolicyRule{{Ports: ports}} }

func cidr(s string, except ...string) model.PolicyPeer {
	b := &model.IPBlock{CIDR: netip.MustParsePrefix(s)}
	for _, e := range except {
		b.Except = append(b.Except, netip.MustParsePrefix(e))
	}
	return model.PolicyPeer{Block: b}
}

// town is the cluster of the table: namespace x (team=x) and y (team=y), in
// each pods a, b, c labelled pod=NAME with port web=80/TCP, but y/b with
// web=81/TCP and dns=80/UDP. Pod x/a is the subject.
//
//	x/a 10.1.0.1  x/b 10.1.0.2  x/c 10.1.0.3 (on another node)
//	y/a 10.2.0.1  y/b 10.2.0.2  y/c 10.2.0.3
//	y/host 192.0.2.1 (host network, pod=a)  y/done 10.2.0.9 (finished, pod=a)
func town(policies ...*model.NetworkPolicy) *state.Snapshot {
	store := state.New()
	store.Update(func(tx *state.Tx) {
		for n, ns := range []string{"x", "y"} {
			tx.Set(&model.Namespace{Name: ns, Labels: map[string]string{"team": ns, "kubernetes.io/metadata.name": ns}})
			for i, name := range []string{"a", "b", "c"} {
				tx.Set(&model.Pod{
					Name: model.Name{Namespace: ns, Name: name}, UID: ns + name, Node: map[bool]string{true: "other", false: "here"}[ns == "x" && name == "c"],
					IPs:    []netip.Addr{netip.AddrFrom4([4]byte{10, byte(n + 1), 0, byte(i + 1)})},
					Labels: map[string]string{"pod": name}, Ports: portsOf(ns, name),
				})
			}
		}
		tx.Set(&model.Pod{Name: model.Name{Namespace: "y", Name: "host"}, Node: "here", HostNetwork: true,
			IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Labels: map[string]string{"pod": "a"}})
		tx.Set(&model.Pod{Name: model.Name{Namespace: "y", Name: "done"}, Node: "here", Done: true,
			IPs: []netip.Addr{netip.MustParseAddr("10.2.0.9")}, Labels: map[string]string{"pod": "a"}})
		for i, p := range policies {
			p.Name = model.Name{Namespace: "x", Name: fmt.Sprint("p", i)}
			tx.Set(p)
		}
	})
	return store.Snapshot()
}

func portsOf(ns, name string) []model.ContainerPort {
	if ns == "y" && name == "b" {
		return []model.ContainerPort{{Name: "web", Port: 81, Protocol: model.TCP}, {Name: "dns", Port: 80, Protocol: model.UDP}}
	}
	return []model.ContainerPort{{Name: "web", Port: 80, Protocol: model.TCP}}
}

func in(rules []model.PolicyRule) *model.NetworkPolicy {
	return &model.NetworkPolicy{Pods: *label("pod", "a"), Ingress: true, IngressRules: rules}
}

func out(rules []model.PolicyRule) *model.NetworkPolicy {
	return &model.NetworkPolicy{Pods: *label("pod", "a"), Egress: true, EgressRules: rules}
}

func TestPlan(t *testing.T) {
	tcp80, tcp81, udp80, sctp80 := "TCP 80", "TCP 81", "UDP 80", "SCTP 80"
	tests := []struct {
		rule     string // of the API, in a sentence
		policies []*model.NetworkPolicy
		ingress  []string // PEER PROTOCOL PORT that x/a accepts; all that is tried and not listed must be refused
		egress   []string
		open     string // "ingress", "egress", "both": the direction that is not isolated
	}{
		{rule: "no policy isolates nothing", open: "both"},
		{rule: "an ingress policy does not isolate egress", policies: []*model.NetworkPolicy{in(noRule)}, open: "egress"},
		{rule: "an egress policy does not isolate ingress", policies: []*model.NetworkPolicy{out(noRule)}, open: "ingress"},
		{rule: "rules of a direction that is not in policyTypes mean nothing", policies: []*model.NetworkPolicy{{Pods: everyone, Ingress: true, EgressRules: allow}}, open: "egress"},
		{rule: "another pod's policy means nothing", policies: []*model.NetworkPolicy{{Pods: *label("pod", "b"), Ingress: true, Egress: true}}, open: "both"},
		{rule: "an empty rule allows all", policies: []*model.NetworkPolicy{in(allow)}, open: "egress", ingress: []string{
			"10.1.0.1 *", "10.1.0.2 *", "10.1.0.3 *", "10.2.0.1 *", "10.2.0.2 *", "10.2.0.3 *", "192.0.2.1 *", "10.2.0.9 *", "203.0.113.7 *"}},
		{rule: "podSelector alone is the policy's namespace", policies: []*model.NetworkPolicy{in(from(model.PolicyPeer{Pods: label("pod", "b")}))},
			open: "egress", ingress: []string{"10.1.0.2 *"}},
		{rule: "an empty podSelector is every pod of the namespace", policies: []*model.NetworkPolicy{in(from(model.PolicyPeer{Pods: &everyone}))},
			open: "egress", ingress: []string{"10.1.0.1 *", "10.1.0.2 *", "10.1.0.3 *"}},
		{rule: "namespaceSelector alone is every pod of those namespaces, none on the host network, none that ended",
			policies: []*model.NetworkPolicy{in(from(model.PolicyPeer{Namespaces: label("team", "y")}))},
			open:     "egress", ingress: []string{"10.2.0.1 *", "10.2.0.2 *", "10.2.0.3 *"}},
		{rule: "an empty namespaceSelector is every pod, and nobody else", policies: []*model.NetworkPolicy{in(from(model.PolicyPeer{Namespaces: &everyone}))},
			open: "egress", ingress: []string{"10.1.0.1 *", "10.1.0.2 *", "10.1.0.3 *", "10.2.0.1 *", "10.2.0.2 *", "10.2.0.3 *"}},
		{rule: "both selectors in one item: and", policies: []*model.NetworkPolicy{in(from(model.PolicyPeer{Namespaces: label("team", "y"), Pods: label("pod", "a")}))},
			open: "egress", ingress: []string{"10.2.0.1 *"}},
		{rule: "two items: or", policies: []*model.NetworkPolicy{in(from(model.PolicyPeer{Namespaces: label("team", "y")}, model.PolicyPeer{Pods: label("pod", "b")}))},
			open: "egress", ingress: []string{"10.1.0.2 *", "10.2.0.1 *", "10.2.0.2 *", "10.2.0.3 *"}},
		{rule: "ipBlock matches pods, nodes and strangers, not its exceptions",
			policies: []*model.NetworkPolicy{out(from(cidr("10.2.0.0/16", "10.2.0.2/31"), cidr("203.0.113.0/24")))},
			open:     "ingress", egress: []string{"10.2.0.1 *", "10.2.0.9 *", "203.0.113.7 *"}},
		{rule: "an exception of one item may be allowed by another",
			policies: []*model.NetworkPolicy{out(from(cidr("10.2.0.0/16", "10.2.0.0/30"), cidr("10.2.0.2/32")))},
			open:     "ingress", egress: []string{"10.2.0.2 *", "10.2.0.9 *"}},
		{rule: "an exception does not touch a selector", policies: []*model.NetworkPolicy{out(from(cidr("0.0.0.0/0", "10.0.0.0/8"), model.PolicyPeer{Pods: label("pod", "b")}))},
			open: "ingress", egress: []string{"10.1.0.2 *", "192.0.2.1 *", "203.0.113.7 *"}},
		{rule: "a host network pod is an address", policies: []*model.NetworkPolicy{in(from(cidr("192.0.2.1/32")))}, open: "egress", ingress: []string{"192.0.2.1 *"}},
		{rule: "policies add up", policies: []*model.NetworkPolicy{in(noRule), in(from(model.PolicyPeer{Pods: label("pod", "b")})), in(from(model.PolicyPeer{Pods: label("pod", "c")}))},
			open: "egress", ingress: []string{"10.1.0.2 *", "10.1.0.3 *"}},
		{rule: "a port number", policies: []*model.NetworkPolicy{{Pods: *label("pod", "a"), Ingress: true,
			IngressRules: []model.PolicyRule{{Peers: []model.PolicyPeer{{Pods: label("pod", "b")}}, Ports: []model.PolicyPort{{Protocol: model.TCP, Port: model.IntOrString{Int: 80}}}}}}},
			open: "egress", ingress: []string{"10.1.0.2 " + tcp80}},
		{rule: "no port number is all ports of the protocol, and of no other", policies: []*model.NetworkPolicy{in(on(model.PolicyPort{Protocol: model.UDP}))}, open: "egress",
			ingress: everybody(udp80)},
		{rule: "SCTP isolates and is not TCP", policies: []*model.NetworkPolicy{in(on(model.PolicyPort{Protocol: model.SCTP, Port: model.IntOrString{Int: 80}}))}, open: "egress",
			ingress: everybody(sctp80)},
		{rule: "endPort is inclusive", policies: []*model.NetworkPolicy{in(on(model.PolicyPort{Protocol: model.TCP, Port: model.IntOrString{Int: 70}, EndPort: 80}))}, open: "egress",
			ingress: everybody(tcp80)},
		{rule: "an endPort before the port allows the port only", policies: []*model.NetworkPolicy{in(on(model.PolicyPort{Protocol: model.TCP, Port: model.IntOrString{Int: 81}, EndPort: 80}))}, open: "egress",
			ingress: everybody(tcp81)},
		{rule: "a port name at ingress is that of the pod itself", policies: []*model.NetworkPolicy{in(on(model.PolicyPort{Protocol: model.TCP, Port: model.IntOrString{Str: "web"}}))}, open: "egress",
			ingress: everybody(tcp80)},
		{rule: "a port name of another protocol is no port", policies: []*model.NetworkPolicy{in(on(model.PolicyPort{Protocol: model.UDP, Port: model.IntOrString{Str: "web"}}))}, open: "egress"},
		{rule: "a port name at egress is that of each peer, and of pods only", policies: []*model.NetworkPolicy{out(on(model.PolicyPort{Protocol: model.TCP, Port: model.IntOrString{Str: "web"}}))},
			open: "ingress", egress: []string{"10.1.0.1 " + tcp80, "10.1.0.2 " + tcp80, "10.1.0.3 " + tcp80, "10.2.0.1 " + tcp80, "10.2.0.2 " + tcp81, "10.2.0.3 " + tcp80}},
		{rule: "a port name at egress with peers", policies: []*model.NetworkPolicy{{Pods: everyone, Egress: true, EgressRules: []model.PolicyRule{{
			Peers: []model.PolicyPeer{cidr("10.2.0.0/16")}, Ports: []model.PolicyPort{{Protocol: model.UDP, Port: model.IntOrString{Str: "dns"}}, {Protocol: model.TCP, Port: model.IntOrString{Str: "web"}}}}}}},
			open: "ingress", egress: []string{"10.2.0.1 " + tcp80, "10.2.0.2 " + tcp81, "10.2.0.2 " + udp80, "10.2.0.3 " + tcp80}},
		{rule: "an item without any known field is nobody", policies: []*model.NetworkPolicy{in(from(model.PolicyPeer{}))}, open: "egress"},
		{rule: "a label that looks like the namespace's name is a label", policies: []*model.NetworkPolicy{in(from(model.PolicyPeer{Namespaces: label("kubernetes.io/metadata.name", "y"), Pods: label("pod", "b")}))},
			open: "egress", ingress: []string{"10.2.0.2 *"}},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			plan := For(town(tt.policies...), "here")
			pod := podOf(t, plan, "x", "a")
			check(t, "ingress", plan, pod.Ingress, tt.ingress, tt.open == "ingress" || tt.open == "both")
			check(t, "egress", plan, pod.Egress, tt.egress, tt.open == "egress" || tt.open == "both")
		})
	}
}

var peers = []string{"10.1.0.1", "10.1.0.2", "10.1.0.3", "10.2.0.1", "10.2.0.2", "10.2.0.3", "192.0.2.1", "10.2.0.9", "203.0.113.7"}

func everybody(what string) (all []string) {
	for _, p := range peers {
		all = append(all, p+" "+what)
	}
	return all
}

// check tries every peer on five ports and compares what passes with want.
func check(t *testing.T, name string, plan Plan, direction *string, want []string, open bool) {
	t.Helper()
	if open != (direction == nil) {
		t.Errorf("%s: not isolated is %v, want %v", name, direction == nil, open)
	}
	if open || direction == nil {
		return
	}
	wanted := map[string]bool{}
	for _, w := range want {
		wanted[w] = true
	}
	for _, peer := range peers {
		for _, port := range []struct {
			protocol model.Protocol
			number   uint16
		}{{model.TCP, 80}, {model.TCP, 81}, {model.UDP, 80}, {model.SCTP, 80}, {1, 0}} {
			got := plan.Allows(direction, netip.MustParseAddr(peer), port.protocol, port.number)
			if w := wanted[peer+" *"] || wanted[fmt.Sprint(peer, " ", port.protocol, " ", port.number)]; got != w {
				t.Errorf("%s %v %v %d: allowed is %v, want %v", name, peer, port.protocol, port.number, got, w)
			}
		}
	}
}

func podOf(t *testing.T, plan Plan, ns, name string) PodPolicy {
	t.Helper()
	for _, p := range plan.Pods {
		if p.Pod == (model.Name{Namespace: ns, Name: name}) {
			return p
		}
	}
	t.Fatalf("no pod %s/%s in the plan", ns, name)
	return PodPolicy{}
}

func TestPlanListsThePodsOfTheNode(t *testing.T) {
	var got []string
	for _, p := range For(town(), "here").Pods {
		got = append(got, p.Pod.String())
	}
	want := []string{"x/a", "x/b", "y/a", "y/b", "y/c"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("pods %v, want %v: no pod of another node, on the host network or finished", got, want)
	}
}

// A pod whose address was given to another before the API forgot it must not
// lend its labels to the new owner.
func TestAddressOfDeletedPodBelongsToItsNewOwner(t *testing.T) {
	for _, older := range []string{"aaa", "zzz"} { // before and after the new owner in the table
		store := state.New()
		store.Update(func(tx *state.Tx) {
			ip := []netip.Addr{netip.MustParseAddr("10.1.0.5")}
			tx.Set(&model.Pod{Name: model.Name{Namespace: "x", Name: "subject"}, Node: "here", Labels: map[string]string{"pod": "a"}})
			tx.Set(&model.Pod{Name: model.Name{Namespace: "x", Name: older}, IPs: ip, Deleting: true, Labels: map[string]string{"pod": "old"}})
			tx.Set(&model.Pod{Name: model.Name{Namespace: "x", Name: "mmm"}, IPs: ip, Labels: map[string]string{"pod": "new"}})
			for _, who := range []string{"old", "new"} {
				p := in(from(model.PolicyPeer{Pods: label("pod", who)}))
				p.Name = model.Name{Namespace: "x", Name: who}
				p.IngressRules[0].Ports = []model.PolicyPort{{Protocol: model.TCP, Port: model.IntOrString{Int: map[string]uint16{"old": 1, "new": 2}[who]}}}
				tx.Set(p)
			}
		})
		plan := For(store.Snapshot(), "here")
		pod := podOf(t, plan, "x", "subject")
		peer := netip.MustParseAddr("10.1.0.5")
		if plan.Allows(pod.Ingress, peer, model.TCP, 1) || !plan.Allows(pod.Ingress, peer, model.TCP, 2) {
			t.Errorf("%s: the address is still that of the deleted pod", older)
		}
	}
}

// What nobody mentions costs nothing: no prefixes for pods that no selector of
// a local pod matches.
func TestClassesOnlyForWhatIsMentioned(t *testing.T) {
	plan := For(town(in(from(model.PolicyPeer{Pods: label("pod", "b")}, cidr("10.2.0.0/16")))), "here")
	if len(plan.Classes) != 2 {
		t.Errorf("classes %v, want 10.1.0.2/32 and 10.2.0.0/16 only", plan.Classes)
	}
	if elsewhere := For(town(in(from(model.PolicyPeer{Pods: &everyone}))), "other"); len(elsewhere.Classes) != 0 {
		t.Errorf("classes %v on a node without a pod that the policy selects", elsewhere.Classes)
	}
}

func TestNamesDependOnContentOnly(t *testing.T) {
	b := model.PolicyPeer{Pods: label("pod", "b")}
	c := model.PolicyPeer{Namespaces: label("team", "y")}
	one, two := For(town(in(from(b, c))), "here"), For(town(in(from(c)), in(noRule), in(from(b))), "here")
	if !reflect.DeepEqual(one, two) {
		t.Errorf("the same permissions written differently give\n%+v and\n%+v", one, two)
	}
}

// large is a cluster of 50,000 pods and 2,000 policies in 500 namespaces.
func large() *state.Store {
	store := state.New()
	store.Update(func(tx *state.Tx) {
		for n := range 500 {
			ns := fmt.Sprint("ns", n)
			tx.Set(&model.Namespace{Name: ns, Labels: map[string]string{"team": fmt.Sprint(n % 20)}})
			for i := range 100 {
				tx.Set(largePod(n, i))
			}
			for i := range 4 {
				p := in(from(model.PolicyPeer{Pods: label("app", fmt.Sprint("app", i))}, model.PolicyPeer{Namespaces: label("team", fmt.Sprint(i)), Pods: label("tier", "1")}))
				p.Name, p.Pods = model.Name{Namespace: ns, Name: fmt.Sprint("p", i)}, *label("app", fmt.Sprint("app", i+1))
				tx.Set(p)
			}
		}
	})
	return store
}

func largePod(n, i int) *model.Pod {
	return &model.Pod{Name: model.Name{Namespace: fmt.Sprint("ns", n), Name: fmt.Sprint("pod", i)}, Node: fmt.Sprint("node", (n+i)%500),
		IPs:    []netip.Addr{netip.AddrFrom4([4]byte{10, byte(n / 250), byte(n % 250), byte(i)})},
		Labels: map[string]string{"app": fmt.Sprint("app", i%10), "tier": fmt.Sprint(i % 3), "pod-template-hash": fmt.Sprint(i)}}
}

func BenchmarkFor(b *testing.B) {
	snap := large().Snapshot()
	plan := For(snap, "node7")
	b.Logf("%d pods, %d policies: %d local pods, %d classes, %d sets", snap.Pods.Len(), snap.Policies.Len(), len(plan.Pods), len(plan.Classes), len(plan.Sets))
	for b.Loop() {
		For(snap, "node7")
	}
}

func BenchmarkUpdate(b *testing.B) {
	store, planner := large(), NewPlanner("node7")
	planner.Update(store.Snapshot(), state.Changes{All: true})
	for i := 0; b.Loop(); i++ {
		pod := largePod(i%500, i%100)
		store.Update(func(tx *state.Tx) { tx.Set(pod) })
		planner.Update(store.Snapshot(), state.Changes{Keys: map[state.Change]struct{}{{Kind: model.KindPod, Key: pod.String()}: {}}})
	}
}
