package policy

import (
	"net/netip"

	"github.com/fairway-net/fairway/internal/model"
)

// ClassOf returns the class of an address, as the datapath's longest prefix
// match finds it.
func (p *Plan) ClassOf(a netip.Addr) string {
	a = a.Unmap()
	best, name := -1, ""
	for _, c := range p.Classes {
		if c.Prefix.Bits() > best && c.Prefix.Contains(a) {
			best, name = c.Prefix.Bits(), c.Class
		}
	}
	return name
}

// Set returns the set called name.
func (p *Plan) Set(name string) (Set, bool) {
	for _, s := range p.Sets {
		if s.Name == name {
			return s, true
		}
	}
	return Set{}, false
}

// Allows reports whether a direction of a pod (a field of PodPolicy) accepts a
// new connection with peer on a destination port.
func (p *Plan) Allows(direction *string, peer netip.Addr, protocol model.Protocol, port uint16) bool {
	if direction == nil {
		return true
	}
	set, _ := p.Set(*direction)
	class := p.ClassOf(peer)
	for _, r := range set.Rules {
		if r.matches(class, protocol, port) {
			return true
		}
	}
	return false
}

func (r Rule) matches(class string, protocol model.Protocol, port uint16) bool {
	return (r.AnyPeer || r.Class == class) &&
		(r.AnyProtocol || r.Protocol == protocol && r.PortLo <= port && port <= r.PortHi)
}
