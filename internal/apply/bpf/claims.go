package bpf

import (
	"cmp"
	"slices"
)

// frontend is a key of the map frontends and whose it is.
type frontend struct {
	value   kernelFrontend // what its owner wants it to be
	written bool           // and what the map has
	owner   *applied       // nil: left by an earlier process, and not asked for yet
}

// claim is one of several that want the same address and port: somebody gave
// the same external IP twice. The first by name has it.
type claim struct {
	by    *applied
	value kernelFrontend
}

func compareClaims(a, b claim) int {
	return cmp.Or(cmp.Compare(a.by.key.Kind, b.by.key.Kind), a.by.key.Name.Compare(b.by.key.Name))
}

// claim records that a wants v at k, on behalf of plan i.
func (s *services) claim(i uint32, k kernelFrontendKey, a *applied, v kernelFrontend) {
	f, rivals := s.frontends[k], s.rivals[k]
	if rivals == nil && (f.owner == nil || f.owner == a) {
		s.want(i, k, claim{a, v})
		return
	}
	if rivals == nil {
		rivals = []claim{{f.owner, f.value}}
	}
	mine := claim{a, v}
	if at, has := slices.BinarySearchFunc(rivals, mine, compareClaims); has {
		rivals[at] = mine
	} else {
		rivals = slices.Insert(rivals, at, mine)
	}
	s.rivals[k] = rivals
	s.want(i, k, rivals[0])
}

// unclaim records that a does not want k any more.
func (s *services) unclaim(i uint32, k kernelFrontendKey, a *applied) {
	rivals := s.rivals[k]
	if rivals == nil {
		if f := s.frontends[k]; f.owner == a {
			s.round.frontends.remove(i, k)
		}
		return
	}
	if at, has := slices.BinarySearchFunc(rivals, claim{by: a}, compareClaims); has {
		rivals = slices.Delete(rivals, at, at+1)
	}
	if s.rivals[k] = rivals; len(rivals) == 1 {
		delete(s.rivals, k)
	}
	s.want(i, k, rivals[0])
}

// want stages k unless the map has it.
func (s *services) want(i uint32, k kernelFrontendKey, c claim) {
	f := s.frontends[k]
	same := f.written && f.value == c.value
	if same && f.owner == c.by {
		return
	}
	s.frontends[k] = frontend{value: c.value, written: same, owner: c.by}
	if !same {
		s.round.frontends.put(i, k, c.value)
	}
}
