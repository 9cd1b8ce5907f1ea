package bpf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"

	"github.com/fairway-net/fairway/internal/diff"
	"github.com/fairway-net/fairway/internal/plan/policy"
)

// Set ids with a meaning and the class of any peer, as in bpf/lib/types.h.
const (
	policyNone   = 0
	policyClosed = 0xffffffff
	classAny     = 0xffffffff
)

// restoreVerdicts learns which rules are in the map.
func (d *Datapath) restoreVerdicts() error {
	return each(d.objs.Verdicts, func(k kernelVerdictKey, _ uint32) { d.verdicts[k.Set] = append(d.verdicts[k.Set], k) })
}

// ApplyPolicy enforces plan on all attached pods. Pods that the plan does not
// mention stay closed, or keep what they have if they were open.
func (d *Datapath) ApplyPolicy(ctx context.Context, plan policy.Plan) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	// New numbers and sets first. Then addresses change their classes and pods
	// their sets, which cannot be one step; in between pods have a set that
	// allows what the old or the new one does, so that nothing is dropped that
	// is allowed before and after.
	a := &appliedPolicy{d: d, classes: map[string]uint32{"": 0}, sets: map[string]uint32{}}
	if err := a.numberClasses(&plan); err != nil {
		return fmt.Errorf("number classes: %w", err)
	}
	for i := range plan.Sets {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := a.addSet(&plan.Sets[i]); err != nil {
			return fmt.Errorf("write policy set: %w", err)
		}
	}
	if err := a.changeClasses(&plan); err != nil {
		return fmt.Errorf("write classes: %w", err)
	}
	if err := a.openPods(&plan); err != nil {
		return err
	}
	old := d.held
	d.held, d.policy = a, &plan
	if old == nil {
		d.sets.condemnUnused()
		d.classes.condemnUnused()
		return nil
	}
	for _, id := range old.sets {
		d.sets.release(id)
	}
	for name, id := range old.classes {
		if name != "" {
			d.classes.release(id)
		}
	}
	return nil
}

// appliedPolicy is what the last plan holds on to.
type appliedPolicy struct {
	d       *Datapath
	classes map[string]uint32 // name -> id
	sets    map[string]uint32
}

// numberClasses gives every class of plan its number.
func (a *appliedPolicy) numberClasses(plan *policy.Plan) error {
	number := func(name string) error {
		if _, ok := a.classes[name]; ok {
			return nil
		}
		id, err := a.d.classes.acquire(digestOf("class", name))
		a.classes[name] = id
		return err
	}
	for _, c := range plan.Classes {
		if err := number(c.Class); err != nil {
			return err
		}
	}
	for _, s := range plan.Sets {
		for _, r := range s.Rules {
			if err := number(r.Class); err != nil {
				return err
			}
		}
	}
	return nil
}

// addSet writes a set unless it is there. Sets are named by their content.
func (a *appliedPolicy) addSet(set *policy.Set) error {
	d := a.d
	id, err := d.sets.acquire(digestOf("set", set.Name))
	if err != nil {
		return err
	}
	a.sets[set.Name] = id
	have := map[kernelVerdictKey]bool{}
	for _, k := range d.verdicts[id] {
		have[k] = true
	}
	for _, r := range set.Rules {
		for _, k := range verdictsOf(id, a.classes[r.Class], r) {
			if have[k] {
				continue
			}
			if err := d.objs.Verdicts.Put(k, uint32(1)); err != nil {
				return err
			}
			have[k] = true
			d.verdicts[id] = append(d.verdicts[id], k)
		}
	}
	return nil
}

// verdictsOf returns the entries that stand for r: one for each aligned block
// of its ports.
func verdictsOf(set, class uint32, r policy.Rule) []kernelVerdictKey {
	const fixed, proto = 64, 16 // bits of set and class, and of the protocol with its padding
	if r.AnyPeer {
		class = classAny
	}
	k := kernelVerdictKey{Prefixlen: fixed, Set: set, Class: class}
	if r.AnyProtocol {
		return []kernelVerdictKey{k}
	}
	k.Proto = uint8(r.Protocol)
	var out []kernelVerdictKey
	for _, p := range portPrefixes(r.PortLo, r.PortHi) {
		k.Prefixlen, k.Port = fixed+proto+p.bits, swap(p.port)
		out = append(out, k)
	}
	return out
}

// changeClasses makes the map hold the classes of plan.
func (a *appliedPolicy) changeClasses(plan *policy.Plan) error {
	want := make(map[kernelPrefixKey]uint32, len(plan.Classes)+1)
	// To the map IPv4 is a part of IPv6. It must not be to a policy on ::/0.
	want[prefixOf(netip.PrefixFrom(netip.IPv4Unspecified(), 0))] = 0
	for _, c := range plan.Classes {
		want[prefixOf(c.Prefix)] = a.classes[c.Class]
	}
	have := a.d.prefixes
	ops := diff.MapsFunc(have, want, func(a, b uint32) bool { return a == b }, comparePrefixes)
	if ops.Empty() {
		return nil
	}
	if err := a.bridgePods(plan); err != nil {
		return err
	}
	for _, k := range slices.Concat(ops.Add, ops.Update) {
		id := want[k]
		if err := a.d.objs.Classes.Put(&k, &id); err != nil {
			return err
		}
		have[k] = id
	}
	for _, k := range ops.Remove {
		if err := deleteKey(a.d.objs.Classes, k); err != nil {
			return err
		}
		delete(have, k)
	}
	return nil
}

// comparePrefixes puts longer prefixes first: an exception comes before what it
// is an exception to.
func comparePrefixes(a, b kernelPrefixKey) int {
	return cmp.Or(cmp.Compare(b.Prefixlen, a.Prefixlen), slices.Compare(a.Addr.W[:], b.Addr.W[:]))
}

// bridgePods gives pods whose sets change the union of the old and the new.
func (a *appliedPolicy) bridgePods(plan *policy.Plan) error {
	for _, p := range a.d.pods {
		pp := policyFor(plan, p.link)
		if pp == nil {
			continue
		}
		v := p.value
		for _, d := range []struct {
			have *uint32
			want uint32
		}{{&v.Ingress, a.setID(pp.Ingress)}, {&v.Egress, a.setID(pp.Egress)}} {
			union, err := a.union(*d.have, d.want)
			if err != nil {
				return err
			}
			*d.have = union
		}
		if v == p.value {
			continue
		}
		if err := a.d.writePod(p, v); err != nil {
			return err
		}
	}
	return nil
}

// union returns a set that allows what either allows. The pod that gets it is
// its only user: it is buried some time after the pod has its final one.
func (a *appliedPolicy) union(have, want uint32) (uint32, error) {
	switch {
	case have == want || have == policyClosed || want == policyClosed: // closed stays closed until all is in place
		return have, nil
	case have == policyNone || want == policyNone:
		return policyNone, nil
	}
	d := a.d
	id, err := d.sets.acquire(digestOf("union", have, want))
	if err != nil {
		return 0, err
	}
	d.sets.release(id)
	done := map[kernelVerdictKey]bool{}
	for _, k := range d.verdicts[id] {
		done[k] = true
	}
	for _, k := range slices.Concat(d.verdicts[have], d.verdicts[want]) {
		k.Set = id
		if done[k] {
			continue
		}
		if err := d.objs.Verdicts.Put(k, uint32(1)); err != nil {
			return 0, err
		}
		done[k] = true
		d.verdicts[id] = append(d.verdicts[id], k)
	}
	return id, nil
}

// openPods lets the attached pods have what the plan says of them.
func (a *appliedPolicy) openPods(plan *policy.Plan) error {
	for _, p := range a.d.pods {
		pp := policyFor(plan, p.link)
		if pp == nil {
			continue
		}
		if err := a.openPod(p, pp); err != nil {
			return err
		}
	}
	return nil
}

func (a *appliedPolicy) openPod(p *pod, pp *policy.PodPolicy) error {
	v := p.value
	v.Ingress, v.Egress = a.setID(pp.Ingress), a.setID(pp.Egress)
	if v == p.value {
		return nil
	}
	return a.d.writePod(p, v)
}

func (a *appliedPolicy) setID(name *string) uint32 {
	if name == nil {
		return policyNone
	}
	if id, ok := a.sets[*name]; ok {
		return id
	}
	return policyClosed // a plan that names a set it does not have is a bug; fail closed
}

// policyFor finds the plan for a link: nil while none is known.
func policyFor(plan *policy.Plan, l PodLink) *policy.PodPolicy {
	for i := range plan.Pods {
		pp := &plan.Pods[i]
		if pp.Pod == l.Pod && (l.UID == "" || pp.UID == "" || l.UID == pp.UID) {
			return pp
		}
	}
	return nil
}

// buryPolicy removes sets and classes that have had no user for a while.
func (d *Datapath) buryPolicy() error {
	sets := d.sets.expired(math.MaxInt)
	for _, id := range sets {
		for _, k := range d.verdicts[id] {
			if err := deleteKey(d.objs.Verdicts, k); err != nil {
				return err
			}
		}
		delete(d.verdicts, id)
	}
	return errors.Join(d.sets.forget(sets), d.classes.forget(d.classes.expired(math.MaxInt)))
}
