package wire

import (
	"encoding/binary"
)

// Problem is what is wrong with a query.
type Problem uint8

// The problems. Those up to Reply get no answer at all: answering them would
// make the server a reflector, or two servers talk to each other for ever.
const (
	OK          Problem = iota
	Short               // shorter than a header
	Oversized           // longer than any query; Parse does not see it
	Reply               // a response, not a query
	BadOpcode           // anything but QUERY
	BadQuestion         // not exactly one question, or one that cannot be read
	BadRecord           // a record after the question cannot be read
	BadOPT              // two OPT records, or one with a name
	BadVersion          // EDNS of a version that we do not know
	NumProblems int     = iota
)

// String is the problem's name in metrics.
func (p Problem) String() string {
	return [...]string{"ok", "short", "oversized", "reply", "opcode", "question", "record", "opt", "version"}[p]
}

// Rcode is the answer to a query with the problem.
func (p Problem) Rcode() int {
	switch p {
	case OK:
		return NoError
	case BadOpcode:
		return NotImp
	case BadVersion:
		return BadVers
	}
	return FormErr
}

// Query is a parsed query. It is meant to be used again and again: Parse
// overwrites it, and it refers to the message it was parsed from.
type Query struct {
	ID    uint16
	Flags uint16
	Name  []byte // the question's name as asked, in wire form with the root label
	Type  uint16
	Class uint16

	EDNS bool   // the query has an OPT record
	DO   bool   // DNSSEC OK
	Size uint16 // the largest UDP reply that the client takes

	// Lower[:len(Name)] is Name in lower case; Labels[:NumLabels] are the
	// offsets of its labels in it, the root not counted.
	NumLabels int
	Labels    [128]uint8
	lower     [maxName]byte
}

// Lower is the name in lower case.
func (q *Query) Lower() []byte { return q.lower[:len(q.Name)] }

// Suffix is the lower-case name without its first n labels.
func (q *Query) Suffix(n int) []byte {
	if n >= q.NumLabels {
		return q.lower[len(q.Name)-1 : len(q.Name)]
	}
	return q.lower[q.Labels[n]:len(q.Name)]
}

// Label is the n-th label from the left in lower case, without its length byte.
func (q *Query) Label(n int) []byte {
	o := int(q.Labels[n])
	return q.lower[o+1 : o+1+int(q.lower[o])]
}

// Parse reads msg. After a problem other than Short and Reply, enough of q is
// set to answer with Problem.Rcode; Name is empty if the question cannot be repeated.
func (q *Query) Parse(msg []byte) Problem {
	q.Name, q.EDNS, q.DO, q.Size, q.NumLabels = nil, false, false, MinUDP, 0
	q.Type, q.Class = 0, 0
	if len(msg) < HeaderLen {
		return Short
	}
	q.ID = binary.BigEndian.Uint16(msg)
	q.Flags = binary.BigEndian.Uint16(msg[2:])
	if q.Flags&FlagQR != 0 {
		return Reply
	}
	if q.Flags&opcodeMask != 0 {
		return BadOpcode
	}
	if binary.BigEndian.Uint16(msg[4:]) != 1 {
		return BadQuestion
	}
	off, ok := q.parseName(msg)
	if !ok || len(msg) < off+4 {
		q.Name = nil
		return BadQuestion
	}
	q.Type = binary.BigEndian.Uint16(msg[off:])
	q.Class = binary.BigEndian.Uint16(msg[off+2:])
	records := int(binary.BigEndian.Uint16(msg[6:])) + int(binary.BigEndian.Uint16(msg[8:])) + int(binary.BigEndian.Uint16(msg[10:]))
	if records == 0 {
		return OK
	}
	additional := records - int(binary.BigEndian.Uint16(msg[10:]))
	return q.parseRecords(msg, off+4, records, additional)
}

// parseName reads the question's name. It must not be compressed: there is
// nothing before it that a pointer could mean.
func (q *Query) parseName(msg []byte) (end int, ok bool) {
	off, n := HeaderLen, 0
	for {
		if off >= len(msg) || off-HeaderLen >= maxName {
			return 0, false
		}
		l := int(msg[off])
		at := off - HeaderLen
		q.lower[at] = byte(l)
		off++
		if l == 0 {
			break
		}
		if l > 63 || off+l > len(msg) || at+1+l >= maxName {
			return 0, false
		}
		q.Labels[n] = uint8(at)
		n++
		lowerInto(q.lower[at+1:], msg[off:off+l])
		off += l
	}
	q.NumLabels = n
	q.Name = msg[HeaderLen:off]
	return off, true
}

// parseRecords looks for the OPT record; all others are of no interest.
func (q *Query) parseRecords(msg []byte, off, records, additional int) Problem {
	for i := range records {
		start := off
		rr, end, ok := parseRR(msg, off)
		if !ok {
			return BadRecord
		}
		off = end
		if rr.Type != TypeOPT {
			continue
		}
		if q.EDNS || i < additional || msg[start] != 0 {
			return BadOPT
		}
		q.EDNS = true
		q.Size = max(MinUDP, rr.Class)
		q.DO = rr.TTL&(1<<15) != 0
		if byte(rr.TTL>>16) != 0 {
			// Look no further: what follows the OPT of a version that we
			// do not know may follow other rules.
			return BadVersion
		}
	}
	return OK
}

func lowerInto(dst, src []byte) {
	for i, c := range src {
		if c-'A' < 26 {
			c += 'a' - 'A'
		}
		dst[i] = c
	}
}
