package bpf

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/service"
)

// ReadServices lists the frontends in the kernel, by address: those of owners
// for which match returns true, and with the zero Key those of nobody.
func (d *Datapath) ReadServices(match func(owner service.Key) bool) ([]FrontendStatus, error) {
	d.services.mu.Lock()
	defer d.services.mu.Unlock()
	type row struct {
		key   kernelFrontendKey
		value kernelFrontend
		owner service.Key
	}
	var rows []row
	err := eachBatch(d.tables.frontends.m, func(k kernelFrontendKey, v kernelFrontend) {
		r := row{key: k, value: v}
		if a := d.services.frontends[k].owner; a != nil {
			r.owner = a.key
		}
		if v.Flags&feAddress == 0 && match(r.owner) {
			rows = append(rows, r)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read frontends: %w", err)
	}
	out := make([]FrontendStatus, len(rows))
	for i, r := range rows {
		a := r.key.Addr.addr()
		if !a.IsValid() {
			a = netip.IPv6Unspecified() // the zero address is a frontend's "any of the node's IPv6 addresses"
		}
		out[i] = FrontendStatus{
			Addr: netip.AddrPortFrom(a, swap(r.key.Port)), Protocol: model.Protocol(r.key.Proto), Owner: r.owner,
			Affinity: time.Duration(r.value.Affinity) * time.Second,
		}
		if out[i].Internal, err = d.readSet(r.value.Internal, r.value.N_internal); err != nil {
			return nil, err
		}
		if out[i].External, err = d.readSet(r.value.External, r.value.N_external); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b FrontendStatus) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Protocol, b.Protocol))
	})
	return out, nil
}

// readSet reads the backends of a set. One that is not there is left out: the
// programs would find nothing either.
func (d *Datapath) readSet(set, n uint32) ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for i := range n {
		var b kernelBackend
		err := d.tables.slots.m.Lookup(kernelSlotKey{Set: set, Index: i}, &b)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read backends: %w", err)
		}
		out = append(out, netip.AddrPortFrom(b.Addr.addr(), swap(b.Port)))
	}
	return out, nil
}

// ReadPods lists the attached pods, by ifindex.
func (d *Datapath) ReadPods() ([]PodStatus, error) {
	var out []PodStatus
	err := each(d.objs.Endpoints, func(ifindex uint32, v kernelEndpoint) {
		s := PodStatus{
			IfIndex: int(ifindex), Closed: v.Ingress == policyClosed || v.Egress == policyClosed,
			IngressIsolated: v.Ingress != policyNone, EgressIsolated: v.Egress != policyNone,
		}
		for _, a := range []netip.Addr{v.Ip4.addr(), v.Ip6.addr()} {
			if a.IsValid() {
				s.IPs = append(s.IPs, a)
			}
		}
		out = append(out, s)
	})
	if err != nil {
		return nil, fmt.Errorf("read pods: %w", err)
	}
	slices.SortFunc(out, func(a, b PodStatus) int { return cmp.Compare(a.IfIndex, b.IfIndex) })
	return out, nil
}

// ReadDrops lists the drop counters that are not zero.
func (d *Datapath) ReadDrops() ([]DropCount, error) {
	var out []DropCount
	for r := range NumDrops {
		var perCPU []uint64
		if err := d.objs.Drops.Lookup(uint32(r), &perCPU); err != nil {
			return nil, fmt.Errorf("read drop counters: %w", err)
		}
		var sum uint64
		for _, n := range perCPU {
			sum += n
		}
		if sum > 0 {
			out = append(out, DropCount{Drop(r), sum})
		}
	}
	return out, nil
}

// ReadFill counts the entries of the maps for Services. It reads all of them.
func (d *Datapath) ReadFill() ([]MapFill, error) {
	m := d.tables
	out := make([]MapFill, 0, 6)
	for _, fill := range []func() (MapFill, error){m.frontends.fill, m.slots.fill, m.members.fill, m.ranges.fill, m.names.fill} {
		f, err := fill()
		if err != nil {
			return nil, fmt.Errorf("count %s: %w", f.Map, err)
		}
		out = append(out, f)
	}
	return append(out, MapFill{kernelMapConns, int(d.flows.Load()), int(d.objs.Conns.MaxEntries())}), nil
}
