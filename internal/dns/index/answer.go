package index

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/fairway-net/fairway/internal/dns/wire"
	"github.com/fairway-net/fairway/internal/plan/zone"
)

// Result says what is to be done after Answer.
type Result uint8

// The results.
const (
	Answered  Result = iota // the reply is complete
	Elsewhere               // the name is not ours: ask upstream
	Follow                  // the reply holds a CNAME whose target is not ours: ask upstream for that
)

// maxChase bounds a chain of ExternalName Services. A longer one, or a loop,
// is SERVFAIL.
const maxChase = 8

// name is a name in lower-case wire form with the offsets of its labels.
type name struct {
	b      []byte
	labels []uint8
}

func (n name) label(i int) []byte {
	o := int(n.labels[i])
	return n.b[o+1 : o+1+int(n.b[o])]
}

func (n name) suffix(i int) []byte {
	if i == len(n.labels) {
		return n.b[len(n.b)-1:]
	}
	return n.b[n.labels[i]:]
}

// Answer answers the query that w was begun with. random rotates lists. After
// Follow, target is the name to ask for and owner the offset of that name in the reply.
func (x *Index) Answer(w *wire.Writer, random uint32) (res Result, target []byte, owner int) {
	q := w.Query()
	n := name{q.Lower(), q.Labels[:q.NumLabels]}
	if !x.mine(n) {
		if addr, ok := reverseAddr(n); ok {
			return x.answerReverse(w, n, addr), nil, 0
		}
		return Elsewhere, nil, 0
	}
	if !x.synced.Load() {
		w.Rcode(wire.ServFail)
		return Answered, nil, 0
	}
	w.Flag(wire.FlagAA)
	return x.chase(w, n, wire.QuestionName, random)
}

// chase answers for n, a name of the zone that stands at owner in the reply,
// and follows it through ExternalName Services.
func (x *Index) chase(w *wire.Writer, n name, owner int, random uint32) (Result, []byte, int) {
	q := w.Query()
	var labels [128]uint8
	for range maxChase {
		f := x.find(n)
		if f.service == nil || f.service.alias == nil {
			x.write(w, f, q.Type, owner, random)
			return Answered, nil, 0
		}
		if q.Type == wire.TypeANY {
			x.hinfo(w, owner)
			return Answered, nil, 0
		}
		var ok bool
		if owner, ok = w.CNAME(owner, f.service.alias, x.TTL()); !ok || q.Type == wire.TypeCNAME {
			return Answered, nil, 0
		}
		n = split(f.service.alias, &labels)
		if !x.mine(n) {
			return Follow, f.service.alias, owner
		}
	}
	w.Reset()
	w.Rcode(wire.ServFail)
	return Answered, nil, 0
}

// split finds the labels of a name; it uses the caller's memory.
func split(b []byte, labels *[128]uint8) name {
	k := 0
	for off := 0; b[off] != 0; off += 1 + int(b[off]) {
		labels[k] = uint8(off)
		k++
	}
	return name{b, labels[:k]}
}

// mine reports whether n is in the zone.
func (x *Index) mine(n name) bool {
	return len(n.labels) >= x.labels && bytes.Equal(n.suffix(len(n.labels)-x.labels), x.zone)
}

// found is what a name of the zone is. The zero value: it does not exist.
type found struct {
	exists  bool
	unknown bool // not yet
	apex    bool
	fixed   *fixed
	service *answers
	host    int       // index in service.hosts; -1: the Service's own name
	port    *portName // an SRV name
	pod     netip.Addr
}

func (x *Index) find(n name) found {
	rest := len(n.labels) - x.labels
	if rest > 0 {
		switch string(n.label(rest - 1)) {
		case "svc":
			if rest > 1 {
				return x.findService(n, rest-1)
			}
		case "pod":
			if PodMode(x.podMode.Load()) == PodsDisabled {
				return found{}
			}
			if rest > 1 {
				return x.findPod(n, rest-1)
			}
		}
	}
	f := (*x.fixed.Load())[string(n.b[:len(n.b)-len(x.zone)])]
	return found{exists: f != nil, fixed: f, apex: rest == 0}
}

// findService looks up a name of which rest labels are left of "svc".
func (x *Index) findService(n name, rest int) (f found) {
	if rest == 1 {
		return found{exists: x.spaces.get(n.b[n.labels[0]:n.labels[1]]) != nil}
	}
	a := x.services.get(n.b[n.labels[rest-2]:n.labels[rest]])
	if a == nil {
		return found{}
	}
	switch rest {
	case 2:
		return found{exists: true, service: a, host: -1}
	case 3:
		if a.alias != nil {
			return found{}
		}
		if h, ok := a.host(n.label(0)); ok {
			return found{exists: true, service: a, host: h}
		}
		return found{exists: a.hasProto(n.label(0))}
	case 4:
		for i := range a.names {
			if a.names[i].labels == string(n.b[:n.labels[2]]) {
				return found{exists: true, service: a, host: -1, port: &a.names[i]}
			}
		}
	}
	return found{}
}

// findPod knows every address of an existing namespace, whether or not a pod
// has it: that is what the specification's deprecated pod records are. Verified,
// it knows those that a pod has.
func (x *Index) findPod(n name, rest int) found {
	if rest > 2 || x.spaces.get(n.b[n.labels[rest-1]:n.labels[rest]]) == nil {
		return found{}
	}
	if rest == 1 {
		return found{exists: true}
	}
	addr, ok := zone.ParseDashed(string(n.label(0)))
	if ok && PodMode(x.podMode.Load()) == PodsVerified {
		if !x.podsSynced.Load() {
			return found{exists: true, unknown: true}
		}
		ok = x.claimed(addr, n.b[n.labels[1]:n.labels[2]])
	}
	return found{exists: ok, pod: addr}
}

// write answers a name that is not an alias; owner is where that name stands
// in the reply.
func (x *Index) write(w *wire.Writer, f found, qtype uint16, owner int, random uint32) {
	before := len(w.Buf)
	switch {
	case f.unknown:
		w.Reset()
		w.Rcode(wire.ServFail)
		return
	case !f.exists:
		w.Rcode(wire.NXDomain)
		x.soa(w, wire.Authority)
		return
	case qtype == wire.TypeANY:
		x.hinfo(w, owner)
		return
	case f.fixed != nil:
		x.writeFixed(w, f, qtype, owner)
	case f.pod.IsValid():
		if (qtype == wire.TypeA && f.pod.Is4()) || (qtype == wire.TypeAAAA && f.pod.Is6()) {
			var buf [len6]byte
			addrs(w, wire.Answer, x.packAddr(buf[:0], f.pod), owner, 0)
		}
	case f.service != nil:
		f.service.write(x, w, f, qtype, owner, random)
	}
	if len(w.Buf) == before && !w.Truncated() {
		x.soa(w, wire.Authority)
	}
}

func (x *Index) writeFixed(w *wire.Writer, f found, qtype uint16, owner int) {
	if f.apex && qtype == wire.TypeSOA {
		x.soa(w, wire.Answer)
		return
	}
	for _, rr := range f.fixed.rrs {
		if rr.rrtype == qtype {
			at := len(w.Buf)
			if w.Packed(wire.Answer, rr.wire, 1) {
				binary.BigEndian.PutUint16(w.Buf[at:], wire.Pointer(owner))
			}
		}
	}
	if f.apex && qtype == wire.TypeNS {
		x.glue(w)
	}
}

// glue adds the addresses of the name server. Their owner is the data of the
// NS record, the first after the question, which is the only one.
func (x *Index) glue(w *wire.Writer) {
	data := wire.QuestionName + len(w.Query().Name) + 4 + wire.HeadLen
	for _, rr := range (*x.fixed.Load())["\x02ns\x03dns"].rrs {
		at := len(w.Buf)
		if w.Packed(wire.Additional, rr.wire, 1) {
			binary.BigEndian.PutUint16(w.Buf[at:], wire.Pointer(data))
		}
	}
}

func (a *answers) write(x *Index, w *wire.Writer, f found, qtype uint16, owner int, random uint32) {
	switch {
	case qtype == wire.TypeSRV:
		a.writeSRV(x, w, f, owner, random)
	case f.port != nil:
	case qtype == wire.TypeA && f.host < 0:
		addrs(w, wire.Answer, a.v4(), owner, random)
	case qtype == wire.TypeA:
		addrs(w, wire.Answer, a.packed4(&a.hosts[f.host]), owner, random)
	case qtype == wire.TypeAAAA && f.host < 0:
		addrs(w, wire.Answer, a.v6(), owner, random)
	case qtype == wire.TypeAAAA:
		addrs(w, wire.Answer, a.packed6(&a.hosts[f.host]), owner, random)
	}
}

// addrs writes packed address records, all of the type of the first, from a
// random one on, as many as fit.
func addrs(w *wire.Writer, s wire.Section, rrs []byte, owner int, random uint32) {
	if len(rrs) == 0 {
		return
	}
	size := len4
	if rrs[3] == wire.TypeAAAA {
		size = len6
	}
	n := len(rrs) / size
	start := 0
	if n > 1 {
		start = int(uint64(random) * uint64(n) >> 32)
	}
	at := len(w.Buf)
	if w.Room() >= len(rrs) {
		w.Packed(s, rrs[start*size:], n-start)
		w.Packed(s, rrs[:start*size], start)
	} else {
		for i := range n {
			j := (start + i) % n * size
			if !w.Packed(s, rrs[j:j+size], 1) {
				break
			}
		}
	}
	if owner != wire.QuestionName {
		for ; at < len(w.Buf); at += size {
			binary.BigEndian.PutUint16(w.Buf[at:], wire.Pointer(owner))
		}
	}
}

// placed is a host whose name stands at off in the reply.
type placed struct {
	host int
	off  int
}

// writeSRV answers the SRV records of a port name, of one host, or of the own
// name, which lists all ports. Targets are never compressed: RFC 2782 forbids
// it and the resolver of Go refuses it. Addresses of the targets follow where they fit.
func (a *answers) writeSRV(x *Index, w *wire.Writer, f found, owner int, random uint32) {
	from, n, total := 0, len(a.hosts), a.srv
	switch {
	case f.port != nil:
		total = f.port.srv
	case f.host >= 0:
		from, n = f.host, 1
		total = distinct(a.lists[a.hosts[f.host].ports])
	}
	start := int(uint64(random) * uint64(n) >> 32)
	weight := zone.Weight(total)
	var extra [32]placed
	extras := 0
	for i := range n {
		h := from + (start+i)%n
		first := true
		ports := a.lists[a.hosts[h].ports]
		for i, p := range ports {
			if f.port == nil && repeated(ports, i) || f.port != nil && (p.Name != f.port.name || p.Protocol != f.port.proto) {
				continue
			}
			off, ok := a.srvRecord(x, w, &a.hosts[h], p, weight, owner)
			if !ok {
				return
			}
			if first && extras < len(extra) && off < 1<<14 {
				extra[extras] = placed{h, off}
				extras++
			}
			first = false
		}
	}
	for _, e := range extra[:extras] {
		addrs(w, wire.Additional, a.packed4(&a.hosts[e.host]), e.off, random)
		addrs(w, wire.Additional, a.packed6(&a.hosts[e.host]), e.off, random)
	}
}

// srvRecord writes one record and returns where its target stands.
func (a *answers) srvRecord(x *Index, w *wire.Writer, h *host, p zone.Port, weight uint16, owner int) (int, bool) {
	size := 6 + len(*a.key) + len(x.suffix)
	if h.label != "" {
		size += 1 + len(h.label)
	}
	if !w.Fits(wire.Answer, wire.HeadLen+size) {
		return 0, false
	}
	w.Head(wire.Pointer(owner), wire.TypeSRV, x.TTL(), size)
	w.Buf = append(w.Buf, 0, 0, byte(weight>>8), byte(weight), byte(p.Port>>8), byte(p.Port))
	off := len(w.Buf)
	w.Buf = x.appendTarget(w.Buf, h.label, *a.key)
	w.Added(wire.Answer)
	return off, true
}

func (x *Index) appendTarget(b []byte, label, key string) []byte {
	if label != "" {
		b = append(append(b, byte(len(label))), label...)
	}
	return append(append(b, key...), x.suffix...)
}

// hinfo is the small answer to ANY (RFC 8482, section 4.2).
func (x *Index) hinfo(w *wire.Writer, owner int) {
	const data = "\x07RFC8482\x00"
	if w.Fits(wire.Answer, wire.HeadLen+len(data)) {
		w.Head(wire.Pointer(owner), wire.TypeHINFO, x.TTL(), len(data))
		w.Buf = append(w.Buf, data...)
		w.Added(wire.Answer)
	}
}

// soa writes the zone's SOA. All of its names end in the zone, and the
// question does too.
func (x *Index) soa(w *wire.Writer, s wire.Section) {
	q := w.Query()
	at := wire.QuestionName + len(q.Name) - len(x.zone)
	const ns, mbox = "\x02ns\x03dns", "\x0ahostmaster"
	size := len(ns) + 2 + len(mbox) + 2 + 20
	if !w.Fits(s, wire.HeadLen+size) {
		return
	}
	w.Head(wire.Pointer(at), wire.TypeSOA, x.TTL(), size)
	w.Buf = binary.BigEndian.AppendUint16(append(w.Buf, ns...), wire.Pointer(at))
	w.Buf = binary.BigEndian.AppendUint16(append(w.Buf, mbox...), wire.Pointer(at))
	x.timers(w, s)
}

func (x *Index) timers(w *wire.Writer, s wire.Section) {
	for _, v := range [5]uint32{x.serial.Load(), 7200, 1800, 86400, x.TTL()} {
		w.Buf = binary.BigEndian.AppendUint32(w.Buf, v)
	}
	w.Added(s)
}
