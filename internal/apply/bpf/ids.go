package bpf

import (
	"crypto/sha256"
	"fmt"
	"time"
)

// Kinds of numbers in the map names.
const (
	kindService uint32 = iota
	kindBackends
	kindPolicySet
	kindClass
	numKinds
)

// grace is how long something lives after its last user in the maps is gone,
// for programs that were running at that moment.
const grace = 2 * time.Second

// ids gives numbers to names of one kind. The map names holds what is given, so
// that a restart neither changes a number nor gives it twice.
type ids struct {
	names     *table[kernelNameKey, kernelName]
	kind      uint32
	byName    map[digest]uint32
	given     map[uint32]name
	condemned map[uint32]time.Time // id without users -> since when
	next      uint32
}

// name is what a number stands for.
type name struct {
	digest   digest
	users    int32
	recorded bool // in the map names
}

// digest is a name cut to a fixed length.
type digest [16]byte

func digestOf(parts ...any) digest {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%v\x00", p)
	}
	return digest(h.Sum(nil)[:16])
}

// restoreIDs reads what earlier processes gave, by kind.
func restoreIDs(names *table[kernelNameKey, kernelName]) ([numKinds]*ids, error) {
	var all [numKinds]*ids
	for kind := range all {
		all[kind] = &ids{names: names, kind: uint32(kind), next: 1, byName: map[digest]uint32{}, given: map[uint32]name{}, condemned: map[uint32]time.Time{}}
	}
	err := eachBatch(names.m, func(k kernelNameKey, v kernelName) {
		if k.Kind < numKinds {
			s := all[k.Kind]
			s.byName[v.Digest] = k.Id
			s.given[k.Id] = name{digest: v.Digest, recorded: true}
			s.next = max(s.next, k.Id+1)
		}
	})
	return all, err
}

// take returns the number of a name, with one more user. If it is not recorded
// yet, the caller must write entry(id) and call record, before anything of the
// number gets into a map.
func (s *ids) take(of digest) (id uint32, recorded bool) {
	id, ok := s.byName[of]
	if !ok {
		id = s.next
		s.next++
		s.byName[of] = id
		s.given[id] = name{digest: of, users: 1}
		return id, false
	}
	s.retain(id)
	return id, s.given[id].recorded
}

// entry is what the map names is to say of a number.
func (s *ids) entry(id uint32) (kernelNameKey, kernelName) {
	return kernelNameKey{Kind: s.kind, Id: id}, kernelName{Digest: s.given[id].digest}
}

func (s *ids) record(id uint32) {
	n := s.given[id]
	n.recorded = true
	s.given[id] = n
}

// acquire is take for single names: it records them at once.
func (s *ids) acquire(of digest) (uint32, error) {
	id, recorded := s.take(of)
	if recorded {
		return id, nil
	}
	k, v := s.entry(id)
	if err := s.names.putOne(k, v); err != nil {
		s.release(id)
		return 0, fmt.Errorf("record name: %w", err)
	}
	s.record(id)
	return id, nil
}

// retain adds a user to a number, which may be one found in a map.
func (s *ids) retain(id uint32) {
	n := s.given[id]
	n.users++
	s.given[id] = n
	delete(s.condemned, id)
}

// release takes one user away.
func (s *ids) release(id uint32) {
	n := s.given[id]
	if n.users--; n.users <= 0 {
		n.users = 0
		s.condemned[id] = time.Now()
	}
	s.given[id] = n
}

// condemnUnused marks what was restored and never acquired.
func (s *ids) condemnUnused() {
	for id, n := range s.given {
		if _, dying := s.condemned[id]; !dying && n.users == 0 {
			s.condemned[id] = time.Now()
		}
	}
}

// expired returns up to limit numbers that have had no user for the grace period.
func (s *ids) expired(limit int) []uint32 {
	var out []uint32
	for id, since := range s.condemned {
		if len(out) == limit {
			break
		}
		if time.Since(since) >= grace {
			out = append(out, id)
		}
	}
	return out
}

// forget frees numbers whose traces in other maps are gone.
func (s *ids) forget(gone []uint32) error {
	var names batch[kernelNameKey, kernelName]
	for _, id := range gone {
		names.remove(id, kernelNameKey{Kind: s.kind, Id: id})
	}
	failed := names.flush(s.names, new(changes))
	for _, id := range gone {
		if failed[id] == nil {
			delete(s.byName, s.given[id].digest)
			delete(s.given, id)
			delete(s.condemned, id)
		}
	}
	return joinFew(failed)
}
