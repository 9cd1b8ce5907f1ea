package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// This file reads what comes before HTTP and TLS, without taking more of it than
// that: the PROXY protocol, and the name that a TLS client asks for. What is looked
// at stays in the kernel's queue, so that the connection remains a bare one.

// peekMost is how far ahead we look: a ClientHello with post-quantum keys has 2 KiB.
const peekMost = 16 << 10

// errNotYet says that more has to come.
var errNotYet = errors.New("incomplete")

// peek calls look with what has come, until it does not return errNotYet.
func peek(c *net.TCPConn, d time.Duration, look func([]byte) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	_ = c.SetReadDeadline(time.Now().Add(d))
	defer func() { _ = c.SetReadDeadline(time.Time{}) }()
	buf := make([]byte, peekMost)
	result := errNotYet
	err = raw.Read(func(fd uintptr) bool {
		n, _, err := unix.Recvfrom(int(fd), buf, unix.MSG_PEEK)
		switch {
		case err == unix.EAGAIN || err == unix.EINTR:
			return false
		case err != nil:
			result = err
		case n == 0:
			result = net.ErrClosed
		default:
			if result = look(buf[:n]); result == errNotYet && n == len(buf) {
				result = errors.New("too long")
			}
		}
		return result != errNotYet
	})
	if err != nil {
		return err
	}
	return result
}

// proxied is what the PROXY protocol says of a connection. Local means that the
// proxy speaks for itself: a health check.
type proxied struct {
	from, to netip.AddrPort
	local    bool
}

// readPreamble takes the header of the PROXY protocol, version 1 or 2, off a
// connection (haproxy.org/download/3.0/doc/proxy-protocol.txt).
func readPreamble(c *net.TCPConn, d time.Duration) (p proxied, err error) {
	length := 0
	if err := peek(c, d, func(b []byte) (err error) {
		p, length, err = parsePreamble(b)
		return err
	}); err != nil {
		return p, fmt.Errorf("read PROXY protocol: %w", err)
	}
	for buf := make([]byte, length); length > 0; {
		n, err := c.Read(buf[:length])
		if length -= n; err != nil {
			return p, err
		}
	}
	return p, nil
}

const signature = "\r\n\r\n\x00\r\nQUIT\n"

// parsePreamble reads a header at the start of b, and returns its length.
func parsePreamble(b []byte) (p proxied, n int, err error) {
	switch {
	case bytes.HasPrefix(b, []byte(signature)):
		return parseBinary(b)
	case bytes.HasPrefix(b, []byte("PROXY ")):
		return parseLine(b)
	case len(b) < 6 && strings.HasPrefix("PROXY ", string(b)), len(b) < len(signature) && strings.HasPrefix(signature, string(b)):
		return p, 0, errNotYet
	}
	return p, 0, errors.New("no header")
}

// parseLine reads version 1.
func parseLine(b []byte) (p proxied, n int, err error) {
	const most = 107
	end := bytes.Index(b[:min(len(b), most)], []byte("\r\n"))
	if end < 0 {
		if len(b) < most {
			return p, 0, errNotYet
		}
		return p, 0, errors.New("line too long")
	}
	part := strings.Split(string(b[:end]), " ")
	if part[1] == "UNKNOWN" {
		return proxied{local: true}, end + 2, nil
	}
	if len(part) != 6 || part[1] != "TCP4" && part[1] != "TCP6" {
		return p, 0, errors.New("malformed line")
	}
	from, err1 := netip.ParseAddrPort(net.JoinHostPort(part[2], part[4]))
	to, err2 := netip.ParseAddrPort(net.JoinHostPort(part[3], part[5]))
	if err := errors.Join(err1, err2); err != nil {
		return p, 0, err
	}
	if is4 := part[1] == "TCP4"; from.Addr().Is4() != is4 || to.Addr().Is4() != is4 {
		return p, 0, errors.New("address of another family")
	}
	return proxied{from: from, to: to}, end + 2, nil
}

// parseBinary reads version 2.
func parseBinary(b []byte) (p proxied, n int, err error) {
	if len(b) < 16 {
		return p, 0, errNotYet
	}
	length := int(binary.BigEndian.Uint16(b[14:]))
	if length > 4096 {
		return p, 0, errors.New("header too long")
	}
	if len(b) < 16+length {
		return p, 0, errNotYet
	}
	body := b[16 : 16+length]
	size := 0
	switch b[13] >> 4 {
	case 1:
		size = 4
	case 2:
		size = 16
	}
	switch {
	case b[12]>>4 != 2 || b[12]&15 > 1:
		return p, 0, errors.New("malformed header")
	case b[12]&15 == 0 || size == 0: // LOCAL; or a family that is no address to us
		return proxied{local: true}, 16 + length, nil
	case len(body) < 2*size+4:
		return p, 0, errors.New("header too short")
	}
	from, _ := netip.AddrFromSlice(body[:size])
	to, _ := netip.AddrFromSlice(body[size : 2*size])
	return proxied{from: netip.AddrPortFrom(from, binary.BigEndian.Uint16(body[2*size:])),
		to: netip.AddrPortFrom(to, binary.BigEndian.Uint16(body[2*size+2:]))}, 16 + length, nil
}

// appendPreamble adds the header for a connection that from made to to. Version 1 is
// text. Addresses of two families become one.
func appendPreamble(b []byte, version int, from, to netip.AddrPort) []byte {
	a, z := from.Addr().Unmap(), to.Addr().Unmap()
	if a.Is4() != z.Is4() {
		a, z = netip.AddrFrom16(a.As16()), netip.AddrFrom16(z.As16())
	}
	if version == 1 {
		family := "TCP6"
		if a.Is4() {
			family = "TCP4"
		}
		return fmt.Appendf(b, "PROXY %s %s %s %d %d\r\n", family, a.StringExpanded(), z.StringExpanded(), from.Port(), to.Port())
	}
	b = append(b, signature...)
	family, size := byte(0x21), 12
	if a.Is4() {
		family = 0x11
	} else {
		size = 36
	}
	b = append(b, 0x21, family, byte(size>>8), byte(size))
	b = append(append(b, a.AsSlice()...), z.AsSlice()...)
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, from.Port()), to.Port())
}

// appendNobody adds the header for a connection that is made for no client.
func appendNobody(b []byte, version int) []byte {
	if version == 1 {
		return append(b, "PROXY UNKNOWN\r\n"...)
	}
	return append(append(b, signature...), 0x20, 0, 0, 0)
}

// preamble is the header for the endpoint; nil if it wants none.
func (x *exchange) preamble(version int) []byte {
	if version == 0 {
		return nil
	}
	if !x.remote.IsValid() || !x.at.IsValid() {
		return appendNobody(nil, version)
	}
	return appendPreamble(nil, version, netip.AddrPortFrom(x.remote, x.port), x.at)
}

// peekName returns the name that a TLS client asks for, "" if it names none.
func peekName(c *net.TCPConn, d time.Duration) (name string, err error) {
	err = peek(c, d, func(b []byte) (err error) {
		name, err = clientHelloName(b)
		return err
	})
	return name, err
}

var errNoHello = errors.New("no ClientHello")

// clientHelloName reads server_name from a ClientHello (RFC 8446, section 4.1.2;
// RFC 6066, section 3), which may be spread over records.
func clientHelloName(b []byte) (string, error) {
	var hello []byte
	for need := 4; len(hello) < need; {
		if len(b) < 5 {
			return "", errNotYet
		}
		n := int(binary.BigEndian.Uint16(b[3:]))
		if b[0] != 22 || b[1] != 3 || n == 0 || n > 1<<14 {
			return "", errNoHello
		}
		if len(b) < 5+n {
			return "", errNotYet
		}
		hello = append(hello, b[5:5+n]...)
		b = b[5+n:]
		if len(hello) >= 4 {
			if hello[0] != 1 {
				return "", errNoHello
			}
			need = 4 + int(hello[1])<<16 + int(binary.BigEndian.Uint16(hello[2:]))
		}
	}
	r := reader{b: hello[4:]}
	r.skip(2 + 32)
	r.skip(r.number(1)) // session
	r.skip(r.number(2)) // cipher suites
	r.skip(r.number(1)) // compression
	extensions := reader{b: r.take(r.number(2))}
	for len(extensions.b) > 0 && !extensions.bad {
		kind := extensions.number(2)
		body := reader{b: extensions.take(extensions.number(2))}
		if kind != 0 {
			continue
		}
		names := reader{b: body.take(body.number(2))}
		for len(names.b) > 0 && !names.bad {
			kind := names.number(1)
			if name := names.take(names.number(2)); kind == 0 && !names.bad {
				return string(name), nil
			}
		}
	}
	if r.bad || extensions.bad {
		return "", errNoHello
	}
	return "", nil
}

// reader takes what is there; bad says that it was not.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) skip(n int) { r.take(n) }

func (r *reader) number(size int) (n int) {
	for _, c := range r.take(size) {
		n = n<<8 | int(c)
	}
	return n
}
