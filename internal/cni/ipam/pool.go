// Package ipam gives out the addresses of a node's PodCIDRs. It keeps nothing
// on disk: the owner of a Pool tells it after a restart which addresses are in
// use. It is not a cluster-wide allocator; Kubernetes has already divided the
// range among the nodes.
//
// An address that was freed comes back as late as possible, so that whoever
// still talks to the old pod does not reach a new one.
package ipam

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
)

// Pool allocates one address per family for each pod of a node.
type Pool struct {
	mu     sync.Mutex
	ranges []*addrRange
}

// addrRange is one PodCIDR. last is the address given most recently.
type addrRange struct {
	cidr netip.Prefix
	last netip.Addr
	used map[netip.Addr]bool
}

// New returns a Pool over cidrs, at most one of each family, with all free.
func New(cidrs []netip.Prefix) *Pool {
	p := &Pool{}
	for _, c := range cidrs {
		c = c.Masked()
		p.ranges = append(p.ranges, &addrRange{cidr: c, last: c.Addr(), used: map[netip.Addr]bool{}})
	}
	return p
}

// Allocate returns one address of each family, or none.
func (p *Pool) Allocate() ([]netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []netip.Addr
	for _, r := range p.ranges {
		a, ok := r.next()
		if !ok {
			return nil, fmt.Errorf("allocate address: all %d addresses of %v are in use", len(r.used), r.cidr)
		}
		out = append(out, a)
	}
	for i, r := range p.ranges {
		r.used[out[i]] = true
		r.last = out[i]
	}
	return out, nil
}

// Reserve marks addresses as in use, as the most recent ones; those of no
// range of the pool (a PodCIDR that has changed) need no mark.
func (p *Pool) Reserve(addrs ...netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range addrs {
		for _, r := range p.ranges {
			if r.cidr.Contains(a) {
				r.used[a] = true
				r.last = a
			}
		}
	}
}

// Free gives addresses back. Freeing one that is free changes nothing.
func (p *Pool) Free(addrs ...netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range addrs {
		for _, r := range p.ranges {
			delete(r.used, a)
		}
	}
}

// Used returns the addresses in use, in order.
func (p *Pool) Used() []netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []netip.Addr
	for _, r := range p.ranges {
		for a := range r.used {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// next returns the free address that follows last, going round.
func (r *addrRange) next() (netip.Addr, bool) {
	// One more free address than used ones is all that has to be looked at,
	// beside the two that are never given away.
	a := r.last
	for range len(r.used) + 3 {
		if a = a.Next(); !r.cidr.Contains(a) {
			a = r.cidr.Addr()
		}
		if r.usable(a) && !r.used[a] {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// usable excludes the network's own address (anycast of the routers in IPv6)
// and the IPv4 broadcast address, but for ranges too small to have them.
func (r *addrRange) usable(a netip.Addr) bool {
	if a.BitLen()-r.cidr.Bits() < 2 {
		return true
	}
	isLast := !r.cidr.Contains(a.Next())
	return a != r.cidr.Addr() && (!isLast || a.Is6())
}
