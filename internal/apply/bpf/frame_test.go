package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"testing"

	"github.com/fairway-net/fairway/internal/model"
)

// frame is a packet as tests write and read it.
type frame struct {
	src, dst netip.AddrPort
	proto    model.Protocol
	flags    byte // TCP
	tag      uint32
	payload  []byte
	ttl      byte

	icmp   [2]byte // type and code, with proto 1 or 58
	quoted []byte  // what an ICMP error quotes: a packet from its network header on
}

const (
	protoICMP  = model.Protocol(1)
	protoICMP6 = model.Protocol(58)

	tcpSYN = 2
	tcpRST = 4
	tcpACK = 16
)

// ends are the addresses of a pseudo-header.
func (f *frame) ends() []byte { return append(f.src.Addr().AsSlice(), f.dst.Addr().AsSlice()...) }

// sum is the Internet checksum of b, with the pseudo-header of proto if it has one.
func (f *frame) sum(b []byte) uint16 {
	total := uint32(0)
	add := func(b []byte) {
		for ; len(b) > 1; b = b[2:] {
			total += uint32(b[0])<<8 | uint32(b[1])
		}
		if len(b) == 1 {
			total += uint32(b[0]) << 8
		}
	}
	if add(b); f.proto != protoICMP {
		add(f.ends())
		total += uint32(len(b)) + uint32(f.proto)
	}
	for total > 0xffff {
		total = total&0xffff + total>>16
	}
	return ^uint16(total)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// transport is the part behind the network header.
func (f *frame) transport() []byte {
	ports := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, f.src.Port()), f.dst.Port())
	var b []byte
	at := 0 // of the checksum
	switch f.proto {
	case model.TCP:
		b = append(append(ports, 0, 0, 1, 0, 0, 0, 2, 0, 5<<4, f.flags, 1, 0, 0, 0, 0, 0), f.payload...)
		at = 16
	case model.UDP:
		b = append(append(ports, 0, byte(8+len(f.payload)), 0, 0), f.payload...)
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
		at = 6
	case model.SCTP:
		b = append(binary.BigEndian.AppendUint32(ports, f.tag), 0, 0, 0, 0)
		b = append(append(b, 1, 0, 0, 20, 0, 0, 0, 9, 0, 0, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 7), f.payload...)
		binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, castagnoli))
		return b
	case protoICMP, protoICMP6:
		b = append([]byte{f.icmp[0], f.icmp[1], 0, 0, 0, 0, 5, 0x14}, f.quoted...)
		at = 2
	}
	sum := f.sum(b)
	if sum == 0 && f.proto == model.UDP { // which would say that there is none (RFC 768)
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(b[at:], sum)
	return b
}

// One packet in 65,536 has a UDP checksum of 0, which is written in another way.
func TestZeroChecksum(t *testing.T) {
	f := &frame{proto: model.UDP, src: netip.MustParseAddrPort("10.0.0.1:0"), dst: netip.MustParseAddrPort("10.0.0.2:53"), payload: []byte("x")}
	for port := range 1 << 16 {
		f.src = netip.AddrPortFrom(f.src.Addr(), uint16(port))
		body := f.transport()
		if binary.BigEndian.Uint16(body[6:]) == 0 {
			t.Fatalf("port %d: no checksum", port)
		}
		if err := f.check(body); err != nil {
			t.Fatalf("port %d: %v", port, err)
		}
	}
}

// bytes is the packet on Ethernet.
func (f *frame) bytes() []byte {
	body := f.transport()
	ttl := f.ttl
	if ttl == 0 {
		ttl = 64
	}
	eth := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	if f.src.Addr().Is4() {
		return append(append(append(eth, 8, 0), ip4(f, 0x1234, 0x4000, ttl, len(body))...), body...)
	}
	return append(append(append(eth, 0x86, 0xdd), ip6(f, byte(f.proto), ttl, len(body))...), body...)
}

func ip4(f *frame, id, frag uint16, ttl byte, body int) []byte {
	h := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, ttl, byte(f.proto), 0, 0}
	binary.BigEndian.PutUint16(h[2:], uint16(20+body))
	binary.BigEndian.PutUint16(h[4:], id)
	binary.BigEndian.PutUint16(h[6:], frag)
	h = append(h, f.ends()...)
	binary.BigEndian.PutUint16(h[10:], (&frame{proto: protoICMP}).sum(h))
	return h
}

func ip6(f *frame, next, ttl byte, body int) []byte {
	h := []byte{6 << 4, 0, 0, 0, 0, 0, next, ttl}
	binary.BigEndian.PutUint16(h[4:], uint16(body))
	return append(h, f.ends()...)
}

// readFrame takes a packet apart and fails if a checksum or a length is wrong.
func readFrame(b []byte) (*frame, error) {
	if len(b) < 34 {
		return nil, errors.New("too short")
	}
	f := &frame{}
	body := b[14:]
	switch binary.BigEndian.Uint16(b[12:]) {
	case 0x0800:
		if s := (&frame{proto: protoICMP}).sum(body[:20]); s != 0 {
			return nil, errors.New("wrong checksum of the IPv4 header")
		}
		if n := int(binary.BigEndian.Uint16(body[2:])); n != len(body) {
			return nil, fmt.Errorf("length %d, want %d", n, len(body))
		}
		f.proto, f.ttl = model.Protocol(body[9]), body[8]
	case 0x86dd:
		if n := int(binary.BigEndian.Uint16(body[4:])) + 40; n != len(body) {
			return nil, fmt.Errorf("length %d, want %d", n, len(body))
		}
		f.proto, f.ttl = model.Protocol(body[6]), body[7]
	default:
		return nil, errors.New("not IP")
	}
	f.src, f.dst, body = headerOf(body)
	if err := f.check(body); err != nil {
		return nil, err
	}
	return f, nil
}

// headerOf reads the addresses, and the ports if there are any.
func headerOf(b []byte) (src, dst netip.AddrPort, body []byte) {
	at, n := 12, 4
	if b[0]>>4 == 6 {
		at, n = 8, 16
	}
	from, _ := netip.AddrFromSlice(b[at : at+n])
	to, _ := netip.AddrFromSlice(b[at+n : at+2*n])
	proto := b[9]
	if n == 16 {
		proto = b[6]
	}
	body = b[at+2*n:]
	if proto == byte(protoICMP) || proto == byte(protoICMP6) {
		return netip.AddrPortFrom(from, 0), netip.AddrPortFrom(to, 0), body
	}
	return netip.AddrPortFrom(from, binary.BigEndian.Uint16(body)), netip.AddrPortFrom(to, binary.BigEndian.Uint16(body[2:])), body
}

func (f *frame) check(body []byte) error {
	switch f.proto {
	case model.SCTP:
		f.tag = binary.BigEndian.Uint32(body[4:])
		zeroed := append([]byte{}, body...)
		copy(zeroed[8:], []byte{0, 0, 0, 0})
		if crc32.Checksum(zeroed, castagnoli) != binary.LittleEndian.Uint32(body[8:]) {
			return errors.New("wrong CRC32c")
		}
		return nil
	case model.TCP:
		f.flags, f.payload = body[13], body[body[12]>>4*4:]
	case model.UDP:
		f.payload = body[8:]
	case protoICMP, protoICMP6:
		f.icmp, f.quoted = [2]byte(body), body[8:]
		if f.quoted[0]>>4 == 4 && (&frame{proto: protoICMP}).sum(f.quoted[:20]) != 0 {
			return errors.New("wrong checksum of the quoted IPv4 header")
		}
	}
	if f.sum(body) != 0 {
		return fmt.Errorf("wrong checksum of protocol %d", f.proto)
	}
	return nil
}
