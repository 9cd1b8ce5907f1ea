package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// FuzzAgainstLiteral compares the planner with the literal reading of the
// specification, over worlds small enough that everything collides with
// everything: few labels, few names, nested and overlapping blocks.
func FuzzAgainstLiteral(f *testing.F) {
	for seed := range uint64(300) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		w := &world{rand.New(rand.NewPCG(seed, 1))}
		snap := w.snapshot()
		plan := For(snap, "here")
		if again := For(snap, "here"); !reflect.DeepEqual(plan, again) {
			t.Fatalf("two plans of one snapshot differ:\n%+v\n%+v", plan, again)
		}
		spec := literal{snap}
		for _, pp := range plan.Pods {
			pod := snap.Pod(pp.Pod)
			for _, peer := range w.addresses() {
				for _, protocol := range []model.Protocol{model.TCP, model.UDP, model.SCTP} {
					for port := uint16(1); port <= 6; port++ {
						for d, name := range map[direction]*string{ingress: pp.Ingress, egress: pp.Egress} {
							want := spec.allows(pod, d, peer, protocol, port)
							if got := plan.Allows(name, peer, protocol, port); got != want {
								t.Fatalf("pod %v, egress %v, peer %v, %v %d: plan says %v, the specification %v\nplan %+v",
									pp.Pod, d, peer, protocol, port, got, want, plan)
							}
						}
					}
				}
			}
		}
	})
}

// FuzzUpdate compares a Planner that lives through random changes with a plan
// made from nothing after each of them.
func FuzzUpdate(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		w := &world{rand.New(rand.NewPCG(seed, 2))}
		store, planner := state.New(), NewPlanner("here")
		watch := store.Watch(model.KindPod, model.KindNamespace, model.KindNetworkPolicy)
		defer watch.Close()
		for step := range 40 {
			store.Update(func(tx *state.Tx) {
				for range 1 + w.IntN(3) {
					w.change(tx)
				}
			})
			snap, changes := watch.Take()
			if got, want := planner.Update(snap, changes), For(snap, "here"); !reflect.DeepEqual(got, want) {
				t.Fatalf("after step %d (%v):\n%+v, want\n%+v", step, changes, got, want)
			}
		}
	})
}

// change adds, replaces or removes one object.
func (w *world) change(tx *state.Tx) {
	switch w.IntN(8) {
	case 0:
		tx.Set(&model.Namespace{Name: w.namespace(), Labels: w.labels()})
	case 1:
		tx.Delete(model.KindNamespace, w.namespace())
	case 2:
		tx.Set(w.policy(w.IntN(4)))
	case 3:
		tx.Delete(model.KindNetworkPolicy, w.policy(w.IntN(4)).String())
	case 4:
		tx.Delete(model.KindPod, w.pod(w.IntN(8)).String())
	default:
		pod, addresses := w.pod(w.IntN(8)), w.addresses()
		pod.Deleting = w.IntN(4) == 0
		for range w.IntN(3) {
			pod.IPs = append(pod.IPs, addresses[w.IntN(12)]) // few, so that pods quarrel over them
		}
		slices.SortFunc(pod.IPs, netip.Addr.Compare)
		pod.IPs = slices.Compact(pod.IPs)
		tx.Set(pod)
	}
}

// world makes random objects.
type world struct{ *rand.Rand }

func (w *world) snapshot() *state.Snapshot {
	store := state.New()
	store.Update(func(tx *state.Tx) {
		for i := range 3 {
			if w.IntN(8) > 0 { // sometimes a namespace is not known yet
				tx.Set(&model.Namespace{Name: fmt.Sprint("ns", i), Labels: w.labels()})
			}
		}
		addresses := w.addresses()
		w.Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
		for i := range 1 + w.IntN(10) {
			pod := w.pod(i)
			n := w.IntN(3)
			pod.IPs, addresses = addresses[:n], addresses[n:]
			if pod.Done && len(addresses) > 0 { // shown, but free: the next pod gets it
				pod.IPs = append([]netip.Addr{addresses[0]}, pod.IPs...)
			}
			tx.Set(pod)
		}
		for i := range w.IntN(6) {
			tx.Set(w.policy(i))
		}
	})
	return store.Snapshot()
}

func (w *world) pod(i int) *model.Pod {
	pod := &model.Pod{
		Name: model.Name{Namespace: w.namespace(), Name: fmt.Sprint("pod", i)}, UID: fmt.Sprint("uid", i),
		Node: w.pick("here", "here", "there"), Labels: w.labels(), Done: w.IntN(8) == 0, HostNetwork: w.IntN(8) == 0,
	}
	for range w.IntN(4) {
		pod.Ports = append(pod.Ports, model.ContainerPort{Name: w.pick("", "web", "dns"), Protocol: w.protocol(), Port: uint16(1 + w.IntN(5))})
	}
	return pod
}

func (w *world) policy(i int) *model.NetworkPolicy {
	return &model.NetworkPolicy{
		Name: model.Name{Namespace: w.namespace(), Name: fmt.Sprint("policy", i)}, Pods: *w.selector(),
		Ingress: w.IntN(3) > 0, Egress: w.IntN(3) > 0, IngressRules: w.rules(), EgressRules: w.rules(),
	}
}

func (w *world) rules() []model.PolicyRule {
	var rules []model.PolicyRule
	for range w.IntN(3) {
		var r model.PolicyRule
		for range w.IntN(3) {
			r.Peers = append(r.Peers, w.peer())
		}
		for range w.IntN(3) {
			r.Ports = append(r.Ports, w.port())
		}
		rules = append(rules, r)
	}
	return rules
}

func (w *world) peer() model.PolicyPeer {
	switch w.IntN(8) {
	case 0, 1:
		return model.PolicyPeer{Pods: w.selector()}
	case 2, 3:
		return model.PolicyPeer{Namespaces: w.selector()}
	case 4:
		return model.PolicyPeer{Pods: w.selector(), Namespaces: w.selector()}
	case 5:
		return model.PolicyPeer{} // of a version that we do not know
	}
	b := &model.IPBlock{CIDR: w.prefix()}
	for range w.IntN(3) {
		b.Except = append(b.Except, w.prefix()) // also outside CIDR, which the API would refuse
	}
	return model.PolicyPeer{Block: b}
}

func (w *world) port() model.PolicyPort {
	p := model.PolicyPort{Protocol: w.protocol()}
	switch w.IntN(4) {
	case 0:
		p.Port.Str = w.pick("web", "dns")
	case 1:
		p.Port.Int = uint16(1 + w.IntN(5))
	case 2:
		p.Port.Int = uint16(1 + w.IntN(3))
		p.EndPort = p.Port.Int + uint16(w.IntN(3))
	}
	return p
}

func (w *world) selector() *model.Selector {
	s := &model.Selector{}
	if w.IntN(2) == 0 {
		s.MatchLabels = w.labels()
	}
	if w.IntN(3) == 0 {
		s.MatchExpressions = []model.Requirement{{
			Key: w.pick("a", "b"), Operator: w.pick("In", "NotIn", "Exists", "DoesNotExist"), Values: []string{w.pick("1", "2")},
		}}
	}
	return s
}

func (w *world) labels() map[string]string {
	labels := map[string]string{}
	for _, k := range []string{"a", "b"} {
		if w.IntN(2) == 0 {
			labels[k] = w.pick("1", "2")
		}
	}
	return labels
}

// addresses are all those that there are: 32 of each family.
func (w *world) addresses() []netip.Addr {
	var out []netip.Addr
	for i := range byte(32) {
		out = append(out, netip.AddrFrom4([4]byte{10, 0, 0, i}), netip.AddrFrom16([16]byte{0xfd, 15: i}))
	}
	return out
}

// prefix is a random one among addresses, not always masked.
func (w *world) prefix() netip.Prefix {
	a := w.addresses()[w.IntN(64)]
	bits := a.BitLen() - w.IntN(7)
	if w.IntN(10) == 0 {
		bits = 0
	}
	p := netip.PrefixFrom(a, bits)
	if w.IntN(2) == 0 {
		p = p.Masked()
	}
	return p
}

func (w *world) namespace() string { return fmt.Sprint("ns", w.IntN(3)) }
func (w *world) protocol() model.Protocol {
	return []model.Protocol{model.TCP, model.UDP, model.SCTP}[w.IntN(3)]
}
func (w *world) pick(of ...string) string { return of[w.IntN(len(of))] }
