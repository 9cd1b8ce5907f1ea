package policy

import (
	"encoding/binary"
	"slices"
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
func classify(pods *podTable, v *vocabulary) *classes {
	c := &classes{having: map[atom][]*class{}, byAtoms: map[string]*class{}, numbers: pods.sortedNumbers()}
	blocks := blockTable(v)
	for prefix, atoms := range blocks.atoms {
		if _, isPod := pods.atoms[prefix]; !isPod {
			c.prefixes = append(c.prefixes, ClassPrefix{prefix, c.intern(v, atoms).name})
		}
	}
	for prefix, atoms := range pods.atoms {
		c.prefixes = append(c.prefixes, ClassPrefix{prefix, c.intern(v, union(blocks.lookup(prefix.Addr()), atoms)).name})
	}
	slices.SortFunc(c.prefixes, func(a, b ClassPrefix) int { return a.Prefix.Compare(b.Prefix) })
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

// union merges two sorted lists without common elements.
func union(a, b []atom) []atom {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return out
}
