package index

import (
	"bytes"
	"net/netip"
	"slices"

	"github.com/fairway-net/fairway/internal/dns/wire"
)

// target is what a reverse name points at.
type target struct {
	service *string // the Service's key
	label   string  // "": the Service itself
}

// pointers are all targets of one address, Services before hosts. Nearly always
// there is one. A list never changes.
type pointers struct {
	target
	more *pointers
}

func (p *pointers) has(t target) bool {
	for ; p != nil; p = p.more {
		if p.target == t {
			return true
		}
	}
	return false
}

// with returns the list with t, which it does not have.
func (p *pointers) with(t target) *pointers {
	if p == nil || t.label == "" {
		return &pointers{t, p}
	}
	return &pointers{p.target, p.more.with(t)}
}

func (p *pointers) without(t target) *pointers {
	switch {
	case p == nil:
		return nil
	case p.target == t:
		return p.more
	}
	return &pointers{p.target, p.more.without(t)}
}

// pair is one reverse record.
type pair struct {
	addr string // 4 bytes or 16
	target
}

// reverseDiff lists the reverse records that are only in b, and those only in
// a. Hosts that did not change, nearly all in a large Service, cost a comparison.
func reverseDiff(a, b *answers) (add, remove []pair) {
	var as, bs []host
	if a != nil {
		as = a.hosts
	}
	if b != nil {
		bs = b.hosts
	}
	for i, j := 0, 0; i < len(as) || j < len(bs); {
		switch {
		case j == len(bs) || (i < len(as) && as[i].label < bs[j].label):
			remove = a.pairs(remove, &as[i])
			i++
		case i == len(as) || bs[j].label < as[i].label:
			add = b.pairs(add, &bs[j])
			j++
		default:
			if !bytes.Equal(a.packed4(&as[i]), b.packed4(&bs[j])) || !bytes.Equal(a.packed6(&as[i]), b.packed6(&bs[j])) {
				was, is := a.pairs(nil, &as[i]), b.pairs(nil, &bs[j])
				for _, p := range is {
					if !slices.Contains(was, p) {
						add = append(add, p)
					}
				}
				for _, p := range was {
					if !slices.Contains(is, p) {
						remove = append(remove, p)
					}
				}
			}
			i++
			j++
		}
	}
	return add, remove
}

func (a *answers) pairs(out []pair, h *host) []pair {
	t := target{a.key, h.label}
	for b := a.packed4(h); len(b) > 0; b = b[len4:] {
		out = append(out, pair{string(b[wire.HeadLen:len4]), t})
	}
	for b := a.packed6(h); len(b) > 0; b = b[len6:] {
		out = append(out, pair{string(b[wire.HeadLen:len6]), t})
	}
	return out
}

// mapped is the prefix of a v4-mapped IPv6 address.
const mapped = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xFF\xFF"

func (x *Index) addPointer(p pair) {
	if old := x.reverse.get([]byte(p.addr)); !old.has(p.target) {
		x.reverse.set(p.addr, old.with(p.target))
	}
}

func (x *Index) removePointer(p pair) {
	old := x.reverse.get([]byte(p.addr))
	if old == nil {
		return
	}
	if list := old.without(p.target); list != nil {
		x.reverse.set(p.addr, list)
	} else {
		x.reverse.del(p.addr)
	}
}

// reverseAddr reads the address out of a name under in-addr.arpa or ip6.arpa,
// in lower case. ok is false for names that are not a whole address.
func reverseAddr(n name) (addr [16]byte, ok bool) {
	switch {
	case len(n.labels) == 6 && string(n.suffix(4)) == "\x07in-addr\x04arpa\x00":
		copy(addr[:], mapped)
		for i := range 4 {
			v, ok := octet(n.label(i))
			if !ok {
				return addr, false
			}
			addr[15-i] = v
		}
		return addr, true
	case len(n.labels) == 34 && string(n.suffix(32)) == "\x03ip6\x04arpa\x00":
		for i := range 32 {
			l := n.label(i)
			v, ok := nibble(l)
			if !ok {
				return addr, false
			}
			addr[15-i/2] |= v << (4 * (i % 2))
		}
		return addr, true
	}
	return addr, false
}

func octet(l []byte) (byte, bool) {
	if len(l) == 0 || len(l) > 3 || (l[0] == '0' && len(l) > 1) {
		return 0, false
	}
	v := 0
	for _, c := range l {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = v*10 + int(c-'0')
	}
	return byte(v), v < 256
}

func nibble(l []byte) (byte, bool) {
	if len(l) != 1 {
		return 0, false
	}
	switch c := l[0]; {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}

// answerReverse answers a reverse name. A Service's own address names the
// Service, whatever endpoints share it.
func (x *Index) answerReverse(w *wire.Writer, n name, addr [16]byte) Result {
	if !x.synced.Load() {
		w.Rcode(wire.ServFail)
		return Answered
	}
	list := x.reverse.get(bytes.TrimPrefix(addr[:], []byte(mapped)))
	if list == nil {
		if !x.owns(addr) {
			return Elsewhere
		}
		w.Flag(wire.FlagAA)
		w.Rcode(wire.NXDomain)
		x.reverseSOA(w, wire.QuestionName+int(n.labels[1]))
		return Answered
	}
	w.Flag(wire.FlagAA)
	switch w.Query().Type {
	case wire.TypeANY:
		x.hinfo(w, wire.QuestionName)
	case wire.TypePTR:
		for t := list; t != nil; t = t.more {
			if list.label == "" && t.label != "" {
				break
			}
			size := len(*t.service) + len(x.suffix)
			if t.label != "" {
				size += 1 + len(t.label)
			}
			if !w.Fits(wire.Answer, wire.HeadLen+size) {
				break
			}
			w.Head(wire.Pointer(wire.QuestionName), wire.TypePTR, x.TTL(), size)
			w.Buf = x.appendTarget(w.Buf, t.label, *t.service)
			w.Added(wire.Answer)
		}
	default:
		x.reverseSOA(w, wire.QuestionName)
	}
	return Answered
}

func (x *Index) owns(addr [16]byte) bool {
	a := netip.AddrFrom16(addr).Unmap()
	for _, p := range x.params.Reverse {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// reverseSOA is the SOA of a reverse name, whose question does not end in the
// zone; at is where its owner stands.
func (x *Index) reverseSOA(w *wire.Writer, at int) {
	const ns, mbox = "\x02ns\x03dns", "\x0ahostmaster"
	size := len(ns) + len(mbox) + 2*len(x.zone) + 20
	if !w.Fits(wire.Authority, wire.HeadLen+size) {
		return
	}
	w.Head(wire.Pointer(at), wire.TypeSOA, x.TTL(), size)
	w.Buf = append(append(w.Buf, ns...), x.zone...)
	w.Buf = append(append(w.Buf, mbox...), x.zone...)
	x.timers(w, wire.Authority)
}
