package policy

import (
	"net/netip"
	"slices"
)

// blocks maps every prefix that a CIDR or an exception of the vocabulary
// names to the atoms of the blocks that contain it.
type blocks struct {
	atoms   map[netip.Prefix][]atom // sorted atoms
	lengths map[int][]int           // bit length of the family -> prefix lengths in use, longest first
}

func blockTable(v *vocabulary) *blocks {
	t := &blocks{atoms: map[netip.Prefix][]atom{}, lengths: map[int][]int{}}
	used := map[[2]int]bool{}
	for _, b := range v.blocks {
		for _, p := range append([]netip.Prefix{b.cidr}, b.except...) {
			t.atoms[p] = nil
			used[[2]int{p.Addr().BitLen(), p.Bits()}] = true
		}
	}
	for p := range t.atoms {
		for _, b := range v.blocks {
			if b.contains(p) {
				t.atoms[p] = append(t.atoms[p], b.atom)
			}
		}
		slices.Sort(t.atoms[p])
	}
	for use := range used {
		t.lengths[use[0]] = append(t.lengths[use[0]], use[1])
	}
	for _, l := range t.lengths {
		slices.Sort(l)
		slices.Reverse(l)
	}
	return t
}

// lookup returns the atoms of the longest prefix that contains a.
func (t *blocks) lookup(a netip.Addr) []atom {
	for _, bits := range t.lengths[a.BitLen()] {
		p, _ := a.Prefix(bits)
		if atoms, ok := t.atoms[p]; ok {
			return atoms
		}
	}
	return nil
}
