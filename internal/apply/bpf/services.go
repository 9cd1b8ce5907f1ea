package bpf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/fairway-net/fairway/internal/plan/service"
)

// services is the applier of Service plans: what is in the maps, and who wants
// it. A node may have 40,000 Services, so it holds no more of them than it
// takes to change one without reading a map.
type services struct {
	mu    sync.Mutex
	maps  *tables
	ports *ids // of service ports
	sets  *ids // of backend sets, named by their content

	frontends map[kernelFrontendKey]frontend
	rivals    map[kernelFrontendKey][]claim // where several want the same one: all of them, by name
	members   map[uint32][]member           // in the map, by service port; sorted
	ranges    map[uint32][]kernelRangeKey   // likewise
	doubts    map[uint32]bool               // service ports whose last change failed: any of the two may lack
	slots     map[uint32]slots              // by backend set
	applied   map[service.Key]*applied

	orphaned map[kernelAddr]bool // endpoints of UDP ports that have gone while others are there
	round    round
	changes  changes // that rounds have made
}

// slots is what the map slots has of a backend set.
type slots struct {
	n        uint32
	complete bool // written by this process
}

// applied is what one key holds on to.
type applied struct {
	key       service.Key
	frontends []kernelFrontendKey // sorted
	ports     []uint32            // numbers
	sets      []uint32            // numbers, with repetitions
}

func restoreServices(m *tables, ports, sets *ids) (*services, error) {
	s := &services{
		maps: m, ports: ports, sets: sets,
		frontends: map[kernelFrontendKey]frontend{}, rivals: map[kernelFrontendKey][]claim{},
		members: map[uint32][]member{}, ranges: map[uint32][]kernelRangeKey{}, doubts: map[uint32]bool{}, slots: map[uint32]slots{},
		applied: map[service.Key]*applied{}, orphaned: map[kernelAddr]bool{},
	}
	s.round.init(s)
	if err := eachBatch(m.frontends.m, func(k kernelFrontendKey, v kernelFrontend) { s.frontends[k] = frontend{value: v, written: true} }); err != nil {
		return nil, err
	}
	err := eachBatch(m.members.m, func(k kernelMemberKey, v kernelMember) {
		s.members[k.Service] = append(s.members[k.Service], member{k.Addr, k.Port, v.Sets})
	})
	if err != nil {
		return nil, err
	}
	for id := range s.members {
		slices.SortFunc(s.members[id], member.compare)
	}
	if err := each(m.ranges.m, func(k kernelRangeKey, _ uint32) { s.ranges[k.Service] = append(s.ranges[k.Service], k) }); err != nil {
		return nil, err
	}
	return s, eachBatch(m.slots.m, func(k kernelSlotKey, _ kernelBackend) {
		s.slots[k.Set] = slots{n: max(s.slots[k.Set].n, k.Index+1)}
	})
}

// roundSize is how many plans go into the maps together: enough to make system
// calls cheap, few enough that a change need not wait for a whole cluster.
const roundSize = 512

// ApplyServices makes the datapath answer exactly what plans say, for the keys
// of plans; other keys are not touched. A plan without ports removes its key.
// Plans that fail, because a map is full say, are in an *ApplyError, and all
// others are applied; the caller applies them again. What a failed key had, it
// keeps.
func (d *Datapath) ApplyServices(ctx context.Context, plans []service.Plan) error {
	s := d.services
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed []Failed
	for some := range slices.Chunk(plans, roundSize) {
		if err := ctx.Err(); err != nil {
			return err
		}
		failed = append(failed, s.round.apply(some)...)
	}
	d.reaper.wantSoon(s.orphaned)
	clear(s.orphaned)
	if len(failed) > 0 {
		return &ApplyError{failed}
	}
	return nil
}

// Failed is a plan that could not be applied.
type Failed struct {
	Key service.Key
	Err error
}

// ApplyError says which plans failed, where all others were applied.
type ApplyError struct{ Failed []Failed }

func (e *ApplyError) Error() string { return few(e.Unwrap()).Error() }

// Unwrap returns the errors, each with its key.
func (e *ApplyError) Unwrap() []error {
	errs := make([]error, len(e.Failed))
	for i, f := range e.Failed {
		errs[i] = fmt.Errorf("apply %v: %w", f.Key, f.Err)
	}
	return errs
}

// ServiceChanges is how many entries of maps ApplyServices has written and
// deleted since Open.
func (d *Datapath) ServiceChanges() (writes, deletes int64) {
	c := &d.services.changes
	return c.writes.Load(), c.deletes.Load()
}

// drop releases numbers; what they stand for is buried by Sweep.
func (s *services) drop(ports, sets []uint32) {
	for _, id := range ports {
		s.ports.release(id)
	}
	for _, id := range sets {
		s.sets.release(id)
	}
}

// PruneServices removes what no ApplyServices since Open has mentioned. Call it
// once, after the first complete ApplyServices with synced sources.
func (d *Datapath) PruneServices(ctx context.Context) error {
	return d.services.prune(ctx)
}

func (s *services) prune(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var stale batch[kernelFrontendKey, kernelFrontend]
	for k, f := range s.frontends {
		if f.owner == nil {
			stale.remove(0, k)
		}
	}
	gone := slices.Clone(stale.removals)
	if err := errors.Join(ctx.Err(), joinFew(stale.flush(&s.maps.frontends, new(changes)))); err != nil {
		return err
	}
	for _, k := range gone {
		delete(s.frontends, k)
	}
	s.ports.condemnUnused()
	s.sets.condemnUnused()
	return nil
}

// bury removes what nothing points at any more, a part at a time so that nobody
// waits long for the lock.
func (s *services) bury() error {
	for {
		n, err := s.buryPart()
		if n == 0 || err != nil {
			return err
		}
	}
}

func (s *services) buryPart() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ports, sets := s.ports.expired(roundSize), s.sets.expired(roundSize)
	var members batch[kernelMemberKey, kernelMember]
	var ranges batch[kernelRangeKey, uint32]
	for _, id := range ports {
		for _, m := range s.members[id] {
			members.remove(id, m.key(id))
		}
		for _, k := range s.ranges[id] {
			ranges.remove(id, k)
		}
	}
	var backends batch[kernelSlotKey, kernelBackend]
	for _, id := range sets {
		for i := range s.slots[id].n {
			backends.remove(id, kernelSlotKey{Set: id, Index: i})
		}
	}
	n := new(changes)
	if err := errors.Join(joinFew(members.flush(&s.maps.members, n)), joinFew(ranges.flush(&s.maps.ranges, n)), joinFew(backends.flush(&s.maps.slots, n))); err != nil {
		return 0, err // all of it is tried again
	}
	for _, id := range ports {
		delete(s.members, id)
		delete(s.ranges, id)
		delete(s.doubts, id)
	}
	for _, id := range sets {
		delete(s.slots, id)
	}
	return len(ports) + len(sets), errors.Join(s.ports.forget(ports), s.sets.forget(sets))
}

// joinFew is few for errors by owner.
func joinFew(failed map[uint32]error) error {
	var errs []error
	for _, id := range sortedIDs(failed) {
		errs = append(errs, failed[id])
	}
	return few(errs)
}

// few joins errors, but only the first of very many: a full map fails every
// Service of a cluster.
func few(errs []error) error {
	const some = 3
	if len(errs) <= some+1 {
		return errors.Join(errs...)
	}
	return errors.Join(append(slices.Clone(errs[:some]), fmt.Errorf("and %d more like these", len(errs)-some))...)
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
