package explain

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/service"
)

// Origin is how a packet comes to a node.
type Origin uint8

// The origins.
const (
	FromNet  Origin = iota // by the uplink
	FromPod                // from a pod of the node
	FromNode               // from the node's own processes
)

// Packet is the first one of a flow.
type Packet struct {
	From     Origin
	Src, Dst netip.AddrPort
	Protocol model.Protocol
}

// Outcome is one thing that may become of a packet. Without a Reason it goes on,
// from Src to Dst.
type Outcome struct {
	Src, Dst netip.AddrPort // Src's port is the packet's own where its address is, else any
	Reason   string         // the name of a drop
	Refused  bool           // the client is told
}

// String is "ADDRESS", "ADDRESS from NODE" where the source is another,
// "drop REASON" or "refuse REASON".
func (o Outcome) String(p Packet) string {
	switch {
	case o.Refused:
		return "refuse " + o.Reason
	case o.Reason != "":
		return "drop " + o.Reason
	case o.Src.Addr() != p.Src.Addr():
		return o.Dst.String() + " from " + o.Src.Addr().String()
	}
	return o.Dst.String()
}

// Answer is what may become of a packet: several outcomes where there are
// several backends.
type Answer struct {
	Packet   Packet
	Service  service.Key // whose frontend it met; zero: none
	Outcomes []Outcome
}

// String lists the outcomes, each once, in order.
func (a Answer) String() string {
	var out []string
	for _, o := range a.Outcomes {
		out = append(out, o.String(a.Packet))
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), " | ")
}

// Ask follows p through the node.
func (n *Node) Ask(p Packet) Answer {
	a := Answer{Packet: p}
	if p.From == FromPod && !slices.Contains(n.facts.Pods, p.Src.Addr()) {
		a.Outcomes = []Outcome{{Reason: "Spoofed"}}
		return a
	}
	f, ok := n.frontend(p.Dst, p.Protocol)
	if !ok {
		a.Outcomes = []Outcome{n.unserved(p)}
		return a
	}
	a.Service = f.key
	if f.Restricted && !in(f.port.SourceRanges, p.Src.Addr()) {
		a.Outcomes = []Outcome{{Reason: "SourceRange"}}
		return a
	}
	set := f.port.Sets[f.Internal]
	if p.From == FromNet {
		set = f.port.Sets[f.External]
	}
	switch {
	case len(set.Backends) > 0:
		for _, b := range set.Backends {
			a.Outcomes = append(a.Outcomes, n.served(p, b))
		}
	case set.Drop:
		a.Outcomes = []Outcome{{Reason: "NoLocalEndpoints"}}
	default:
		a.Outcomes = []Outcome{{Reason: "NoEndpoints", Refused: true}}
	}
	return a
}

// unserved is what becomes of a packet that no frontend takes.
func (n *Node) unserved(p Packet) Outcome {
	dst := p.Dst.Addr()
	switch {
	case n.services[dst] && !n.own(dst):
		return Outcome{Reason: "UnknownPort", Refused: true}
	case in(n.facts.ServiceCIDRs, dst):
		return Outcome{Reason: "Unallocated"}
	}
	if p.From == FromPod && !n.allows(p.Src.Addr(), dst, true, p.Protocol, p.Dst.Port()) {
		return Outcome{Reason: "PolicyEgress"}
	}
	o := Outcome{Src: p.Src, Dst: p.Dst}
	if p.From == FromPod && !in(n.facts.Cluster, dst) && !n.own(dst) {
		return n.masquerade(o, dst)
	}
	return n.deliver(p, o)
}

// served is what becomes of a packet that gets backend b.
func (n *Node) served(p Packet, b service.Backend) Outcome {
	o := Outcome{Src: p.Src, Dst: b.Addr}
	itself := p.Src.Addr() == b.Addr.Addr()
	switch {
	case p.From == FromPod && itself: // as by its loopback: no policy
		return n.masquerade(o, b.Addr.Addr())
	case p.From == FromPod && !n.allows(p.Src.Addr(), b.Addr.Addr(), true, p.Protocol, b.Addr.Port()):
		return Outcome{Reason: "PolicyEgress"}
	case p.From == FromPod && !in(n.facts.Cluster, b.Addr.Addr()) && !n.own(b.Addr.Addr()):
		return n.masquerade(o, b.Addr.Addr())
	case p.From == FromNet && !b.Local:
		// The answer must come back by this node.
		if o = n.masquerade(o, b.Addr.Addr()); o.Reason != "" {
			return o
		}
	case p.From == FromNode && itself: // each end sees the Service as the other
		o.Src = netip.AddrPortFrom(p.Dst.Addr(), 0)
	case p.From == FromNet && itself:
		return Outcome{Reason: "NoRoute"}
	}
	return n.deliver(p, o)
}

func (n *Node) masquerade(o Outcome, dst netip.Addr) Outcome {
	own := n.primary(model.FamilyOf(dst))
	if !own.IsValid() {
		return Outcome{Reason: "NoRoute"}
	}
	o.Src = netip.AddrPortFrom(own, 0)
	return o
}

// deliver asks the pod of this node, if it is for one. What the node itself sends
// always passes (NetworkPolicySpec.ingress).
func (n *Node) deliver(p Packet, o Outcome) Outcome {
	if p.From == FromNode || !slices.Contains(n.facts.Pods, o.Dst.Addr()) {
		return o
	}
	if !n.allows(o.Dst.Addr(), o.Src.Addr(), false, p.Protocol, o.Dst.Port()) {
		return Outcome{Reason: "PolicyIngress"}
	}
	return o
}
