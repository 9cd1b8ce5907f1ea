package bpf

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// ApplyGone tells which addresses of pods are in use no more, and which are
// again. Connections through Services to a pod that is gone are reset: a socket
// of this node at once, a client that comes by packets with its next one.
// Nothing else ends a connection: not that an endpoint leaves its Service, is
// not ready or terminates.
func (d *Datapath) ApplyGone(ctx context.Context, gone, back []netip.Addr) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range back {
		if err := deleteKey(d.objs.Gone, addrOf(a)); err != nil {
			return err
		}
	}
	now, err := monotonic()
	if err != nil {
		return err
	}
	addrs := map[kernelAddr]bool{}
	for _, a := range gone {
		if err := ctx.Err(); err != nil {
			return err
		}
		k := addrOf(a)
		if err := d.objs.Gone.Put(k, uint32(now/time.Second)); err != nil {
			return fmt.Errorf("write address %v that is gone: %w", a, err)
		}
		addrs[k] = true
	}
	d.reaper.want(addrs)
	return nil
}

// Backends lists the addresses of all endpoints in the kernel, also those that
// another process has put there.
func (d *Datapath) Backends() []netip.Addr {
	s := d.services
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[kernelAddr]bool{}
	var out []netip.Addr
	for _, members := range s.members {
		for _, m := range members {
			if !seen[m.addr] {
				seen[m.addr] = true
				out = append(out, m.addr.addr())
			}
		}
	}
	return out
}

// sweepGone forgets addresses that no open flow can speak of any more.
func (d *Datapath) sweepGone() error {
	now, err := monotonic()
	if err != nil {
		return err
	}
	var old []kernelAddr
	err = each(d.objs.Gone, func(k kernelAddr, since uint32) {
		if now-time.Duration(since)*time.Second > ttlOpen {
			old = append(old, k)
		}
	})
	for _, k := range old {
		if err := deleteKey(d.objs.Gone, k); err != nil {
			return err
		}
	}
	return err
}
