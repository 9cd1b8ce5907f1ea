package agent

import (
	"context"
	"net/netip"
	"slices"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// podAddrs tells the datapath which pod addresses have gone out of use, so that
// connections to them are reset.
type podAddrs struct {
	datapath interface {
		ApplyGone(ctx context.Context, gone, back []netip.Addr) error
		Backends() []netip.Addr
	}
	of    map[model.Name][]netip.Addr
	users map[netip.Addr]int // pods that have an address: two, while one follows the other
}

func (p *podAddrs) kinds() []model.Kind { return []model.Kind{model.KindPod, model.KindNode} }

func (p *podAddrs) step(ctx context.Context, snap *state.Snapshot, changes state.Changes) error {
	var touched []netip.Addr
	if changes.All {
		p.of, p.users = map[model.Name][]netip.Addr{}, map[netip.Addr]int{}
		for _, pod := range snap.Pods.All() {
			touched = append(touched, p.put(pod.Name, addrsOf(pod))...)
		}
		touched = append(touched, p.unheard(snap)...)
	}
	for ch := range changes.Keys {
		if ch.Kind == model.KindPod {
			name := model.ParseName(ch.Key)
			touched = append(touched, p.put(name, addrsOf(snap.Pod(name)))...)
		}
	}
	var gone, back []netip.Addr
	for _, a := range touched {
		if p.users[a] > 0 {
			back = append(back, a)
		} else {
			gone = append(gone, a)
		}
	}
	if len(touched) == 0 {
		return nil
	}
	return p.datapath.ApplyGone(ctx, gone, back)
}

// put makes name have addrs, and returns those whose use has changed.
func (p *podAddrs) put(name model.Name, addrs []netip.Addr) []netip.Addr {
	old := p.of[name]
	if slices.Equal(old, addrs) {
		return nil
	}
	for _, a := range addrs {
		p.users[a]++
	}
	for _, a := range old {
		if p.users[a]--; p.users[a] == 0 {
			delete(p.users, a)
		}
	}
	if p.of[name] = addrs; len(addrs) == 0 {
		delete(p.of, name)
	}
	var changed []netip.Addr
	for _, a := range addrs {
		if p.users[a] == 1 {
			changed = append(changed, a)
		}
	}
	for _, a := range old {
		if p.users[a] == 0 {
			changed = append(changed, a)
		}
	}
	return changed
}

// unheard are the pods that went while no agent was there to see it.
func (p *podAddrs) unheard(snap *state.Snapshot) []netip.Addr {
	var out []netip.Addr
	for _, a := range p.datapath.Backends() {
		if p.users[a] == 0 && ofPods(snap, a) {
			out = append(out, a)
		}
	}
	return out
}

func ofPods(snap *state.Snapshot, a netip.Addr) bool {
	for _, n := range snap.Nodes.All() {
		for _, cidr := range n.PodCIDRs {
			if cidr.Contains(a) {
				return true
			}
		}
	}
	return false
}

// addrsOf are the addresses that go out of use with a pod: not those of a node.
func addrsOf(pod *model.Pod) []netip.Addr {
	if pod == nil || pod.HostNetwork || pod.Done {
		return nil
	}
	return pod.IPs
}
