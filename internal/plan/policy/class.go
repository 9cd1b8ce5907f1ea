package policy

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// class is one equivalence class of peers: those about which exactly atoms are true.
type class struct {
	name  string
	atoms []atom // sorted
}

// classes is the partition of all addresses.
type classes struct {
	prefixes []ClassPrefix
	having   map[atom][]*class // the classes that contain an atom
	byAtoms  map[string]*class
	numbers  map[portName][]uint16 // the numbers that a port name has on some pod, sorted
}

// classify finds the class of every block and of every pod that differs from
// the block around it.
func classify(snap *state.Snapshot, v *vocabulary) *classes {
	c := &classes{having: map[atom][]*class{}, byAtoms: map[string]*class{}, numbers: map[portName][]uint16{}}
	blocks := blockTable(v)
	pods := map[netip.Prefix][]atom{}
	for prefix, s := range podTable(snap, v, c) {
		around := blocks.lookup(prefix.Addr())
		if len(s.atoms) > 0 {
			pods[prefix] = union(around, s.atoms)
		}
	}
	for prefix, atoms := range blocks.atoms {
		if _, isPod := pods[prefix]; !isPod {
			c.prefixes = append(c.prefixes, ClassPrefix{prefix, c.intern(v, atoms).name})
		}
	}
	for prefix, atoms := range pods {
		c.prefixes = append(c.prefixes, ClassPrefix{prefix, c.intern(v, atoms).name})
	}
	slices.SortFunc(c.prefixes, func(a, b ClassPrefix) int { return a.Prefix.Compare(b.Prefix) })
	for _, numbers := range c.numbers {
		slices.Sort(numbers)
	}
	return c
}

// intern returns the class of atoms, which must be sorted.
func (c *classes) intern(v *vocabulary, atoms []atom) *class {
	var key []byte
	for _, a := range atoms {
		key = binary.AppendUvarint(key, uint64(a))
	}
	if k, ok := c.byAtoms[string(key)]; ok {
		return k
	}
	k := &class{atoms: atoms}
	if len(atoms) > 0 { // the class of nobody in particular is "", listed or not
		keys := make([]string, len(atoms))
		for i, a := range atoms {
			keys[i] = v.keys[a]
		}
		slices.Sort(keys)
		k.name = digest(keys)
	}
	c.byAtoms[string(key)] = k
	for _, a := range atoms {
		c.having[a] = append(c.having[a], k)
	}
	return k
}

// claim is what a pod says of its address.
type claim struct {
	atoms    []atom // sorted; without those of blocks
	deleting bool
	seen     bool
}

// podTable evaluates the selections and port names for every pod of the
// cluster, and notes in c the numbers of port names. Two pods may show the
// same address for a moment, when one is going and its address is already
// another's: the one that stays has it.
func podTable(snap *state.Snapshot, v *vocabulary, c *classes) map[netip.Prefix]claim {
	claims := map[netip.Prefix]claim{}
	if len(v.selections) == 0 && len(v.portNames) == 0 {
		return claims
	}
	selections := selectionsByNamespace(snap, v)
	for _, pod := range snap.Pods.All() {
		if !HasNetwork(pod) || len(pod.IPs) == 0 {
			continue
		}
		atoms := podAtoms(pod, v, selections(pod.Namespace), c)
		for _, ip := range pod.IPs {
			ip = ip.Unmap()
			prefix := netip.PrefixFrom(ip, ip.BitLen())
			if old := claims[prefix]; !old.seen || old.deleting && !pod.Deleting {
				claims[prefix] = claim{atoms, pod.Deleting, true}
			}
		}
	}
	return claims
}

func podAtoms(pod *model.Pod, v *vocabulary, selections []*selection, c *classes) []atom {
	var atoms []atom
	for _, s := range selections {
		if s.pods == nil || s.pods.Matches(pod.Labels) {
			atoms = append(atoms, s.atom)
		}
	}
	if len(v.portNames) > 0 {
		for i := range pod.Ports {
			name := portName{pod.Ports[i].Protocol, pod.Ports[i].Name}
			if !v.portNames[name] || resolve(pod, name) != pod.Ports[i].Port {
				continue
			}
			number := pod.Ports[i].Port
			if !slices.Contains(c.numbers[name], number) {
				c.numbers[name] = append(c.numbers[name], number)
			}
			atoms = append(atoms, v.internPort(name, number))
		}
	}
	slices.Sort(atoms)
	return slices.Compact(atoms)
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

// selectionsByNamespace returns a function from a namespace to the selections
// that can match its pods, so that namespace labels are looked at once per
// namespace. A namespace that is not known matches no namespaceSelector.
func selectionsByNamespace(snap *state.Snapshot, v *vocabulary) func(string) []*selection {
	known := map[string][]*selection{}
	return func(name string) []*selection {
		out, ok := known[name]
		if ok {
			return out
		}
		ns := snap.Namespace(name)
		for _, s := range v.selections {
			if s.namespaces == nil && s.namespace == name || s.namespaces != nil && ns != nil && s.namespaces.Matches(ns.Labels) {
				out = append(out, s)
			}
		}
		known[name] = out
		return out
	}
}

// union merges two sorted lists without common elements.
func union(a, b []atom) []atom {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return out
}
