package bpf

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/fairway-net/fairway/internal/model"
)

// ReadServices lists the installed frontends, by address.
func (d *Datapath) ReadServices() ([]FrontendStatus, error) {
	slots := map[kernelSlotKey]netip.AddrPort{}
	err := each(d.objs.Slots, func(k kernelSlotKey, v kernelBackend) { slots[k] = netip.AddrPortFrom(v.Addr.addr(), swap(v.Port)) })
	if err != nil {
		return nil, fmt.Errorf("read backends: %w", err)
	}
	backends := func(set, n uint32) []netip.AddrPort {
		var out []netip.AddrPort
		for i := range n {
			out = append(out, slots[kernelSlotKey{Set: set, Index: i}])
		}
		return out
	}
	var out []FrontendStatus
	err = each(d.objs.Frontends, func(k kernelFrontendKey, v kernelFrontend) {
		if v.Flags&feAddress != 0 {
			return
		}
		a := k.Addr.addr()
		if !a.IsValid() {
			a = netip.IPv6Unspecified() // the zero address is a frontend's "any of the node's IPv6 addresses"
		}
		out = append(out, FrontendStatus{
			Addr: netip.AddrPortFrom(a, swap(k.Port)), Protocol: model.Protocol(k.Proto),
			Internal: backends(v.Internal, v.N_internal), External: backends(v.External, v.N_external),
			Affinity: time.Duration(v.Affinity) * time.Second,
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read frontends: %w", err)
	}
	slices.SortFunc(out, func(a, b FrontendStatus) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Protocol, b.Protocol))
	})
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
