// Package fcgi frames what a web server and a FastCGI application say to each other: the
// records of the FastCGI specification, version 1 (fastcgi-archives.github.io), in the
// role of a responder, with one request per connection. It knows no HTTP.
package fcgi

import (
	"encoding/binary"
	"errors"
	"io"
)

// Kind is the type of a record (section 8).
type Kind uint8

// The kinds that are sent or received.
const (
	Begin  Kind = 1
	End    Kind = 3
	Params Kind = 4
	Stdin  Kind = 5
	Stdout Kind = 6
	Stderr Kind = 7
)

const (
	version    = 1
	request    = 1 // the only one of its connection
	responder  = 1
	header     = 8
	maxContent = 65535
)

// AppendBegin adds the record that begins a request, after which the application closes.
func AppendBegin(b []byte) []byte {
	return AppendRecord(b, Begin, []byte{0, responder, 0, 0, 0, 0, 0, 0})
}

// AppendRecord adds content as one record, or as many as it needs. A record without
// content ends a stream.
func AppendRecord(b []byte, k Kind, content []byte) []byte {
	for {
		n := min(len(content), maxContent)
		b = append(b, version, byte(k), 0, request, byte(n>>8), byte(n), 0, 0)
		b = append(b, content[:n]...)
		if content = content[n:]; len(content) == 0 {
			return b
		}
	}
}

// AppendParam adds a pair of name and value (section 3.4).
func AppendParam(b []byte, name, value string) []byte {
	b = appendLength(b, len(name))
	b = appendLength(b, len(value))
	return append(append(b, name...), value...)
}

func appendLength(b []byte, n int) []byte {
	if n < 128 {
		return append(b, byte(n))
	}
	return binary.BigEndian.AppendUint32(b, uint32(n)|1<<31)
}

// Reader takes records off what Read returns.
type Reader struct {
	Read func([]byte) (int, error)
	buf  []byte // what was read and not taken
	box  [4096]byte
	skip int
}

// ErrRecord is what is no record of the request.
var ErrRecord = errors.New("malformed FastCGI record")

// ErrStatus says that the application did not take the request.
var ErrStatus = errors.New("the FastCGI application is overloaded, or does not know the role of a responder")

// Next returns the next record; its content is valid until the call after. io.EOF is the
// end of the request, and io.ErrUnexpectedEOF that of the connection before it.
func (r *Reader) Next() (Kind, []byte, error) {
	r.buf, r.skip = r.buf[r.skip:], 0
	if err := r.need(header); err != nil {
		return 0, nil, err
	}
	n, padding := int(binary.BigEndian.Uint16(r.buf[4:])), int(r.buf[6])
	if r.buf[0] != version || binary.BigEndian.Uint16(r.buf[2:]) > request {
		return 0, nil, ErrRecord
	}
	if err := r.need(header + n + padding); err != nil {
		return 0, nil, err
	}
	kind, content := Kind(r.buf[1]), r.buf[header:header+n]
	r.skip = header + n + padding
	if kind != End {
		return kind, content, nil
	}
	if n != 8 || content[4] != 0 { // FCGI_REQUEST_COMPLETE
		return kind, nil, ErrStatus
	}
	return kind, nil, io.EOF
}

func (r *Reader) need(n int) error {
	for len(r.buf) < n {
		got, err := r.Read(r.box[:])
		if got > 0 {
			r.buf = append(r.buf, r.box[:got]...)
			continue
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return nil
}
