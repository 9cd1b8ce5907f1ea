package policy

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// podTable holds what the selections and port names of a vocabulary say about
// every pod of the cluster, by address.
type podTable struct {
	atoms   map[netip.Prefix][]atom // of the pod that has the address; only where there are any; sorted
	claims  map[netip.Prefix][]claim
	pods    map[string]podFacts // by key of the pod
	numbers map[portName]map[uint16]int
	asked   map[string][]*selection // namespace -> the selections that can match its pods
}

// claim is a pod that shows an address. Two may show the same one for a
// moment, when one is going and its address is already another's.
type claim struct {
	pod      string
	deleting bool
	atoms    []atom
}

// podFacts is what the table holds of one pod.
type podFacts struct {
	prefixes []netip.Prefix
	ports    []portNumber
}

type portNumber struct {
	name   portName
	number uint16
}

func newPodTable() *podTable {
	return &podTable{atoms: map[netip.Prefix][]atom{}, claims: map[netip.Prefix][]claim{}, pods: map[string]podFacts{},
		numbers: map[portName]map[uint16]int{}, asked: map[string][]*selection{}}
}

// fill asks about all pods. A vocabulary without questions needs no answers.
func (t *podTable) fill(snap *state.Snapshot, v *vocabulary) {
	if len(v.selections) == 0 && len(v.portNames) == 0 {
		return
	}
	for key, pod := range snap.Pods.All() {
		t.set(snap, v, key, pod)
	}
}

// update asks again about the pods that changes touch.
func (t *podTable) update(snap *state.Snapshot, v *vocabulary, changes state.Changes) {
	if len(v.selections) == 0 && len(v.portNames) == 0 {
		return
	}
	for ch := range changes.Keys {
		if ch.Kind == model.KindNamespace {
			delete(t.asked, ch.Key)
		}
	}
	for ch := range changes.Keys {
		switch ch.Kind {
		case model.KindPod:
			pod, _ := snap.Pods.Get(ch.Key)
			t.set(snap, v, ch.Key, pod)
		case model.KindNamespace:
			for key, pod := range snap.Pods.Prefix(ch.Key + "/") {
				t.set(snap, v, key, pod)
			}
		}
	}
}

// set makes the table say of the pod under key what is true of it now; nil: it is gone.
func (t *podTable) set(snap *state.Snapshot, v *vocabulary, key string, pod *model.Pod) {
	t.remove(key)
	if pod == nil || !HasNetwork(pod) || len(pod.IPs) == 0 {
		return
	}
	var facts podFacts
	var atoms []atom
	for _, s := range t.selections(snap, v, pod.Namespace) {
		if s.pods == nil || s.pods.Matches(pod.Labels) {
			atoms = append(atoms, s.atom)
		}
	}
	for name := range v.portNames {
		if n := resolve(pod, name); n != 0 {
			atoms = append(atoms, v.portAtom(name, n))
			facts.ports = append(facts.ports, portNumber{name, n})
			t.count(name, n, 1)
		}
	}
	slices.Sort(atoms)
	for _, ip := range pod.IPs {
		prefix := netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen())
		facts.prefixes = append(facts.prefixes, prefix)
		t.claims[prefix] = append(t.claims[prefix], claim{key, pod.Deleting, atoms})
		t.settle(prefix)
	}
	t.pods[key] = facts
}

func (t *podTable) remove(key string) {
	facts, ok := t.pods[key]
	if !ok {
		return
	}
	delete(t.pods, key)
	for _, p := range facts.ports {
		t.count(p.name, p.number, -1)
	}
	for _, prefix := range facts.prefixes {
		t.claims[prefix] = slices.DeleteFunc(t.claims[prefix], func(c claim) bool { return c.pod == key })
		t.settle(prefix)
	}
}

// settle decides whose address prefix is: that of the pod that stays, and of
// several the first by name.
func (t *podTable) settle(prefix netip.Prefix) {
	var best *claim
	for i := range t.claims[prefix] {
		c := &t.claims[prefix][i]
		if best == nil || best.deleting && !c.deleting || best.deleting == c.deleting && c.pod < best.pod {
			best = c
		}
	}
	if best == nil {
		delete(t.claims, prefix)
	}
	if best == nil || len(best.atoms) == 0 {
		delete(t.atoms, prefix)
		return
	}
	t.atoms[prefix] = best.atoms
}

func (t *podTable) count(name portName, number uint16, by int) {
	m := t.numbers[name]
	if m == nil {
		m = map[uint16]int{}
		t.numbers[name] = m
	}
	if m[number] += by; m[number] == 0 {
		delete(m, number)
	}
}

// sortedNumbers returns the numbers that each port name has on some pod.
func (t *podTable) sortedNumbers() map[portName][]uint16 {
	out := map[portName][]uint16{}
	for name, m := range t.numbers {
		out[name] = slices.Sorted(maps.Keys(m))
	}
	return out
}

// selections returns those that can match the pods of a namespace, so that
// namespace labels are looked at once per namespace. A namespace that is not
// known matches no namespaceSelector.
func (t *podTable) selections(snap *state.Snapshot, v *vocabulary, namespace string) []*selection {
	out, ok := t.asked[namespace]
	if ok {
		return out
	}
	ns := snap.Namespace(namespace)
	for _, s := range v.selections {
		if s.namespaces == nil && s.namespace == namespace || s.namespaces != nil && ns != nil && s.namespaces.Matches(ns.Labels) {
			out = append(out, s)
		}
	}
	t.asked[namespace] = out
	return out
}

// resolve returns the number of a named port of pod, 0 if there is none. The
// first container that declares the name decides, as for a Service's targetPort.
func resolve(pod *model.Pod, n portName) uint16 {
	for i := range pod.Ports {
		if pod.Ports[i].Name == n.name && pod.Ports[i].Protocol == n.protocol {
			return pod.Ports[i].Port
		}
	}
	return 0
}
