package bpf

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/fairway-net/fairway/internal/plan/service"
)

// claim records that key wants v at k. Several may want the same address and
// port, if somebody gave the same external IP twice; the first by name has it.
func (s *services) claim(k kernelFrontendKey, key service.Key, v kernelFrontend) error {
	if s.claims[k] == nil {
		s.claims[k] = map[service.Key]kernelFrontend{}
	}
	s.claims[k][key] = v
	return s.settle(k)
}

func (s *services) unclaim(k kernelFrontendKey, key service.Key) error {
	delete(s.claims[k], key)
	if len(s.claims[k]) == 0 {
		delete(s.claims, k)
	}
	return s.settle(k)
}

// settle writes the entry at k as its claims want it.
func (s *services) settle(k kernelFrontendKey) error {
	have, present := s.frontends[k]
	if len(s.claims[k]) == 0 {
		if err := deleteKey(s.maps.Frontends, k); err != nil {
			return err
		}
		delete(s.frontends, k)
		return nil
	}
	first := slices.MinFunc(slices.Collect(maps.Keys(s.claims[k])), func(a, b service.Key) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), a.Name.Compare(b.Name))
	})
	want := s.claims[k][first]
	if present && have == want {
		return nil
	}
	if err := s.maps.Frontends.Put(&k, &want); err != nil {
		return fmt.Errorf("write frontend: %w", err)
	}
	s.frontends[k] = want
	return nil
}
