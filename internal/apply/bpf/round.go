package bpf

import (
	"slices"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/service"
)

// round is one pass over some plans, whose changes go into the maps together.
// It goes from the backends to the frontends and removes in reverse, so that
// whatever a frontend points at is there. A plan that fails stays out of the
// later steps; it holds on to all that it had and has got, until it is applied
// again and succeeds.
type round struct {
	s      *services
	plans  []service.Plan
	next   []*applied // what each plan is to hold
	failed []error    // by plan

	setIDs  []uint32         // of all sets of all ports of all plans in turn
	members [][]member       // of all ports in turn
	written map[uint32]slots // backend sets of this round

	// The owner of a change is the plan's index, but for slots: the set's number,
	// and names: the index in named.
	names     batch[kernelNameKey, kernelName]
	named     []named
	slots     batch[kernelSlotKey, kernelBackend]
	memberMap batch[kernelMemberKey, kernelMember]
	rangeMap  batch[kernelRangeKey, uint32]
	frontends batch[kernelFrontendKey, kernelFrontend]
}

// named is a number whose name is to be recorded.
type named struct {
	ids *ids
	id  uint32
}

func (r *round) init(s *services) {
	r.s, r.written = s, map[uint32]slots{}
}

// apply returns the plans that failed.
func (r *round) apply(plans []service.Plan) []Failed {
	r.plans = plans
	r.next, r.failed = make([]*applied, len(plans)), make([]error, len(plans))
	r.setIDs, r.members = r.setIDs[:0], r.members[:0]
	for i := range plans {
		r.next[i] = &applied{key: plans[i].Key}
		for j := range plans[i].Ports {
			r.addPort(uint32(i), &plans[i].Ports[j])
		}
	}
	r.flushBackends()
	r.claim()
	r.flushFrontends()
	r.release()
	r.flushFrontends()
	r.trim()
	return r.settle()
}

// fail notes the plans of failed changes.
func (r *round) fail(failed map[uint32]error) {
	for i, err := range failed {
		if r.failed[i] == nil {
			r.failed[i] = err
		}
	}
}

// addPort stages what the frontends of p will point at.
func (r *round) addPort(i uint32, p *service.Port) {
	s, a := r.s, r.next[i]
	id := r.take(s.ports, portDigest(a.key, p))
	a.ports = append(a.ports, id)
	for j := range p.Sets {
		set := uint32(0)
		if len(p.Sets[j].Backends) > 0 {
			set = r.addSet(&p.Sets[j])
			a.sets = append(a.sets, set)
		}
		r.setIDs = append(r.setIDs, set)
	}
	want := membersOf(p)
	r.members = append(r.members, want)
	members, ranges := s.members[id], s.ranges[id]
	if s.doubts[id] {
		members, ranges = nil, nil
	}
	compareMembers(members, want, func(m member) { r.memberMap.put(i, m.key(id), kernelMember{Sets: m.sets}) }, nil)
	for _, k := range rangesOf(id, p) {
		if !slices.Contains(ranges, k) {
			r.rangeMap.put(i, k, 1)
		}
	}
}

// take gives a name its number and stages the record of it.
func (r *round) take(ids *ids, of digest) uint32 {
	id, recorded := ids.take(of)
	if !recorded {
		k, v := ids.entry(id)
		r.names.put(uint32(len(r.named)), k, v)
		r.named = append(r.named, named{ids, id})
	}
	return id
}

// addSet stages a set of backends unless it is there. Sets are named by their
// content: what is under a number never changes.
func (r *round) addSet(set *service.Set) uint32 {
	id := r.take(r.s.sets, setDigest(set.Backends))
	// A process that died half way may have left a name without all its slots.
	if r.s.slots[id].complete || r.written[id].complete {
		return id
	}
	for i, b := range set.Backends {
		r.slots.put(id, kernelSlotKey{Set: id, Index: uint32(i)}, backendOf(b.Addr, b.Local))
	}
	r.written[id] = slots{n: uint32(len(set.Backends)), complete: true}
	return id
}

// flushBackends writes names, slots, members and ranges.
func (r *round) flushBackends() {
	s := r.s
	unnamed := r.names.flush(&s.maps.names, &s.changes)
	for i, n := range r.named {
		if unnamed[uint32(i)] == nil {
			n.ids.record(n.id)
		}
	}
	r.named = reuse(r.named)
	torn := r.slots.flush(&s.maps.slots, &s.changes)
	for id, w := range r.written {
		w.complete = torn[id] == nil
		s.slots[id] = w
	}
	clear(r.written)
	r.fail(r.memberMap.flush(&s.maps.members, &s.changes))
	r.fail(r.rangeMap.flush(&s.maps.ranges, &s.changes))
	if unnamed == nil && torn == nil {
		return
	}
	for i, a := range r.next {
		for _, id := range a.ports {
			if !s.ports.given[id].recorded {
				r.failed[i] = first(unnamed)
			}
		}
		for _, id := range a.sets {
			if !s.sets.given[id].recorded {
				r.failed[i] = first(unnamed)
			} else if !s.slots[id].complete {
				r.failed[i] = first(torn)
			}
		}
	}
}

func first(failed map[uint32]error) error {
	for _, err := range failed {
		return err
	}
	return nil
}

// claim stages the frontends of the plans that have their backends.
func (r *round) claim() {
	sets := r.setIDs
	for i := range r.plans {
		a := r.next[i]
		for j := range r.plans[i].Ports {
			p := &r.plans[i].Ports[j]
			own := sets[:len(p.Sets)]
			sets = sets[len(p.Sets):]
			if r.failed[i] != nil {
				continue
			}
			frontendsOf(a.ports[j], p, own, func(k kernelFrontendKey, v kernelFrontend) {
				if k == anyPort(k) && slices.Contains(a.frontends, k) { // all ports of an address share it
					return
				}
				a.frontends = append(a.frontends, k)
				r.s.claim(uint32(i), k, r.holder(a.key), v)
			})
		}
		slices.SortFunc(a.frontends, kernelFrontendKey.compare)
		a.frontends = slices.Compact(a.frontends)
	}
}

// holder is what stands for a key in the frontends, the same for ever.
func (r *round) holder(key service.Key) *applied {
	a := r.s.applied[key]
	if a == nil {
		a = &applied{key: key}
		r.s.applied[key] = a
	}
	return a
}

// flushFrontends writes and removes the staged frontends.
func (r *round) flushFrontends() {
	s, b := r.s, &r.frontends
	puts, putters, removals, removers := b.puts, b.putters, b.removals, b.removers
	failed := b.flush(&s.maps.frontends, &s.changes)
	r.fail(failed)
	for i, k := range puts {
		if failed[putters[i]] == nil {
			f := s.frontends[k]
			f.written = true
			s.frontends[k] = f
		}
	}
	for i, k := range removals {
		if failed[removers[i]] == nil {
			delete(s.frontends, k)
		} else { // by this or by another change of the plan: it may be there or not
			f := s.frontends[k]
			f.written = false
			s.frontends[k] = f
		}
	}
}

// release removes the frontends that plans have no longer.
func (r *round) release() {
	s := r.s
	for i, a := range r.next {
		old := s.applied[a.key]
		if r.failed[i] != nil || old == nil {
			continue
		}
		for _, k := range old.frontends {
			if _, still := slices.BinarySearchFunc(a.frontends, k, kernelFrontendKey.compare); !still {
				s.unclaim(uint32(i), k, old)
			}
		}
	}
}

// trim removes members and ranges that ports have no longer.
func (r *round) trim() {
	s, members := r.s, r.members
	for i := range r.plans {
		for j := range r.plans[i].Ports {
			want := members[0]
			members = members[1:]
			if r.failed[i] == nil {
				r.trimPort(uint32(i), r.next[i].ports[j], &r.plans[i].Ports[j], want)
			}
		}
	}
	r.fail(r.memberMap.flush(&s.maps.members, &s.changes))
	r.fail(r.rangeMap.flush(&s.maps.ranges, &s.changes))
}

func (r *round) trimPort(i, id uint32, p *service.Port, want []member) {
	compareMembers(r.s.members[id], want, nil, func(m member) {
		r.memberMap.remove(i, m.key(id))
		if p.Protocol == model.UDP && len(want) > 0 {
			r.s.orphaned[m.addr] = true
		}
	})
	if len(r.s.ranges[id]) == 0 {
		return
	}
	ranges := rangesOf(id, p)
	for _, k := range r.s.ranges[id] {
		if !slices.Contains(ranges, k) {
			r.rangeMap.remove(i, k)
		}
	}
}

// settle makes the books say what is in the maps now.
func (r *round) settle() []Failed {
	s, members := r.s, r.members
	var failed []Failed
	for i, next := range r.next {
		plan, a := &r.plans[i], r.holder(next.key)
		for j, id := range next.ports {
			want, ranges := members[0], rangesOf(id, &plan.Ports[j])
			if r.failed[i] == nil {
				delete(s.doubts, id)
			} else {
				s.doubts[id] = true
				want, ranges = union(s.members[id], want), append(slices.Clip(s.ranges[id]), ranges...)
			}
			s.setPort(id, want, ranges)
			members = members[1:]
		}
		if r.failed[i] != nil {
			failed = append(failed, Failed{next.key, r.failed[i]})
			s.keepBoth(a, next)
			s.adopt(a, plan)
			continue
		}
		s.drop(a.ports, a.sets)
		if a.frontends, a.ports, a.sets = next.frontends, next.ports, next.sets; len(a.ports) == 0 {
			delete(s.applied, next.key)
		}
	}
	r.plans, r.next = nil, nil
	clear(r.members)
	return failed
}

// setPort notes the members and ranges of a service port.
func (s *services) setPort(id uint32, members []member, ranges []kernelRangeKey) {
	if len(members) == 0 {
		delete(s.members, id)
	} else if !slices.Equal(s.members[id], members) { // the one that is there may stay: less work for the collector
		s.members[id] = members
	}
	if len(ranges) == 0 {
		delete(s.ranges, id)
	} else {
		s.ranges[id] = ranges
	}
}

// keepBoth makes a hold on to what it has and to what a failed attempt took.
func (s *services) keepBoth(a, next *applied) {
	for _, k := range next.frontends {
		if at, has := slices.BinarySearchFunc(a.frontends, k, kernelFrontendKey.compare); !has {
			a.frontends = slices.Insert(a.frontends, at, k)
		}
	}
	keep := func(have *[]uint32, ids *ids, taken []uint32) {
		for _, id := range taken {
			if slices.Contains(*have, id) {
				ids.release(id)
			} else {
				*have = append(*have, id)
			}
		}
	}
	keep(&a.ports, s.ports, next.ports)
	keep(&a.sets, s.sets, next.sets)
}

// adopt makes a hold on to the frontends of its failed plan that an earlier
// process has left, with all they point at: they may be all that it has.
func (s *services) adopt(a *applied, plan *service.Plan) {
	retain := func(have *[]uint32, ids *ids, id uint32) {
		if id != 0 && !slices.Contains(*have, id) {
			ids.retain(id)
			*have = append(*have, id)
		}
	}
	for i := range plan.Ports {
		p := &plan.Ports[i]
		frontendsOf(0, p, make([]uint32, len(p.Sets)), func(k kernelFrontendKey, _ kernelFrontend) {
			f, there := s.frontends[k]
			if !there || f.owner != nil {
				return
			}
			f.owner = a
			s.frontends[k] = f
			at, _ := slices.BinarySearchFunc(a.frontends, k, kernelFrontendKey.compare)
			a.frontends = slices.Insert(a.frontends, at, k)
			retain(&a.ports, s.ports, f.value.Service)
			retain(&a.sets, s.sets, f.value.Internal)
			retain(&a.sets, s.sets, f.value.External)
		})
	}
}
