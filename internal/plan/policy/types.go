// Package policy plans NetworkPolicy for one node: which peers its pods may
// talk to, in a form that a packet program answers with two lookups (address
// to class, then class and port to verdict).
//
// Peers are grouped into equivalence classes computed on the node, for the
// node: two addresses share a class if no policy of a pod of this node can
// tell them apart. There are no cluster-wide identities, so nothing has to be
// agreed on, and a label that no local policy mentions changes nothing.
//
// The package is pure: no clock, no I/O, no log. It does not program the
// kernel (apply/bpf does), and it does not know replies, ICMP errors or the
// exemption of the node's own traffic, which are the datapath's part of the
// semantics. Invariants:
//
//   - A Plan is canonical: equal snapshots give equal Plans, and names of
//     classes and sets depend on nothing but their content, so that they may
//     be compared between runs and nodes.
//   - Every address has exactly one class: that of the longest prefix in
//     Plan.Classes that contains it, or "" where there is none.
//   - Sets hold allow rules only; a pod that is isolated in a direction and
//     whose Set has no rule for a packet drops it.
package policy

import (
	"net/netip"

	"github.com/fairway-net/fairway/internal/model"
)

// Plan is NetworkPolicy as one node enforces it.
type Plan struct {
	Classes []ClassPrefix // longest prefix wins; sorted by Prefix; an address under no prefix has class ""
	Sets    []Set         // sorted by Name; each is used by some pod
	Pods    []PodPolicy   // sorted by Pod; every pod of this node that has a network of its own
}

// ClassPrefix gives all addresses of Prefix a class, unless a longer prefix does.
// Prefixes are masked and never v4-mapped.
type ClassPrefix struct {
	Prefix netip.Prefix
	Class  string // opaque, canonical; compare only for equality
}

// Set is what one or more pods accept in one direction.
type Set struct {
	Name  string // canonical: depends on Rules only
	Rules []Rule // sorted, no two equal; empty allows nothing
}

// Rule allows the peers of one class, on ports of one protocol. A packet
// passes a Set if any rule matches it.
type Rule struct {
	AnyPeer        bool   // Class is "" and means nothing
	Class          string // compared with the peer's class; "" is the class of addresses under no prefix
	AnyProtocol    bool   // Protocol is 0 and means nothing; protocols without ports match as well
	Protocol       model.Protocol
	PortLo, PortHi uint16 // destination port, inclusive; 0 and 65535 for all
}

// PodPolicy is one pod of this node. A nil direction is not isolated: the pod
// accepts everything. Otherwise it names a Set of the Plan.
type PodPolicy struct {
	Pod             model.Name
	UID             string
	IPs             []netip.Addr // as the API knows them: empty until kubelet has reported them
	Ingress, Egress *string
}
