package bpf

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// Flags of the map nets, as in bpf/lib/types.h.
const (
	netCluster = 1 << iota
	netLocalPod
	netService
)

// ApplyNodes tells the datapath what is a node and what is a pod.
func (d *Datapath) ApplyNodes(ctx context.Context, n Nodes) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	self := map[kernelAddr]uint32{}
	// A NodePort answers on loopback as well, for this node's own programs: the
	// socket hooks translate it before loopback is in play.
	for _, a := range append([]netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}, n.Self...) {
		self[addrOf(a)] = 1
	}
	nets := map[kernelPrefixKey]uint32{}
	for _, p := range n.PodCIDRs {
		nets[prefixOf(p)] |= netCluster
	}
	for _, p := range n.Local {
		nets[prefixOf(p)] |= netCluster | netLocalPod
	}
	for _, p := range n.ServiceCIDRs {
		nets[prefixOf(p)] |= netService
	}
	for _, a := range append(append([]netip.Addr{}, n.Self...), n.Others...) {
		a = a.Unmap()
		nets[prefixOf(netip.PrefixFrom(a, a.BitLen()))] |= netCluster
	}
	var node kernelNode
	for _, a := range n.Self {
		switch a = a.Unmap(); {
		case a.Is4() && node.Ip4 == kernelAddr{}:
			node.Ip4 = addrOf(a)
		case a.Is6() && node.Ip6 == kernelAddr{}:
			node.Ip6 = addrOf(a)
		}
	}
	if err := d.objs.Node.Put(uint32(0), node); err != nil {
		return fmt.Errorf("write node addresses: %w", err)
	}
	if err := replace(d.objs.Self, self); err != nil {
		return fmt.Errorf("write own addresses: %w", err)
	}
	if err := replace(d.objs.Nets, nets); err != nil {
		return fmt.Errorf("write cluster networks: %w", err)
	}
	return nil
}

// replace makes m hold exactly want, adding before it removes. For small maps:
// it reads all of m.
func replace[K comparable, V comparable](m *ebpf.Map, want map[K]V) error {
	have := map[K]V{}
	if err := each(m, func(k K, v V) { have[k] = v }); err != nil {
		return err
	}
	for k, v := range want {
		if old, ok := have[k]; ok && old == v {
			continue
		}
		if err := m.Put(k, v); err != nil {
			return err
		}
	}
	for k := range have {
		if _, ok := want[k]; !ok {
			if err := deleteKey(m, k); err != nil {
				return err
			}
		}
	}
	return nil
}
