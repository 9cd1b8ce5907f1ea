package report

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/service"
)

// Node is what an agent tells of its node's kernel.
type Node struct {
	Node    string    `json:"node"`
	Error   string    `json:"error,omitempty"` // it did not answer; the rest is empty then
	Ready   string    `json:"ready,omitempty"` // why the agent is not ready; "": it is
	Entries []Entry   `json:"entries,omitempty"`
	Failed  []Failure `json:"failed,omitempty"` // what could not be put into the kernel
}

// Entry is one frontend in the kernel.
type Entry struct {
	Address  netip.AddrPort   `json:"address"` // unspecified: the node's own addresses
	Protocol string           `json:"protocol"`
	Owner    string           `json:"owner,omitempty"`    // "Service ns/name" or "Pod ns/name"; "": nobody's
	Internal []netip.AddrPort `json:"internal,omitempty"` // for clients on the node
	External []netip.AddrPort `json:"external,omitempty"` // for all others
	Affinity int              `json:"affinitySeconds,omitempty"`
}

// Failure is a Service that a node could not program, or not wholly.
type Failure struct {
	Owner   string `json:"owner"`
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"`
}

// entryKey is where an entry is.
type entryKey struct {
	addr     netip.AddrPort
	protocol string
}

func (k entryKey) String() string { return addressText(k.addr) + "/" + k.protocol }

// addressText writes the node's own addresses as such.
func addressText(a netip.AddrPort) string {
	switch a.Addr() {
	case netip.IPv4Unspecified():
		return fmt.Sprintf("<node>:%d", a.Port())
	case netip.IPv6Unspecified():
		return fmt.Sprintf("[<node>]:%d", a.Port())
	}
	return a.String()
}

// planned returns the entries that p asks for.
func planned(p *service.Plan) map[entryKey]Entry {
	out := map[entryKey]Entry{}
	for i := range p.Ports {
		port := &p.Ports[i]
		for _, f := range port.Frontends {
			e := Entry{
				Address: netip.AddrPortFrom(f.Addr, f.Port), Protocol: port.Protocol.String(), Owner: p.Key.String(),
				Internal: addresses(port.Sets[f.Internal]), External: addresses(port.Sets[f.External]), Affinity: int(port.Affinity.Seconds()),
			}
			out[entryKey{e.Address, e.Protocol}] = e
		}
	}
	return out
}

func addresses(s service.Set) []netip.AddrPort {
	var out []netip.AddrPort
	for _, b := range s.Backends {
		out = append(out, b.Addr)
	}
	return out
}

// Difference is one way in which a kernel is not as planned.
type Difference struct {
	Address string `json:"address"` // and protocol
	What    string `json:"what"`
}

// compare returns how the kernel of n differs from p, the plan for n.
func (n *Node) compare(p *service.Plan) []Difference {
	want, owner := planned(p), p.Key.String()
	var out []Difference
	for _, have := range n.Entries {
		k := entryKey{have.Address, have.Protocol}
		w, ok := want[k]
		delete(want, k)
		switch {
		case !ok && have.Owner == owner:
			out = append(out, Difference{k.String(), "should not be there"})
		case !ok:
		case have.Owner != owner && have.Owner != "":
			out = append(out, Difference{k.String(), "belongs to " + have.Owner})
		default:
			out = append(out, differences(k.String(), w, have)...)
		}
	}
	for k := range want {
		out = append(out, Difference{k.String(), "not there"})
	}
	for _, f := range n.Failed {
		if f.Owner == owner {
			what := f.Message
			if f.Fix != "" {
				what += "; " + f.Fix
			}
			out = append(out, Difference{"", what})
		}
	}
	slices.SortFunc(out, func(a, b Difference) int { return strings.Compare(a.Address+a.What, b.Address+b.What) })
	return out
}

// differences compares two entries of one address.
func differences(address string, want, have Entry) []Difference {
	var out []Difference
	if slices.Equal(want.Internal, want.External) && slices.Equal(have.Internal, have.External) {
		out = setDifference(out, address, "", want.Internal, have.Internal)
	} else {
		out = setDifference(out, address, "for clients on the node: ", want.Internal, have.Internal)
		out = setDifference(out, address, "for others: ", want.External, have.External)
	}
	if want.Affinity != have.Affinity {
		out = append(out, Difference{address, fmt.Sprintf("affinity is %d s, not %d s", have.Affinity, want.Affinity)})
	}
	return out
}

func setDifference(out []Difference, address, who string, want, have []netip.AddrPort) []Difference {
	only := func(a, b []netip.AddrPort) string {
		var s []string
		for _, x := range a {
			if !slices.Contains(b, x) {
				s = append(s, x.String())
			}
		}
		return strings.Join(s, ", ")
	}
	if missing := only(want, have); missing != "" {
		out = append(out, Difference{address, who + "lacks " + missing})
	}
	if more := only(have, want); more != "" {
		out = append(out, Difference{address, who + "has " + more + " that should be out"})
	}
	return out
}

// Stale lists the entries of Services in a kernel that are nobody's, or of a
// Service that is not in known.
func (n *Node) stale(known func(model.Name) bool) []Difference {
	var out []Difference
	for _, e := range n.Entries {
		k := entryKey{e.Address, e.Protocol}
		name, isService := strings.CutPrefix(e.Owner, model.KindService.String()+" ")
		switch {
		case e.Owner == "":
			out = append(out, Difference{k.String(), "is nobody's"})
		case isService && !known(model.ParseName(name)):
			out = append(out, Difference{k.String(), "belongs to Service " + name + ", which is gone"})
		}
	}
	slices.SortFunc(out, func(a, b Difference) int { return strings.Compare(a.Address, b.Address) })
	return out
}
