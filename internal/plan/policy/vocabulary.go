package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/model"
)

// atom is one thing that policies of this node say about a peer: that a
// selector matches it, that a block contains it, or which number a port name
// has on it. A class is a set of atoms.
type atom int

// selection is a peer given by selectors. A nil namespaces means the one
// namespace that is named, which must not be confused with a selector on
// labels: the label kubernetes.io/metadata.name is ordinary data.
type selection struct {
	atom       atom
	namespace  string // of the policy, if namespaces is nil
	namespaces *model.Selector
	pods       *model.Selector // nil: all
}

type block struct {
	atom   atom
	cidr   netip.Prefix
	except []netip.Prefix
}

// contains says whether the addresses of p, as far as no longer prefix of the
// vocabulary covers them, belong to b. It relies on cidr and except being
// prefixes of the vocabulary themselves: none of them cuts through p.
func (b *block) contains(p netip.Prefix) bool {
	if !covers(b.cidr, p) {
		return false
	}
	return !slices.ContainsFunc(b.except, func(e netip.Prefix) bool { return covers(e, p) })
}

// portName is a port of the destination that an egress rule gives by name.
type portName struct {
	protocol model.Protocol
	name     string
}

// interner numbers atoms by their canonical keys.
type interner struct {
	keys  []string
	index map[string]atom
}

func newInterner() *interner { return &interner{index: map[string]atom{}} }

// atom returns the atom with key.
func (in *interner) atom(key string) atom {
	a, ok := in.index[key]
	if !ok {
		a = atom(len(in.keys))
		in.keys = append(in.keys, key)
		in.index[key] = a
	}
	return a
}

// bloated says that it is time to begin anew: policies have come and gone.
func (in *interner) bloated() bool { return len(in.keys) > 100_000 }

// vocabulary is all that the policies of this node can say about peers. Equal
// phrases of different policies are one atom.
type vocabulary struct {
	*interner
	selections map[atom]*selection
	blocks     map[atom]*block
	portNames  map[portName]bool
	names      map[peerID]atom // what a peer of a policy means; see peerID
}

// peerID is the identity of a peer as written: a policy's namespace matters
// only to a peer without namespaceSelector, so it is part of the atom's key
// instead of this.
type peerID struct {
	namespace string
	peer      *model.PolicyPeer
}

func newVocabulary(in *interner) *vocabulary {
	return &vocabulary{interner: in, selections: map[atom]*selection{}, blocks: map[atom]*block{},
		portNames: map[portName]bool{}, names: map[peerID]atom{}}
}

// phrase is equal for vocabularies that ask the same of pods.
func (v *vocabulary) phrase() string {
	var parts []string
	for a := range v.selections {
		parts = append(parts, v.keys[a])
	}
	for n := range v.portNames {
		parts = append(parts, portKey(n, 0))
	}
	slices.Sort(parts)
	return strings.Join(parts, "\n")
}

// addPolicy takes in the directions that p isolates; what it says about others
// has no effect (NetworkPolicySpec.policyTypes).
func (v *vocabulary) addPolicy(p *model.NetworkPolicy) {
	if p.Ingress {
		v.addRules(p.Namespace, p.IngressRules, ingress)
	}
	if p.Egress {
		v.addRules(p.Namespace, p.EgressRules, egress)
	}
}

func (v *vocabulary) addRules(namespace string, rules []model.PolicyRule, d direction) {
	for i := range rules {
		for j := range rules[i].Peers {
			v.addPeer(namespace, &rules[i].Peers[j])
		}
		for _, port := range rules[i].Ports {
			if d == egress && port.Port.Str != "" {
				v.portNames[portName{port.Protocol, port.Port.Str}] = true
			}
		}
	}
}

// addPeer gives peer its atom. A peer without any field matches nothing; the
// API refuses it today, and a field of tomorrow must not read as "everyone".
func (v *vocabulary) addPeer(namespace string, peer *model.PolicyPeer) {
	id := peerID{namespace, peer}
	if _, ok := v.names[id]; ok {
		return
	}
	switch {
	case peer.Block != nil:
		b := &block{cidr: normalPrefix(peer.Block.CIDR)}
		for _, e := range peer.Block.Except {
			b.except = append(b.except, normalPrefix(e))
		}
		slices.SortFunc(b.except, netip.Prefix.Compare)
		b.except = slices.Compact(b.except)
		b.atom = v.atom(blockKey(b))
		v.blocks[b.atom], v.names[id] = b, b.atom
	case peer.Pods != nil || peer.Namespaces != nil:
		s := &selection{namespace: namespace, namespaces: peer.Namespaces, pods: peer.Pods}
		s.atom = v.atom(selectionKey(s))
		v.selections[s.atom], v.names[id] = s, s.atom
	}
}

// atomOf returns the atom of a peer that addPeer has seen.
func (v *vocabulary) atomOf(namespace string, peer *model.PolicyPeer) (atom, bool) {
	a, ok := v.names[peerID{namespace, peer}]
	return a, ok
}

// portAtom returns the atom "the port called n is number on this peer".
func (v *vocabulary) portAtom(n portName, number uint16) atom {
	return v.atom(portKey(n, number))
}

func portKey(n portName, number uint16) string {
	return fmt.Sprintf("port %d/%s=%d", n.protocol, n.name, number)
}

func blockKey(b *block) string {
	var key strings.Builder
	fmt.Fprintf(&key, "block %v", b.cidr)
	for _, e := range b.except {
		fmt.Fprintf(&key, " -%v", e)
	}
	return key.String()
}

func selectionKey(s *selection) string {
	pods := "*"
	if s.pods != nil {
		pods = s.pods.String()
	}
	if s.namespaces == nil {
		return "pods " + pods + " in " + s.namespace
	}
	return "pods " + pods + " in namespaces " + s.namespaces.String()
}

// normalPrefix is p masked, and as IPv4 where it is v4-mapped.
func normalPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// covers reports whether every address of inner is in outer.
func covers(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}
