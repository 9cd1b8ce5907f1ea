package zone

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/model"
)

// Params are the settings of the zone.
type Params struct {
	Zone string       // "cluster.local", without a final dot
	TTL  uint32       // of every record but dns-version, and the SOA's minimum
	DNS  []netip.Addr // addresses of the DNS Service: glue of the zone's NS
}

// Records is what one Service is called. The zero value but for Name means: no
// such name.
type Records struct {
	Name  model.Name
	Alias string       // ExternalName: the CNAME's target, without a final dot; excludes the rest
	Addrs []netip.Addr // addresses of a Service that has ClusterIPs
	Ports []Port       // its ports
	Hosts []Host       // headless: the names below the Service's own, sorted by label
}

// Host is one name below a headless Service, "LABEL.SERVICE.NAMESPACE.svc.ZONE".
type Host struct {
	Label string       // the endpoint's hostname, else its dashed address
	Addrs []netip.Addr // several pods may share a hostname
	Ports []Port
}

// Port becomes an SRV record; under its own name only if it has one.
type Port struct {
	Name     string
	Protocol model.Protocol
	Port     uint16
}

// Label is the protocol's label in an SRV name, "_tcp".
func (p Port) Label() string { return "_" + strings.ToLower(p.Protocol.String()) }

// Empty says that the Service has no name at all.
func (r Records) Empty() bool { return r.Alias == "" && len(r.Addrs) == 0 && len(r.Hosts) == 0 }

// Type is an RR type.
type Type uint16

// The types that the zone holds.
const (
	A     Type = 1
	NS    Type = 2
	CNAME Type = 5
	SOA   Type = 6
	PTR   Type = 12
	TXT   Type = 16
	AAAA  Type = 28
	SRV   Type = 33
)

func (t Type) String() string {
	switch t {
	case A:
		return "A"
	case NS:
		return "NS"
	case CNAME:
		return "CNAME"
	case SOA:
		return "SOA"
	case PTR:
		return "PTR"
	case TXT:
		return "TXT"
	case AAAA:
		return "AAAA"
	case SRV:
		return "SRV"
	}
	return fmt.Sprintf("TYPE%d", uint16(t))
}

// RR is one record in full. All names are absolute, with their final dot.
type RR struct {
	Name   string
	TTL    uint32
	Type   Type
	Addr   netip.Addr // A, AAAA
	Target string     // CNAME, NS, PTR, SRV; SOA: the primary server
	Port   uint16     // SRV
	Weight uint16     // SRV
	Text   string     // TXT; SOA: the mailbox
	Timers [5]uint32  // SOA: serial, refresh, retry, expire, minimum
}

// String is the record in presentation format (RFC 1035, section 5.1).
func (r RR) String() string {
	var data string
	switch r.Type {
	case A, AAAA:
		data = r.Addr.String()
	case SRV:
		data = fmt.Sprintf("0 %d %d %s", r.Weight, r.Port, r.Target)
	case TXT:
		data = fmt.Sprintf("%q", r.Text)
	case SOA:
		data = strings.Trim(fmt.Sprintf("%s %s %v", r.Target, r.Text, r.Timers), "]")
		data = strings.Replace(data, "[", "", 1)
	default:
		data = r.Target
	}
	return fmt.Sprintf("%s %d IN %v %s", r.Name, r.TTL, r.Type, data)
}

// List spells out every record of the Service, its reverse names included.
// This is the literal reading of the specification; the server packs Records
// more tightly and is tested against this list.
func (r Records) List(p Params) []RR {
	own := r.Name.Name + "." + r.Name.Namespace + ".svc." + p.Zone + "."
	if r.Alias != "" {
		return []RR{{Name: own, TTL: p.TTL, Type: CNAME, Target: r.Alias + "."}}
	}
	var out []RR
	for _, a := range r.Addresses() {
		out = append(out, address(own, p.TTL, a))
	}
	var all []RR // what the own name answers to SRV
	named := map[string][]RR{}
	add := func(target string, ports []Port) {
		for _, port := range ports {
			rr := RR{TTL: p.TTL, Type: SRV, Target: target, Port: port.Port}
			all = addOnce(all, rr)
			if port.Name != "" {
				key := "_" + port.Name + "." + port.Label() + "." + own
				named[key] = append(named[key], rr)
			}
		}
	}
	add(own, r.Ports)
	for _, h := range r.Hosts {
		name := h.Label + "." + own
		for _, a := range h.Addrs {
			out = append(out, address(name, p.TTL, a), RR{Name: ReverseName(a), TTL: p.TTL, Type: PTR, Target: name})
		}
		var mine []RR
		for _, port := range h.Ports {
			mine = addOnce(mine, RR{TTL: p.TTL, Type: SRV, Target: name, Port: port.Port})
		}
		out = append(out, weigh(name, mine)...)
		add(name, h.Ports)
	}
	for _, a := range r.Addrs {
		out = append(out, RR{Name: ReverseName(a), TTL: p.TTL, Type: PTR, Target: own})
	}
	out = append(out, weigh(own, all)...)
	for name, rrs := range named {
		out = append(out, weigh(name, rrs)...)
	}
	return out
}

// Addresses are the addresses of the Service's own name.
func (r Records) Addresses() []netip.Addr {
	if len(r.Hosts) == 0 {
		return r.Addrs
	}
	var out []netip.Addr
	seen := make(map[netip.Addr]struct{}, len(r.Hosts))
	for _, h := range r.Hosts {
		for _, a := range h.Addrs {
			// Pods in the host's network may share an address under several names.
			if _, dup := seen[a]; !dup {
				seen[a] = struct{}{}
				out = append(out, a)
			}
		}
	}
	return out
}

// addOnce keeps a set of records free of duplicates (RFC 2181, section 5): a
// port number under TCP and UDP is one SRV record where no protocol is asked for.
func addOnce(rrs []RR, rr RR) []RR {
	if slices.Contains(rrs, rr) {
		return rrs
	}
	return append(rrs, rr)
}

// Weight is the weight of each of n SRV records: all are equal.
func Weight(n int) uint16 { return uint16(max(1, 100/max(1, n))) }

func weigh(name string, rrs []RR) []RR {
	out := make([]RR, len(rrs))
	for i, rr := range rrs {
		rr.Name, rr.Weight = name, Weight(len(rrs))
		out[i] = rr
	}
	return out
}

func address(name string, ttl uint32, a netip.Addr) RR {
	t := A
	if a.Is6() {
		t = AAAA
	}
	return RR{Name: name, TTL: ttl, Type: t, Addr: a}
}
