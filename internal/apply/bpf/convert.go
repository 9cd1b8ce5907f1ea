package bpf

import (
	"encoding/binary"
	"net/netip"
)

// addrOf is a in the kernel's one width; IPv4 as ::ffff:a.b.c.d. The zero Addr
// is the zero address, which C takes for "none".
func addrOf(a netip.Addr) kernelAddr {
	var k kernelAddr
	if !a.IsValid() {
		return k
	}
	b := a.As16()
	for i := range k.W {
		k.W[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return k
}

// addr is the inverse of addrOf.
func (k kernelAddr) addr() netip.Addr {
	if k == (kernelAddr{}) {
		return netip.Addr{}
	}
	var b [16]byte
	for i, w := range k.W {
		binary.NativeEndian.PutUint32(b[4*i:], w)
	}
	return netip.AddrFrom16(b).Unmap()
}

// swap converts a port between host and network order.
func swap(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}

func backendOf(a netip.AddrPort, local bool) kernelBackend {
	b := kernelBackend{Addr: addrOf(a.Addr()), Port: swap(a.Port())}
	if local {
		b.Local = 1
	}
	return b
}

// prefixOf is the key of p in a longest-prefix map; IPv4 lengths count the 96
// bits of the mapping.
func prefixOf(p netip.Prefix) kernelPrefixKey {
	return kernelPrefixKey{Prefixlen: prefixLen(p), Addr: addrOf(p.Masked().Addr())}
}

func prefixLen(p netip.Prefix) uint32 {
	if p.Addr().Is4() {
		return uint32(p.Bits() + 96)
	}
	return uint32(p.Bits())
}

// portPrefixes covers lo to hi with as few aligned blocks as possible; each is
// a port and the number of its leading bits that count.
func portPrefixes(lo, hi uint16) []portPrefix {
	var out []portPrefix
	for at := uint32(lo); at <= uint32(hi); {
		bits := uint32(16)
		for bits > 0 {
			size := uint32(1) << (16 - (bits - 1)) // of the next larger block
			if at%size != 0 || at+size-1 > uint32(hi) {
				break
			}
			bits--
		}
		out = append(out, portPrefix{uint16(at), bits})
		at += 1 << (16 - bits)
	}
	return out
}

type portPrefix struct {
	port uint16
	bits uint32
}
