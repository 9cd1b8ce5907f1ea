package index

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
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

// answers is what one Service answers; it never changes. There are very many.
type answers struct {
	key    *string // its two labels in wire form, "\x03web\x07default": the same for the life of the Service
	alias  []byte  // target of the CNAME in wire form; nil: no ExternalName
	hosts  []host  // targets of SRV records, by label; the only one of a ClusterIP Service is "", the Service itself
	h4, h6 []byte  // packed records of the hosts, in their order
	own    *packs  // of the Service's own name; nil: the same
	*ports
}

// packs are packed address records of both families.
type packs struct{ v4, v6 []byte }

// ports is what a Service's SRV records are made of: many Services have the same.
type ports struct {
	lists [][]zone.Port // of hosts
	names []portName
	srv   int // SRV records at the own name
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
		a.alias, a.ports = name, x.shared(&ports{})
		return a
	}
	hosts := r.Hosts
	if len(r.Addrs) > 0 {
		hosts = []zone.Host{{Addrs: r.Addrs, Ports: r.Ports}}
	}
	if len(hosts) == 0 {
		return nil
	}
	a.hosts, a.ports = make([]host, 0, len(hosts)), &ports{}
	total, n4, n6 := count(hosts)
	a.h4, a.h6 = makeFor(n4*len4), makeFor(n6*len6)
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
	}
	a.ports = x.shared(a.ports)
	if own := r.Addresses(); len(own) != total {
		a.own = &packs{}
		for _, addr := range own {
			if addr.Is4() {
				a.own.v4 = x.packAddr(a.own.v4, addr)
			} else {
				a.own.v6 = x.packAddr(a.own.v6, addr)
			}
		}
	}
	return a
}

// count counts the addresses of hosts, all and by family.
func count(hosts []zone.Host) (all, n4, n6 int) {
	for _, h := range hosts {
		for _, addr := range h.Addrs {
			if all++; addr.Is4() {
				n4++
			} else {
				n6++
			}
		}
	}
	return all, n4, n6
}

func makeFor(n int) []byte {
	if n == 0 {
		return nil
	}
	return make([]byte, 0, n)
}

// v4 and v6 are the packed addresses of the Service's own name.
func (a *answers) v4() []byte {
	if a.own != nil {
		return a.own.v4
	}
	return a.h4
}

func (a *answers) v6() []byte {
	if a.own != nil {
		return a.own.v6
	}
	return a.h6
}

// with returns the same answers with another TTL.
func (a *answers) with(ttl uint32) *answers {
	b := *a
	b.h4, b.h6 = setTTL(a.h4, len4, ttl), setTTL(a.h6, len6, ttl)
	if a.own != nil {
		b.own = &packs{setTTL(a.own.v4, len4, ttl), setTTL(a.own.v6, len6, ttl)}
	}
	return &b
}

// setTTL returns a copy of packed records of one size with another TTL.
func setTTL(rrs []byte, size int, ttl uint32) []byte {
	out := slices.Clone(rrs)
	for at := 0; at < len(out); at += size {
		binary.BigEndian.PutUint32(out[at+wire.TTLAt:], ttl)
	}
	return out
}

// commonPorts is how many different sets of ports are shared: beyond it they are
// not so common after all.
const commonPorts = 1024

// shared returns a set of ports like p that others have too.
func (x *Index) shared(p *ports) *ports {
	var b []byte
	for _, list := range p.lists {
		b = append(b, '|')
		for _, port := range list {
			b = append(append(b, byte(port.Protocol), byte(port.Port>>8), byte(port.Port), byte(len(port.Name))), port.Name...)
		}
	}
	for i := range p.names {
		b = strconv.AppendInt(append(b, ','), int64(p.names[i].srv), 10)
	}
	if len(b) > 1<<10 {
		return p
	}
	b = strconv.AppendInt(append(b, ','), int64(p.srv), 10)
	if have := x.portSets[string(b)]; have != nil {
		return have
	}
	if len(x.portSets) >= commonPorts {
		clear(x.portSets)
	}
	x.portSets[string(b)] = p
	return p
}

func (x *Index) packAddr(b []byte, a netip.Addr) []byte {
	if a.Is4() {
		ip := a.As4()
		return append(wire.AppendHead(b, wire.Pointer(wire.QuestionName), wire.TypeA, x.TTL(), 4), ip[:]...)
	}
	ip := a.As16()
	return append(wire.AppendHead(b, wire.Pointer(wire.QuestionName), wire.TypeAAAA, x.TTL(), 16), ip[:]...)
}

func (p *ports) portList(list []zone.Port) uint16 {
	for i, have := range p.lists {
		if slices.Equal(have, list) {
			return uint16(i)
		}
	}
	p.lists = append(p.lists, list)
	return uint16(len(p.lists) - 1)
}

func (p *ports) countSRV(list []zone.Port) {
	p.srv += distinct(list)
next:
	for _, port := range list {
		if port.Name == "" {
			continue
		}
		for i := range p.names {
			if p.names[i].name == port.Name && p.names[i].proto == port.Protocol {
				p.names[i].srv++
				continue next
			}
		}
		p.names = append(p.names, portName{labels: label("_"+port.Name) + label(port.Label()), name: port.Name, proto: port.Protocol, srv: 1})
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
func (p *ports) hasProto(l []byte) bool {
	for i := range p.names {
		s := p.names[i].labels
		if s[2+int(s[0]):] == string(l) {
			return true
		}
	}
	return false
}

// packed4 and packed6 are the packed addresses of a host.
func (a *answers) packed4(h *host) []byte { return a.h4[int(h.at4)*len4:][:int(h.n4)*len4] }
func (a *answers) packed6(h *host) []byte { return a.h6[int(h.at6)*len6:][:int(h.n6)*len6] }
