package wire

import (
	"encoding/binary"
)

// QuestionName is where the question's name lies in every message, and
// therefore what a compression pointer to it points at.
const QuestionName = HeaderLen

const optLen = 11

// Section is a part of a message.
type Section uint8

// The sections that hold records.
const (
	Answer Section = iota
	Authority
	Additional
)

// Writer writes one reply. Begin, then records section by section, then Finish.
type Writer struct {
	Buf   []byte // the reply so far
	limit int    // without room for the OPT record
	query *Query
	count [3]uint16
	flags uint16
	rcode int
	full  bool
}

// Begin starts the reply to q in buf[:0]; it will not be longer than limit. The
// question is repeated byte for byte: clients check its case (draft dns0x20).
func (w *Writer) Begin(buf []byte, q *Query, limit int) {
	*w = Writer{query: q, limit: limit, flags: FlagQR | FlagRA | q.Flags&(FlagRD|FlagCD|opcodeMask)}
	if q.EDNS {
		w.limit -= optLen
	}
	var questions byte
	w.Buf = append(buf[:0], byte(q.ID>>8), byte(q.ID), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	if len(q.Name) > 0 {
		questions = 1
		w.Buf = append(w.Buf, q.Name...)
		w.Buf = append(w.Buf, byte(q.Type>>8), byte(q.Type), byte(q.Class>>8), byte(q.Class))
	}
	w.Buf[5] = questions
}

// Query is the query that is being answered.
func (w *Writer) Query() *Query { return w.query }

// Rcode sets the response code.
func (w *Writer) Rcode(rcode int) { w.rcode = rcode }

// Flag sets header flags.
func (w *Writer) Flag(f uint16) { w.flags |= f }

// Fits reports whether n more bytes fit; where they do not and the section is
// the answer or the authority, the reply is marked as truncated.
func (w *Writer) Fits(s Section, n int) bool {
	if !w.full && len(w.Buf)+n <= w.limit {
		return true
	}
	if s != Additional {
		w.flags |= FlagTC
		w.full = true
	}
	return false
}

// Room is how many more bytes fit.
func (w *Writer) Room() int {
	if w.full {
		return 0
	}
	return w.limit - len(w.Buf)
}

// Truncated says that something did not fit.
func (w *Writer) Truncated() bool { return w.full }

// Packed appends complete records, count of them, that a cache or a zone has
// in wire form already.
func (w *Writer) Packed(s Section, rrs []byte, count int) bool {
	if !w.Fits(s, len(rrs)) {
		return false
	}
	w.Buf = append(w.Buf, rrs...)
	w.count[s] += uint16(count)
	return true
}

// Body appends the records of all sections at once.
func (w *Writer) Body(rrs []byte, counts [3]uint16) bool {
	if !w.Fits(Answer, len(rrs)) {
		return false
	}
	w.Buf = append(w.Buf, rrs...)
	for s, n := range counts {
		w.count[s] += n
	}
	return true
}

// Added counts a record that the caller has appended to Buf after Fits.
func (w *Writer) Added(s Section) { w.count[s]++ }

// Pointer is a compression pointer to offset off of the message.
func Pointer(off int) uint16 { return 0xC000 | uint16(off) }

// Head appends owner (as a pointer), type, class IN, ttl and the length of the
// data, which the caller appends next.
func (w *Writer) Head(owner, rrtype uint16, ttl uint32, length int) {
	w.Buf = AppendHead(w.Buf, owner, rrtype, ttl, length)
}

// HeadLen is what Head appends; the TTL is in it at TTLAt.
const (
	HeadLen = 12
	TTLAt   = 6
)

// AppendHead is Head for records that are packed ahead of time.
func AppendHead(b []byte, owner, rrtype uint16, ttl uint32, length int) []byte {
	return append(b, byte(owner>>8), byte(owner), byte(rrtype>>8), byte(rrtype), 0, ClassIN,
		byte(ttl>>24), byte(ttl>>16), byte(ttl>>8), byte(ttl), byte(length>>8), byte(length))
}

// CNAME appends the record that sends the name at owner on to target, a name in
// wire form, and returns where target stands then. ok is false if it does not fit.
func (w *Writer) CNAME(owner int, target []byte, ttl uint32) (at int, ok bool) {
	if !w.Fits(Answer, HeadLen+len(target)) {
		return 0, false
	}
	w.Head(Pointer(owner), TypeCNAME, ttl, len(target))
	at = len(w.Buf)
	w.Buf = append(w.Buf, target...)
	w.Added(Answer)
	return at, true
}

// Reset drops all records, to answer otherwise after all.
func (w *Writer) Reset() {
	end := HeaderLen
	if len(w.query.Name) > 0 {
		end += len(w.query.Name) + 4
	}
	w.Buf = w.Buf[:end]
	w.count, w.full, w.rcode = [3]uint16{}, false, NoError
	w.flags &^= FlagTC | FlagAA
}

// Finish writes header and OPT record and returns the message.
func (w *Writer) Finish() []byte {
	b := w.Buf
	if w.query.EDNS {
		var do byte
		if w.query.DO {
			do = 0x80
		}
		b = append(b, 0, 0, TypeOPT, MaxUDP>>8, MaxUDP&0xFF, byte(w.rcode>>4), 0, do, 0, 0, 0)
		w.count[Additional]++
	}
	flags := w.flags | uint16(w.rcode&15)
	binary.BigEndian.PutUint16(b[2:], flags)
	for s, n := range w.count {
		binary.BigEndian.PutUint16(b[6+2*s:], n)
	}
	w.Buf = b
	return b
}

// Code is the response code so far.
func (w *Writer) Code() int { return w.rcode }

// Limit is the size of the largest reply to q over UDP.
func Limit(q *Query) int { return min(int(q.Size), MaxUDP) }
