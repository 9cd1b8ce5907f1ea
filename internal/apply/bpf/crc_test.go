package bpf

import (
	"bytes"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"testing"

	oracle "github.com/fairway-net/fairway/internal/explain"
	"github.com/fairway-net/fairway/internal/model"
)

// The table of bpf/lib/crc.h: each power is the square of the one before.
func TestCRC(t *testing.T) {
	text, err := os.ReadFile("../../../bpf/lib/crc.h")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := bytes.Cut(text, []byte("crc_powers[16]"))
	table, _, _ = bytes.Cut(table, []byte("};"))
	got := regexp.MustCompile(`0x[0-9a-f]{8}`).FindAllString(string(table), -1)
	if len(got) != 16 {
		t.Fatalf("%d powers, want 16", len(got))
	}
	want := uint32(1) << (31 - 8)
	for i, s := range got {
		if v, err := strconv.ParseUint(s, 0, 32); err != nil || uint32(v) != want {
			t.Errorf("x^%d: %s, want %#08x", 8<<i, s, want)
		}
		want = crcProduct(want, want)
	}
}

func crcProduct(a, b uint32) (r uint32) {
	for ; a != 0; a <<= 1 {
		if a>>31 == 1 {
			r ^= b
		}
		if b&1 == 1 {
			b = b>>1 ^ 0x82f63b78
		} else {
			b >>= 1
		}
	}
	return r
}

// SCTP of any length through every program that changes ports: the checksum is
// right where it was, and is left to the device where it was.
func TestSCTPChecksum(t *testing.T) {
	w := newWorld(t)
	s := newSim(w.node1)
	svc := &model.Service{Name: model.Name{Namespace: "test", Name: "web"}, Type: model.NodePort, ClusterIPs: addrsOf("10.96.0.1", "fd00:96::1"),
		Ports: []model.ServicePort{{Name: "tcp", Protocol: model.SCTP, Port: 80, NodePort: 30080}}}
	port := uint16(20000)
	for family, at := range addrsOf("198.51.100.1", "2001:db8::1") {
		for _, backend := range []netip.Addr{w.a1.IPs[family], w.b1.IPs[family]} {
			w.setSCTP(svc, backend)
			for n := range 1400 {
				if n > 70 && n%97 != 0 {
					continue
				}
				port++
				p := oracle.Packet{From: oracle.FromNet, Src: netip.AddrPortFrom(w.client.Addrs[family], port), Dst: netip.AddrPortFrom(at, 30080), Protocol: model.SCTP}
				f := opening(p)
				f.payload = bytes.Repeat([]byte{byte(n)}, n)
				if trip, err := s.send(onWire, f.bytes()); err != nil || trip.frame == nil || trip.frame.dst != netip.AddrPortFrom(backend, 8080) {
					t.Fatalf("%d bytes to %v: %+v, %v", n, backend, trip.frame, err)
				}
			}
			// Zero is not a checksum yet.
			port++
			p := oracle.Packet{Src: netip.AddrPortFrom(w.client.Addrs[family], port), Dst: netip.AddrPortFrom(at, 30080), Protocol: model.SCTP}
			b := opening(p).bytes()
			sum := b[len(b)-len(opening(p).transport())+8:][:4]
			copy(sum, []byte{0, 0, 0, 0})
			_, out, err := s.run(s.dp.objs.FromNet, b, s.uplink, s.uplink)
			w.must(err)
			if got := out[len(b)-len(opening(p).transport())+8:][:4]; !bytes.Equal(got, sum) {
				t.Errorf("a checksum that the device makes became %x", got)
			}
			if src, dst, _ := headerOf(out[14:]); dst != netip.AddrPortFrom(backend, 8080) {
				t.Errorf("from %v to %v", src, dst)
			}
		}
	}
}

// setSCTP gives a Service one backend that speaks SCTP.
func (w *world) setSCTP(svc *model.Service, backend netip.Addr) {
	w.Helper()
	w.setSlices(svc, []model.EndpointPort{{Name: "tcp", Protocol: model.SCTP, Port: 8080}}, w.endpoint(backend))
}

func addrsOf(s ...string) []netip.Addr {
	out := make([]netip.Addr, len(s))
	for i := range s {
		out[i] = netip.MustParseAddr(s[i])
	}
	return out
}
