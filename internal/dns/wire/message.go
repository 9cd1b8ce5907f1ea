package wire

import "encoding/binary"

// RR is where one record lies in a message.
type RR struct {
	NameOff int
	Type    uint16
	Class   uint16
	TTL     uint32
	TTLOff  int
	Data    int // offset of the RDATA
	End     int // offset after it
}

// parseRR reads the record at off without following its pointers.
func parseRR(msg []byte, off int) (rr RR, end int, ok bool) {
	rr.NameOff = off
	off, ok = skipName(msg, off)
	if !ok || off+10 > len(msg) {
		return rr, 0, false
	}
	rr.Type = binary.BigEndian.Uint16(msg[off:])
	rr.Class = binary.BigEndian.Uint16(msg[off+2:])
	rr.TTLOff = off + 4
	rr.TTL = binary.BigEndian.Uint32(msg[off+4:])
	rr.Data = off + 10
	rr.End = rr.Data + int(binary.BigEndian.Uint16(msg[off+8:]))
	return rr, rr.End, rr.End <= len(msg)
}

// skipName returns the offset after the name at off, compressed or not.
func skipName(msg []byte, off int) (int, bool) {
	for n := 0; n < maxName; {
		if off >= len(msg) {
			return 0, false
		}
		switch l := int(msg[off]); {
		case l == 0:
			return off + 1, true
		case l >= 0xC0:
			return off + 2, off+2 <= len(msg)
		case l > 63:
			return 0, false
		default:
			off += 1 + l
			n += 1 + l
		}
	}
	return 0, false
}

// Name appends the name at off, uncompressed and in its own case, to dst.
// Pointers must point backwards, so it always ends.
func Name(dst, msg []byte, off int) (name []byte, ok bool) {
	start, limit := len(dst), off
	for {
		if off >= len(msg) || len(dst)-start >= maxName {
			return dst, false
		}
		switch l := int(msg[off]); {
		case l == 0:
			return append(dst, 0), true
		case l >= 0xC0:
			if off+2 > len(msg) {
				return dst, false
			}
			off = int(binary.BigEndian.Uint16(msg[off:]) & 0x3FFF)
			if off >= limit {
				return dst, false
			}
			limit = off
		case l > 63 || off+1+l > len(msg):
			return dst, false
		default:
			dst = append(dst, msg[off:off+1+l]...)
			off += 1 + l
		}
	}
}

// Lower puts a name in wire form into lower case, in place. Length bytes are
// below 64 and so are never taken for letters.
func Lower(name []byte) []byte {
	lowerInto(name, name)
	return name
}

// Message is a parsed response.
type Message struct {
	Raw        []byte
	ID         uint16
	Flags      uint16
	Question   []byte // name, lower case, uncompressed
	Type       uint16
	Class      uint16
	Body       int // offset of the first record
	Answer     []RR
	Authority  []RR
	Additional []RR // without OPT
	Rcode      int  // with the OPT's extension
	DO         bool
}

// ParseMessage reads a response with exactly one question.
func ParseMessage(raw []byte) (m Message, ok bool) {
	m.Raw = raw
	if len(raw) < HeaderLen || binary.BigEndian.Uint16(raw[4:]) != 1 {
		return m, false
	}
	m.ID = binary.BigEndian.Uint16(raw)
	m.Flags = binary.BigEndian.Uint16(raw[2:])
	m.Rcode = int(m.Flags & 15)
	if m.Question, ok = Name(nil, raw, HeaderLen); !ok {
		return m, false
	}
	Lower(m.Question)
	off, ok := skipName(raw, HeaderLen)
	if !ok || off+4 > len(raw) {
		return m, false
	}
	m.Type = binary.BigEndian.Uint16(raw[off:])
	m.Class = binary.BigEndian.Uint16(raw[off+2:])
	m.Body = off + 4
	off = m.Body
	for i, section := range []*[]RR{&m.Answer, &m.Authority, &m.Additional} {
		for range binary.BigEndian.Uint16(raw[6+2*i:]) {
			rr, end, ok := parseRR(raw, off)
			if !ok {
				return m, false
			}
			off = end
			if rr.Type == TypeOPT {
				m.Rcode |= int(rr.TTL>>24) << 4
				m.DO = rr.TTL&(1<<15) != 0
				continue
			}
			*section = append(*section, rr)
		}
	}
	return m, true
}

// AppendRR appends the record rr of msg, uncompressed, to dst with owner in
// front of it (a wire name or a pointer). Names inside the RDATA of the types
// that may be compressed (RFC 3597, section 4) are spelled out.
func AppendRR(dst, msg []byte, rr RR, owner []byte) (out []byte, ok bool) {
	dst = append(dst, owner...)
	dst = append(dst, msg[rr.TTLOff-4:rr.TTLOff+4]...)
	dst = append(dst, 0, 0)
	data := len(dst)
	off := rr.Data
	fixed, names := 0, 0
	switch rr.Type {
	case TypeCNAME, TypeNS, TypePTR, TypeDNAME:
		names = 1
	case TypeSOA:
		names = 2
	case TypeMX:
		fixed, names = 2, 1
	case TypeSRV:
		fixed, names = 6, 1
	}
	if off+fixed > rr.End {
		return dst, false
	}
	dst = append(dst, msg[off:off+fixed]...)
	off += fixed
	for range names {
		if dst, ok = Name(dst, msg[:rr.End], off); !ok {
			return dst, false
		}
		if off, ok = skipName(msg[:rr.End], off); !ok {
			return dst, false
		}
	}
	dst = append(dst, msg[off:rr.End]...)
	binary.BigEndian.PutUint16(dst[data-2:], uint16(len(dst)-data))
	return dst, true
}

// PackName turns a name in presentation form, with or without the final dot,
// into wire form in lower case. It knows no escapes: names of Kubernetes need none.
func PackName(s string) (name []byte, ok bool) {
	name = []byte{}
	if s == "." {
		s = ""
	}
	for start, i := 0, 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '.' {
			continue
		}
		if l := i - start; l > 63 || (l == 0 && i < len(s)) {
			return nil, false
		} else if l > 0 {
			name = append(append(name, byte(l)), s[start:i]...)
		}
		start = i + 1
	}
	if len(name)+1 > maxName {
		return nil, false
	}
	return append(Lower(name), 0), true
}

// UnpackName is the presentation form of a name in wire form, for logs and
// people: bytes that are not printable become \DDD, and so does a dot in a label.
func UnpackName(name []byte) string {
	var out []byte
	for off := 0; off < len(name) && name[off] != 0; {
		l := int(name[off])
		for _, c := range name[off+1 : min(len(name), off+1+l)] {
			if c <= ' ' || c > '~' || c == '.' || c == '\\' || c == '"' {
				out = append(out, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
			} else {
				out = append(out, c)
			}
		}
		out = append(out, '.')
		off += 1 + l
	}
	if len(out) == 0 {
		return "."
	}
	return string(out)
}
