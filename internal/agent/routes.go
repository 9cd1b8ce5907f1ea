package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fairway-net/fairway/internal/apply/bpf"
	"github.com/fairway-net/fairway/internal/apply/netdev"
	"github.com/fairway-net/fairway/internal/apply/status"
	"github.com/fairway-net/fairway/internal/config"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/run"
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
	events interface { // tells by Events what the API shows wrong
		Apply(context.Context, *state.Snapshot, status.Want) (again time.Duration, err error)
	}
	log     *slog.Logger
	done    func()        // called after each success
	offLink *atomic.Int64 // how many nodes cannot be reached
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
	offLink, err := r.router.Apply(ctx, want)
	if err != nil {
		return err
	}
	r.done() // a node that cannot be reached does not keep this one from being ready
	return r.tell(ctx, snap, offLink)
}

// tell says which nodes cannot be reached: in the log when that changes, and by
// an Event of each such Node for as long as it lasts.
func (r *routes) tell(ctx context.Context, snap *state.Snapshot, offLink map[netip.Prefix]netip.Addr) error {
	rejected := unreached(snap, r.node, r.router.Uplink, offLink)
	if n := int64(len(rejected)); r.offLink.Swap(n) != n {
		for _, problem := range rejected {
			r.log.Warn("a node's pods are unreachable from here", "node", problem.Ref.Name, "reason", problem.String())
		}
	}
	again, err := r.events.Apply(ctx, snap, status.Want{Rejected: rejected})
	if err != nil {
		r.log.Warn("write Events", "err", err) // the routes are in place
	}
	if again > 0 {
		return run.Again{After: again}
	}
	return nil
}

// unreached makes a Rejected of each node that the uplink does not reach.
func unreached(snap *state.Snapshot, self, uplink string, offLink map[netip.Prefix]netip.Addr) []model.Rejected {
	var out []model.Rejected
	for _, n := range snap.Nodes.All() {
		var pods []string
		var addr netip.Addr
		for _, p := range n.PodCIDRs {
			if via, ok := offLink[p]; ok {
				pods, addr = append(pods, p.String()), via
			}
		}
		if len(pods) > 0 {
			out = append(out, model.Rejected{
				Ref:   model.Ref{Kind: model.KindNode, Name: model.Name{Name: n.Name}, UID: n.Name}, // of a Node, kubectl looks for its name
				Field: "status.addresses", Reason: "NodeNotOnLink",
				Message: fmt.Sprintf("node %s does not reach the pods %s: %v is not on the network of its uplink %s", self, strings.Join(pods, " and "), addr, uplink),
				Fix:     "give all nodes addresses in one network without a router between them; Fairway has no tunnel to go through one",
			})
		}
	}
	return out
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
