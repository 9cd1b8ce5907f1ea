package bpf

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf"
)

// Kinds of numbers in the map names.
const (
	kindService uint32 = iota
	kindBackends
	kindPolicySet
	kindClass
)

// grace is how long something lives after its last user in the maps is gone,
// for programs that were running at that moment.
const grace = 2 * time.Second

// ids gives numbers to names of one kind. The map names holds what is given, so
// that a restart neither changes a number nor gives it twice.
type ids struct {
	names     *ebpf.Map
	kind      uint32
	byName    map[digest]uint32
	nameOf    map[uint32]digest
	refs      map[uint32]int
	condemned map[uint32]time.Time // id without users -> since when
	next      uint32
}

type digest [16]byte

func digestOf(parts ...any) digest {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%v\x00", p)
	}
	return digest(h.Sum(nil)[:16])
}

// restoreIDs reads what earlier processes gave.
func restoreIDs(names *ebpf.Map, kind uint32) (*ids, error) {
	s := &ids{names: names, kind: kind, next: 1, byName: map[digest]uint32{}, nameOf: map[uint32]digest{}, refs: map[uint32]int{}, condemned: map[uint32]time.Time{}}
	var k kernelNameKey
	var v kernelName
	it := names.Iterate()
	for it.Next(&k, &v) {
		if k.Kind == kind {
			s.byName[v.Digest] = k.Id
			s.nameOf[k.Id] = v.Digest
			s.next = max(s.next, k.Id+1)
		}
	}
	return s, it.Err()
}

// acquire returns the number of name, with one more user. fresh says that
// nothing of it can be in the maps yet.
func (s *ids) acquire(name digest) (id uint32, fresh bool, err error) {
	if id, ok := s.byName[name]; ok {
		s.refs[id]++
		delete(s.condemned, id)
		return id, false, nil
	}
	id = s.next
	if err := s.names.Put(&kernelNameKey{Kind: s.kind, Id: id}, &kernelName{Digest: name}); err != nil {
		return 0, false, fmt.Errorf("record name: %w", err)
	}
	s.next++
	s.byName[name], s.nameOf[id], s.refs[id] = id, name, 1
	return id, true, nil
}

// retain adds a user to a number found in a map.
func (s *ids) retain(id uint32) {
	s.refs[id]++
	delete(s.condemned, id)
}

// release takes one user away.
func (s *ids) release(id uint32) {
	if s.refs[id]--; s.refs[id] <= 0 {
		delete(s.refs, id)
		s.condemned[id] = time.Now()
	}
}

// condemnUnused marks what was restored and never acquired.
func (s *ids) condemnUnused() {
	for id := range s.nameOf {
		if _, dying := s.condemned[id]; !dying && s.refs[id] == 0 {
			s.condemned[id] = time.Now()
		}
	}
}

// bury removes what has had no user for the grace period; remove clears its
// traces in other maps.
func (s *ids) bury(remove func(id uint32) error) error {
	for id, since := range s.condemned {
		if time.Since(since) < grace {
			continue
		}
		if err := remove(id); err != nil {
			return err
		}
		if err := deleteKey(s.names, kernelNameKey{Kind: s.kind, Id: id}); err != nil {
			return err
		}
		delete(s.byName, s.nameOf[id])
		delete(s.nameOf, id)
		delete(s.condemned, id)
	}
	return nil
}

// deleteKey is Delete for a key that may be gone already.
func deleteKey(m *ebpf.Map, key any) error {
	if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete from map: %w", err)
	}
	return nil
}

// sortedIDs returns the keys of m in order, so that work is done in the same
// order each time.
func sortedIDs[V any](m map[uint32]V) []uint32 {
	out := make([]uint32, 0, len(m))
	for id := range m {
		out = append(out, id)
	}
	slices.SortFunc(out, cmp.Compare[uint32])
	return out
}
