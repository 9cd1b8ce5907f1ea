package policy

import (
	"net/netip"
	"slices"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// literal answers "may this connection pass" by reading networking/v1 word by
// word, with no grouping and no precomputation. It is the specification that
// the planner is compared with.
type literal struct{ snap *state.Snapshot }

// allows reports whether pod accepts a connection with peer in direction d.
func (l literal) allows(pod *model.Pod, d direction, peer netip.Addr, protocol model.Protocol, port uint16) bool {
	isolated := false
	for _, p := range l.snap.Policies.All() {
		if p.Namespace != pod.Namespace || !p.Pods.Matches(pod.Labels) {
			continue
		}
		rules, applies := p.IngressRules, p.Ingress
		if d == egress {
			rules, applies = p.EgressRules, p.Egress
		}
		if !applies {
			continue
		}
		isolated = true
		for _, r := range rules {
			if l.peers(p, r, peer) && l.ports(pod, d, r, peer, protocol, port) {
				return true
			}
		}
	}
	return !isolated
}

func (l literal) peers(p *model.NetworkPolicy, r model.PolicyRule, peer netip.Addr) bool {
	return len(r.Peers) == 0 || slices.ContainsFunc(r.Peers, func(item model.PolicyPeer) bool { return l.peer(p, item, peer) })
}

func (l literal) peer(p *model.NetworkPolicy, item model.PolicyPeer, addr netip.Addr) bool {
	if item.Block != nil {
		return item.Block.CIDR.Contains(addr) &&
			!slices.ContainsFunc(item.Block.Except, func(e netip.Prefix) bool { return e.Contains(addr) })
	}
	pod := l.owner(addr)
	if pod == nil || item.Pods == nil && item.Namespaces == nil {
		return false
	}
	if item.Namespaces == nil && pod.Namespace != p.Namespace {
		return false
	}
	if item.Namespaces != nil {
		ns := l.snap.Namespace(pod.Namespace)
		if ns == nil || !item.Namespaces.Matches(ns.Labels) {
			return false
		}
	}
	return item.Pods == nil || item.Pods.Matches(pod.Labels)
}

func (l literal) ports(pod *model.Pod, d direction, r model.PolicyRule, peer netip.Addr, protocol model.Protocol, port uint16) bool {
	if len(r.Ports) == 0 {
		return true
	}
	destination := pod
	if d == egress {
		destination = l.owner(peer)
	}
	for _, item := range r.Ports {
		if item.Protocol != protocol {
			continue
		}
		switch {
		case item.Port.Str != "":
			if destination != nil && named(destination, item.Port.Str, protocol) == port && port != 0 {
				return true
			}
		case item.Port.Int == 0:
			return true
		case item.EndPort != 0:
			if item.Port.Int <= port && port <= item.EndPort {
				return true
			}
		case item.Port.Int == port:
			return true
		}
	}
	return false
}

func named(pod *model.Pod, name string, protocol model.Protocol) uint16 {
	for _, p := range pod.Ports {
		if p.Name == name && p.Protocol == protocol {
			return p.Port
		}
	}
	return 0
}

func (l literal) owner(addr netip.Addr) *model.Pod {
	for _, pod := range l.snap.Pods.All() {
		if !pod.HostNetwork && !pod.Done && slices.Contains(pod.IPs, addr) {
			return pod
		}
	}
	return nil
}
