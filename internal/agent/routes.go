package agent

import (
	"context"
	"net/netip"
	"slices"

	"github.com/fairway-net/fairway/internal/apply/bpf"
	"github.com/fairway-net/fairway/internal/apply/netdev"
	"github.com/fairway-net/fairway/internal/config"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// routes keeps the node's routes to the others, and tells the datapath who they are.
type routes struct {
	node     string
	config   config.Config
	router   netdev.Router
	datapath interface {
		ApplyNodes(context.Context, bpf.Nodes) error
	}
	done func() // called after each success
}

func (r *routes) kinds() []model.Kind { return []model.Kind{model.KindNode, model.KindServiceCIDR} }

func (r *routes) step(ctx context.Context, snap *state.Snapshot, _ state.Changes) error {
	want, nodes := wantRoutes(snap, r.node, r.config)
	if len(nodes.Local) == 0 {
		return nil // our own Node is gone: the cluster is done with us, and the pods live on until they are told
	}
	if err := r.datapath.ApplyNodes(ctx, nodes); err != nil {
		return err
	}
	// A node that cannot be reached directly does not keep this one from being ready.
	err := r.router.Apply(ctx, want)
	r.done()
	return err
}

// wantRoutes derives routing from the Nodes. Nothing of the cluster's own
// ranges may leave by a default route: what has no better route is unreachable.
func wantRoutes(snap *state.Snapshot, self string, c config.Config) (netdev.Routes, bpf.Nodes) {
	services := serviceCIDRs(snap, c)
	want := netdev.Routes{Peers: map[netip.Prefix]netip.Addr{}, Unreachable: slices.Concat(c.PodCIDRs, services)}
	nodes := bpf.Nodes{PodCIDRs: slices.Clone(c.PodCIDRs), ServiceCIDRs: services}
	for _, pool := range c.LBPools {
		for _, r := range pool.Ranges {
			want.Unreachable = append(want.Unreachable, prefixesOf(r)...)
		}
	}
	for _, n := range snap.Nodes.All() {
		nodes.PodCIDRs = append(nodes.PodCIDRs, n.PodCIDRs...)
		if n.Name == self {
			nodes.Self, nodes.Local = n.InternalIPs, n.PodCIDRs
			want.Unreachable = append(want.Unreachable, n.PodCIDRs...)
			continue
		}
		nodes.Others = append(nodes.Others, n.InternalIPs...)
		for _, p := range n.PodCIDRs {
			if via := model.CutFamily(n.InternalIPs, model.FamilyOf(p.Addr())); len(via) > 0 {
				want.Peers[p] = via[0]
			}
		}
	}
	return want, nodes
}

// serviceCIDRs are all ranges that ClusterIPs come from: those of the
// configuration, and what the API says, which may grow while the cluster runs.
func serviceCIDRs(snap *state.Snapshot, c config.Config) []netip.Prefix {
	out := slices.Clone(c.ServiceCIDRs)
	for _, s := range snap.ServiceCIDRs.All() {
		for _, p := range s.CIDRs {
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// prefixesOf splits a range into as few prefixes as possible.
func prefixesOf(r config.Range) []netip.Prefix {
	var out []netip.Prefix
	for a := r.From; a.IsValid() && a.Compare(r.To) <= 0; {
		p := netip.PrefixFrom(a, a.BitLen())
		for p.Bits() > 0 {
			wider := netip.PrefixFrom(a, p.Bits()-1)
			if wider.Masked().Addr() != a || lastOf(wider).Compare(r.To) > 0 {
				break
			}
			p = wider
		}
		out = append(out, p)
		a = lastOf(p).Next()
	}
	return out
}

// lastOf returns the highest address of p.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
