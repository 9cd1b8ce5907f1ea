package bpf

import (
	"context"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/service"
)

// services is the applier of Service plans: mirrors of the maps, and who wants
// what in them.
type services struct {
	maps *kernelMaps
	ids  *ids // of service ports
	sets *ids // of backend sets, named by their content

	frontends map[kernelFrontendKey]kernelFrontend        // mirror
	members   map[uint32]map[kernelMemberKey]kernelMember // mirror, by service port
	ranges    map[uint32]map[kernelRangeKey]uint32        // mirror, by service port
	sizes     map[uint32]uint32                           // backend set -> slots in the map
	complete  map[uint32]bool                             // backend sets written by this process
	claims    map[kernelFrontendKey]map[service.Key]kernelFrontend
	applied   map[service.Key]*appliedService
	orphaned  map[kernelAddr]bool // endpoints of UDP ports that have gone while others are there
}

// appliedService is what one key holds on to.
type appliedService struct {
	frontends []kernelFrontendKey
	ports     []uint32 // ids
	sets      []uint32 // ids, with repetitions
}

func restoreServices(m *kernelMaps) (*services, error) {
	s := &services{
		maps: m, frontends: map[kernelFrontendKey]kernelFrontend{}, members: map[uint32]map[kernelMemberKey]kernelMember{},
		ranges: map[uint32]map[kernelRangeKey]uint32{}, sizes: map[uint32]uint32{}, complete: map[uint32]bool{},
		claims: map[kernelFrontendKey]map[service.Key]kernelFrontend{}, applied: map[service.Key]*appliedService{}, orphaned: map[kernelAddr]bool{},
	}
	var err error
	if s.ids, err = restoreIDs(m.Names, kindService); err != nil {
		return nil, err
	}
	if s.sets, err = restoreIDs(m.Names, kindBackends); err != nil {
		return nil, err
	}
	if err := each(m.Frontends, func(k kernelFrontendKey, v kernelFrontend) { s.frontends[k] = v }); err != nil {
		return nil, err
	}
	if err := each(m.Members, func(k kernelMemberKey, v kernelMember) { put(s.members, k.Service, k, v) }); err != nil {
		return nil, err
	}
	if err := each(m.Ranges, func(k kernelRangeKey, v uint32) { put(s.ranges, k.Service, k, v) }); err != nil {
		return nil, err
	}
	err = each(m.Slots, func(k kernelSlotKey, _ kernelBackend) { s.sizes[k.Set] = max(s.sizes[k.Set], k.Index+1) })
	return s, err
}

// each calls f for all entries of m.
func each[K, V any](m *ebpf.Map, f func(K, V)) error {
	var k K
	var v V
	it := m.Iterate()
	for it.Next(&k, &v) {
		f(k, v)
	}
	return it.Err()
}

// eachBatch is each for large maps: the kernel hands out many entries at once.
func eachBatch[K, V any](m *ebpf.Map, f func(K, V)) error {
	keys, values := make([]K, 1024), make([]V, 1024)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			f(keys[i], values[i])
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func put[K comparable, V any](m map[uint32]map[K]V, id uint32, k K, v V) {
	if m[id] == nil {
		m[id] = map[K]V{}
	}
	m[id][k] = v
}

// ApplyServices makes the datapath answer exactly what plans say, for the keys
// of plans; other keys are not touched. A plan without ports removes its key.
// After an error the caller applies the same plans again.
func (d *Datapath) ApplyServices(ctx context.Context, plans []service.Plan) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for i := range plans {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if err := d.services.apply(&plans[i]); err != nil { // one bad key does not hold up the others
			errs = append(errs, fmt.Errorf("apply %v: %w", plans[i].Key, err))
		}
	}
	d.reaper.want(d.services.orphaned)
	clear(d.services.orphaned)
	return errors.Join(errs...)
}

// apply goes from the backends to the frontends and removes in reverse, so that
// whatever a frontend points at is there.
func (s *services) apply(plan *service.Plan) error {
	old := s.applied[plan.Key]
	if old == nil {
		old = &appliedService{}
	}
	next := &appliedService{}
	for i := range plan.Ports {
		if err := s.addPort(plan.Key, &plan.Ports[i], next); err != nil {
			return err // numbers taken so far are leaked rather than taken from what may be installed
		}
	}
	gone := map[kernelFrontendKey]bool{}
	for _, k := range old.frontends {
		gone[k] = true
	}
	for _, k := range next.frontends {
		delete(gone, k)
	}
	for k := range gone {
		if err := s.unclaim(k, plan.Key); err != nil {
			return err
		}
	}
	for i, id := range next.ports {
		if err := s.trimPort(id, &plan.Ports[i]); err != nil {
			return err
		}
	}
	s.drop(old)
	if len(next.ports) == 0 {
		delete(s.applied, plan.Key)
	} else {
		s.applied[plan.Key] = next
	}
	return nil
}

// drop releases the numbers of a; what they stand for is buried by Sweep.
func (s *services) drop(a *appliedService) {
	for _, id := range a.ports {
		s.ids.release(id)
	}
	for _, id := range a.sets {
		s.sets.release(id)
	}
}

// addPort adds and updates what p needs, and notes in a what it took.
func (s *services) addPort(key service.Key, p *service.Port, a *appliedService) error {
	id, _, err := s.ids.acquire(digestOf(key, p.Family, p.Name, p.Protocol))
	if err != nil {
		return err
	}
	a.ports = append(a.ports, id)
	setIDs := make([]uint32, len(p.Sets))
	for i := range p.Sets {
		if len(p.Sets[i].Backends) == 0 {
			continue
		}
		if setIDs[i], err = s.addSet(&p.Sets[i]); err != nil {
			return err
		}
		a.sets = append(a.sets, setIDs[i])
	}
	for k, v := range membersOf(id, p) {
		if have, ok := s.members[id][k]; ok && have == v {
			continue
		}
		if err := s.maps.Members.Put(&k, &v); err != nil {
			return fmt.Errorf("write endpoint: %w", err)
		}
		put(s.members, id, k, v)
	}
	for k := range rangesOf(id, p) {
		if _, ok := s.ranges[id][k]; ok {
			continue
		}
		if err := s.maps.Ranges.Put(k, uint32(1)); err != nil {
			return fmt.Errorf("write source range: %w", err)
		}
		put(s.ranges, id, k, 1)
	}
	for k, v := range frontendsOf(id, p, setIDs) {
		a.frontends = append(a.frontends, k)
		if err := s.claim(k, key, v); err != nil {
			return err
		}
	}
	return nil
}

// trimPort removes members and ranges that p has no longer.
func (s *services) trimPort(id uint32, p *service.Port) error {
	if want := membersOf(id, p); len(s.members[id]) > len(want) {
		for k := range s.members[id] {
			if _, ok := want[k]; ok {
				continue
			}
			if err := deleteKey(s.maps.Members, k); err != nil {
				return err
			}
			delete(s.members[id], k)
			if p.Protocol == model.UDP && len(want) > 0 {
				s.orphaned[k.Addr] = true
			}
		}
	}
	if want := rangesOf(id, p); len(s.ranges[id]) > len(want) {
		for k := range s.ranges[id] {
			if _, ok := want[k]; ok {
				continue
			}
			if err := deleteKey(s.maps.Ranges, k); err != nil {
				return err
			}
			delete(s.ranges[id], k)
		}
	}
	return nil
}

// addSet writes a set of backends unless it is there. Sets are named by their
// content: what is under a number never changes.
func (s *services) addSet(set *service.Set) (uint32, error) {
	id, _, err := s.sets.acquire(digestOf(set.Backends))
	if err != nil {
		return 0, err
	}
	// A process that died half way may have left a name without all its slots.
	if s.complete[id] {
		return id, nil
	}
	keys := make([]kernelSlotKey, len(set.Backends))
	values := make([]kernelBackend, len(set.Backends))
	for i, b := range set.Backends {
		keys[i] = kernelSlotKey{Set: id, Index: uint32(i)}
		values[i] = backendOf(b.Addr, b.Local)
	}
	if _, err := s.maps.Slots.BatchUpdate(keys, values, nil); err != nil {
		s.sets.release(id)
		return 0, fmt.Errorf("write %d backends: %w", len(keys), err)
	}
	s.sizes[id], s.complete[id] = uint32(len(keys)), true
	return id, nil
}

// PruneServices removes what no ApplyServices since Open has mentioned. Call it
// once, after the first complete ApplyServices with synced sources.
func (d *Datapath) PruneServices(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.services
	for k := range s.frontends {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(s.claims[k]) == 0 {
			if err := s.settle(k); err != nil {
				return err
			}
		}
	}
	s.ids.condemnUnused()
	s.sets.condemnUnused()
	return d.removeOldLayouts()
}

// bury removes what nothing points at any more.
func (s *services) bury() error {
	err := s.ids.bury(func(id uint32) error {
		for k := range s.members[id] {
			if err := deleteKey(s.maps.Members, k); err != nil {
				return err
			}
		}
		for k := range s.ranges[id] {
			if err := deleteKey(s.maps.Ranges, k); err != nil {
				return err
			}
		}
		delete(s.members, id)
		delete(s.ranges, id)
		return nil
	})
	if err != nil {
		return err
	}
	return s.sets.bury(func(id uint32) error {
		for i := range s.sizes[id] {
			if err := deleteKey(s.maps.Slots, kernelSlotKey{Set: id, Index: i}); err != nil {
				return err
			}
		}
		delete(s.sizes, id)
		delete(s.complete, id)
		return nil
	})
}
