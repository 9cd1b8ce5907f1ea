package h1

import (
	"bytes"
	"io"
)

// Body takes the framing off a message body. It reads from what came with the
// head, and then from a source.
type Body struct {
	pending []byte
	read    func([]byte) (int, error)
	left    int64 // of the length, or of the chunk
	kind    kind
	state   state
	digits  int
	extra   int    // octets of extensions and trailers
	bad     error  // what was pending is not what it should be
	trailer []byte // lines of the trailer, with CR LF
	fields  []Field
}

type kind uint8

const (
	none kind = iota
	length
	chunked
	toEnd
)

type state uint8

const (
	size state = iota
	extension
	sizeEnd // LF
	data
	dataCR
	dataLF
	trailerStart
	trailerLine
	trailerLF
	lastLF
	done
)

// What chunks may have around them before they are an attack on us.
const (
	maxTrailer   = 8 << 10
	maxExtension = 16 << 10 // in one body
)

// Reset begins a body with the framing of h; pending is what is there of it, and of
// what follows it.
func (b *Body) Reset(h *Head, pending []byte, read func([]byte) (int, error)) {
	*b = Body{pending: pending, read: read, trailer: b.trailer[:0], fields: b.fields[:0]}
	switch {
	case h.Chunked:
		b.kind = chunked
	case h.Length >= 0:
		b.kind, b.left = length, h.Length
	}
}

// ToEnd begins a body that ends with its connection.
func (b *Body) ToEnd(pending []byte, read func([]byte) (int, error)) {
	*b = Body{kind: toEnd, pending: pending, read: read}
}

// Next returns the next part of the body, which is valid until the call after.
// It reads into scratch if nothing is pending. At the end it returns io.EOF.
func (b *Body) Next(scratch []byte) ([]byte, error) {
	for {
		if b.ended() {
			return nil, io.EOF
		}
		part, err := b.take()
		if len(part) > 0 || err != nil {
			return part, err
		}
		if b.ended() {
			return nil, io.EOF
		}
		if b.kind == length && int64(len(scratch)) > b.left {
			scratch = scratch[:b.left] // what follows is not ours
		}
		n, err := b.read(scratch)
		if n == 0 && err != nil {
			if err == io.EOF {
				if b.kind == toEnd {
					b.kind = none
				} else {
					err = io.ErrUnexpectedEOF
				}
			}
			return nil, err
		}
		b.pending = scratch[:n]
	}
}

func (b *Body) ended() bool {
	return b.kind == none || b.kind == length && b.left == 0 || b.kind == chunked && b.state == done
}

// Pending reports whether a part, or the end, is there without reading.
func (b *Body) Pending() bool { return len(b.pending) > 0 || b.bad != nil || b.ended() }

// Whole reports whether nothing of the body is left to take.
func (b *Body) Whole() bool { return b.ended() }

// Left is how much of a length has not been taken yet.
func (b *Body) Left() int64 { return b.left }

// Took takes n octets of a length that were read elsewhere.
func (b *Body) Took(n int64) { b.left -= n }

// Rest is what was read beyond the end.
func (b *Body) Rest() []byte { return b.pending }

// Trailer returns the fields after the last chunk, once the body has ended.
func (b *Body) Trailer() []Field { return b.fields }

// take returns a part of what is pending.
func (b *Body) take() ([]byte, error) {
	switch b.kind {
	case chunked:
		return b.chunk()
	case length:
		n := min(int64(len(b.pending)), b.left)
		part := b.pending[:n]
		b.pending, b.left = b.pending[n:], b.left-n
		return part, nil
	}
	part := b.pending
	b.pending = nil
	return part, nil
}

// chunk returns what is pending of a chunk's data (RFC 9112, section 7.1). What is between
// chunks is never left pending: it would look like another part that has come.
func (b *Body) chunk() (part []byte, err error) {
	b.walk()
	if b.bad != nil {
		return nil, b.bad
	}
	if b.state == data && len(b.pending) > 0 {
		n := min(int64(len(b.pending)), b.left)
		part = b.pending[:n]
		if b.left -= n; b.left == 0 {
			b.state = dataCR
		}
		b.pending = b.pending[n:]
		b.walk() // an error of what follows is the next call's
	}
	return part, nil
}

// walk takes what is not data.
func (b *Body) walk() {
	for len(b.pending) > 0 && b.state != data && b.state != done && b.bad == nil {
		c := b.pending[0]
		b.pending = b.pending[1:]
		b.bad = b.step(c)
	}
}

// step takes one octet of what is not data.
func (b *Body) step(c byte) error {
	expect := func(want byte, next state) error {
		if c != want {
			return bad("malformed chunk")
		}
		b.state = next
		return nil
	}
	switch b.state {
	case size:
		return b.size(c)
	case extension:
		if c == '\r' {
			b.state = sizeEnd
		} else if b.extra++; class[c]&text == 0 || b.extra > maxExtension {
			return bad("malformed chunk extension")
		}
	case sizeEnd:
		if b.digits = 0; b.left > 0 {
			return expect('\n', data)
		}
		return expect('\n', trailerStart)
	case dataCR:
		return expect('\r', dataLF)
	case dataLF:
		return expect('\n', size)
	case trailerStart:
		if c == '\r' {
			b.state = lastLF
			return nil
		}
		b.state = trailerLine
		fallthrough
	case trailerLine:
		b.trailer = append(b.trailer, c)
		if c == '\r' {
			b.state = trailerLF
		}
		if len(b.trailer) > maxTrailer {
			return &Error{431, "trailer too large"}
		}
	case trailerLF:
		b.trailer = append(b.trailer, c)
		return expect('\n', trailerStart)
	case lastLF:
		return b.last(c)
	}
	return nil
}

// size takes an octet of a chunk's size. No space may follow it: servers differ
// over what that means.
func (b *Body) size(c byte) error {
	digit := bytes.IndexByte([]byte("0123456789abcdef"), c|0x20)
	switch {
	case digit >= 0 && ('0' <= c && c <= '9' || digit >= 10):
		if b.digits++; b.digits > 15 {
			return bad("chunk too large")
		}
		b.left = b.left<<4 | int64(digit)
		return nil
	case b.digits == 0:
		return bad("chunk without a size")
	case c == '\r':
		b.state = sizeEnd
		return nil
	case c == ';':
		b.state = extension
		return nil
	}
	return bad("malformed chunk size")
}

func (b *Body) last(c byte) (err error) {
	if c != '\n' {
		return bad("malformed end of chunks")
	}
	b.state = done
	b.fields, err = fields(b.trailer, b.fields)
	return err
}
