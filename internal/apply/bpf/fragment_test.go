package bpf

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/fairway-net/fairway/internal/model"
)

// fragments cuts a packet behind the first n bytes of its transport.
func (f *frame) fragments(id uint16, n int) [2][]byte {
	body := f.transport()
	var out [2][]byte
	for i, part := range [][]byte{body[:n], body[n:]} {
		offset := uint16(i * n / 8)
		eth := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
		if f.src.Addr().Is4() {
			if i == 0 {
				offset |= 0x2000 // more
			}
			out[i] = slices.Concat(eth, []byte{8, 0}, ip4(f, id, offset, 64, len(part)), part)
			continue
		}
		h := []byte{byte(f.proto), 0, 0, 0, 0, 0, 0, 0}
		binary.BigEndian.PutUint16(h[2:], offset<<3)
		if i == 0 {
			h[3] |= 1
		}
		binary.BigEndian.PutUint16(h[6:], id)
		out[i] = slices.Concat(eth, []byte{0x86, 0xdd}, ip6(f, 44, 64, len(h)+len(part)), h, part)
	}
	return out
}

// Fragments follow the first one; one that comes before it cannot, as it has no
// ports: it is dropped under a name of its own instead of going astray.
func TestFragmentOrder(t *testing.T) {
	w := newWorld(t)
	s := newSim(w.node1)
	svc, _ := everywhere()
	w.set(svc, w.b1.IPs...)
	id := uint16(0)
	for _, c := range []struct {
		from     string
		src, dst string
		masked   bool // the source becomes node1
	}{
		{"net", "198.51.100.9:5000", "198.51.100.100:80", true}, {"net", "[2001:db8::9]:5000", "[2001:db8::100]:80", true},
		{"pod", "10.1.1.2:5000", "10.96.0.1:80", false}, {"pod", "[fd00:1:1::2]:5000", "[fd00:96::1]:80", false},
	} {
		prog, ifindex := s.dp.objs.FromNet, s.uplink
		if c.from == "pod" {
			prog, ifindex = s.dp.objs.FromPod, w.a1.Index
		}
		f := &frame{src: netip.MustParseAddrPort(c.src), dst: netip.MustParseAddrPort(c.dst), proto: model.UDP, payload: make([]byte, 100)}
		to, from := w.b1.IPs[0], f.src.Addr()
		if f.src.Addr().Is6() {
			to = w.b1.IPs[1]
		}
		if c.masked {
			from = w.node1.Addrs[slices.Index(w.b1.IPs, to)]
		}
		send := func(b []byte, passes bool) {
			t.Helper()
			before := w.node1.dropped(DropFragment)
			verdict, out, err := s.run(prog, b, ifindex, ifindex)
			w.must(err)
			if !passes {
				if verdict != verdictDrop || w.node1.dropped(DropFragment) != before+1 {
					t.Errorf("%s to %s, before the first: verdict %d, want a counted drop", c.src, c.dst, verdict)
				}
				return
			}
			at := 26
			if to.Is6() {
				at = 22
			}
			n := to.BitLen() / 8
			src, _ := netip.AddrFromSlice(out[at : at+n])
			dst, _ := netip.AddrFromSlice(out[at+n : at+2*n])
			if verdict == verdictDrop || src != from || dst != to {
				t.Errorf("%s to %s: verdict %d, from %v to %v; want from %v to %v", c.src, c.dst, verdict, src, dst, from, to)
			}
		}
		id++
		parts := f.fragments(id, 64)
		send(parts[0], true)
		send(parts[1], true)
		id++
		parts = f.fragments(id, 64)
		send(parts[1], false)
		send(parts[0], true)
		send(parts[1], true) // it is sent again, or was there twice
	}
}

// At an address that the node has itself a fragment without ports may be for the
// node, and passes. If its datagram turns out to be a NodePort's or an external
// IP's, all the rest is dropped, and counted.
func TestFragmentOvertakesAtNode(t *testing.T) {
	w := newWorld(t)
	s := newSim(w.node1)
	svc, _ := everywhere()
	w.set(svc, w.b1.IPs...)
	id := uint16(500)
	for _, c := range []struct {
		src, dst string
		service  bool
	}{
		{"198.51.100.9:5000", "198.51.100.1:30080", true}, {"[2001:db8::9]:5000", "[2001:db8::1]:30080", true},
		{"198.51.100.9:5000", "203.0.113.1:80", true}, {"[2001:db8::9]:5000", "[2001:db8:113::1]:80", true},
		{"198.51.100.9:5000", "198.51.100.1:53", false}, {"[2001:db8::9]:5000", "[2001:db8::1]:53", false},
	} {
		f := &frame{src: netip.MustParseAddrPort(c.src), dst: netip.MustParseAddrPort(c.dst), proto: model.UDP, payload: make([]byte, 100)}
		send := func(what string, b []byte, passes bool) {
			t.Helper()
			before := w.node1.dropped(DropFragment)
			verdict, _, err := s.run(s.dp.objs.FromNet, b, s.uplink, s.uplink)
			w.must(err)
			if counted := w.node1.dropped(DropFragment) - before; passes != (verdict != verdictDrop) || passes != (counted == 0) {
				t.Errorf("%s to %s: %s: verdict %d, %d drops counted, want it to pass: %t", c.src, c.dst, what, verdict, counted, passes)
			}
		}
		id++
		parts := f.fragments(id, 64)
		send("before the first", parts[1], true)
		send("the first", parts[0], !c.service)
		send("after the first", parts[1], !c.service)
		send("the next datagram of the same number", parts[0], true)
		send("and its other part", parts[1], true)
	}
}
