package index

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/dns/wire"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/zone"
)

const maxLabel = 63

// Sizes of packed address records: head and address.
const (
	len4 = wire.HeadLen + 4
	len6 = wire.HeadLen + 16
)

// answers is what one Service answers; it never changes.
type answers struct {
	key    *string // its two labels in wire form, "\x03web\x07default": the same for the life of the Service
	alias  []byte  // target of the CNAME in wire form; nil: no ExternalName
	v4, v6 []byte  // packed records of the Service's own name
	hosts  []host  // targets of SRV records, by label; the only one of a ClusterIP Service is "", the Service itself
	h4, h6 []byte  // packed records of the hosts, in their order; usually v4 and v6
	ports  [][]zone.Port
	names  []portName
	srv    int // SRV records at the own name
}

// host refers to its addresses in h4 and h6 by index, to its ports by the
// index of their list: lists are shared, 50,000 endpoints have few.
type host struct {
	label    string
	at4, at6 uint32
	n4, n6   uint16
	ports    uint16
}

// portName is a name below the Service's that answers SRV.
type portName struct {
	labels string // in wire form: "\x05_http\x04_tcp"
	name   string
	proto  model.Protocol
	srv    int // SRV records there
}

// Key is a Service's two labels in wire form.
func key(n model.Name) string {
	return label(n.Name) + label(n.Namespace)
}

func label(s string) string { return string([]byte{byte(len(s))}) + strings.ToLower(s) }

// parseKey is the inverse of key.
func parseKey(k string) model.Name {
	n := int(k[0])
	return model.Name{Name: k[1 : 1+n], Namespace: k[2+n:]}
}

// pack returns nil for records that are empty.
func (x *Index) pack(k string, r zone.Records) *answers {
	if len(r.Name.Name) > maxLabel || len(r.Name.Namespace) > maxLabel {
		return nil // the API server refuses such names, a file may have them
	}
	a := &answers{key: &k}
	if r.Alias != "" {
		name, ok := wire.PackName(r.Alias)
		if !ok {
			return nil // longer than a name may be: the API server refuses it
		}
		a.alias = name
		return a
	}
	hosts := r.Hosts
	if len(r.Addrs) > 0 {
		hosts = []zone.Host{{Addrs: r.Addrs, Ports: r.Ports}}
	}
	if len(hosts) == 0 {
		return nil
	}
	a.hosts = make([]host, 0, len(hosts))
	total := 0
	for _, h := range hosts {
		e := host{label: h.Label, at4: uint32(len(a.h4) / len4), at6: uint32(len(a.h6) / len6), ports: a.portList(h.Ports)}
		for _, addr := range h.Addrs {
			if addr.Is4() {
				a.h4 = x.packAddr(a.h4, addr)
				e.n4++
			} else {
				a.h6 = x.packAddr(a.h6, addr)
				e.n6++
			}
		}
		a.hosts = append(a.hosts, e)
		a.countSRV(h.Ports)
		total += len(h.Addrs)
	}
	a.h4, a.h6 = slices.Clip(a.h4), slices.Clip(a.h6)
	a.v4, a.v6 = a.h4, a.h6
	if own := r.Addresses(); len(own) != total {
		a.v4, a.v6 = nil, nil
		for _, addr := range own {
			if addr.Is4() {
				a.v4 = x.packAddr(a.v4, addr)
			} else {
				a.v6 = x.packAddr(a.v6, addr)
			}
		}
	}
	return a
}

func (x *Index) packAddr(b []byte, a netip.Addr) []byte {
	if a.Is4() {
		ip := a.As4()
		return append(wire.AppendHead(b, wire.Pointer(wire.QuestionName), wire.TypeA, x.params.TTL, 4), ip[:]...)
	}
	ip := a.As16()
	return append(wire.AppendHead(b, wire.Pointer(wire.QuestionName), wire.TypeAAAA, x.params.TTL, 16), ip[:]...)
}

func (a *answers) portList(ports []zone.Port) uint16 {
	for i, have := range a.ports {
		if slices.Equal(have, ports) {
			return uint16(i)
		}
	}
	a.ports = append(a.ports, ports)
	return uint16(len(a.ports) - 1)
}

func (a *answers) countSRV(ports []zone.Port) {
	a.srv += distinct(ports)
next:
	for _, p := range ports {
		if p.Name == "" {
			continue
		}
		for i := range a.names {
			if a.names[i].name == p.Name && a.names[i].proto == p.Protocol {
				a.names[i].srv++
				continue next
			}
		}
		a.names = append(a.names, portName{labels: label("_"+p.Name) + label(p.Label()), name: p.Name, proto: p.Protocol, srv: 1})
	}
}

// distinct counts the SRV records that ports make at a name that lists all of
// them: there the same number under TCP and UDP is one record (RFC 2181, section 5).
func distinct(ports []zone.Port) (n int) {
	for i := range ports {
		if !repeated(ports, i) {
			n++
		}
	}
	return n
}

// repeated reports whether a port before the i-th has the same number.
func repeated(ports []zone.Port, i int) bool {
	for _, p := range ports[:i] {
		if p.Port == ports[i].Port {
			return true
		}
	}
	return false
}

// host finds the host called l.
func (a *answers) host(l []byte) (int, bool) {
	lo, hi := 0, len(a.hosts)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if a.hosts[mid].label < string(l) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < len(a.hosts) && len(l) > 0 && a.hosts[lo].label == string(l)
}

// hasProto says whether a named port uses the protocol label l, "_tcp": then
// that name is an empty non-terminal.
func (a *answers) hasProto(l []byte) bool {
	for i := range a.names {
		s := a.names[i].labels
		if s[2+int(s[0]):] == string(l) {
			return true
		}
	}
	return false
}

// packed4 and packed6 are the packed addresses of a host.
func (a *answers) packed4(h *host) []byte { return a.h4[int(h.at4)*len4:][:int(h.n4)*len4] }
func (a *answers) packed6(h *host) []byte { return a.h6[int(h.at6)*len6:][:int(h.n6)*len6] }
