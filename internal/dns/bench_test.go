package dns

import (
	"net/netip"
	"testing"

	mdns "github.com/miekg/dns"
)

// BenchmarkAnswer is the cost of an answer without the sockets.
func BenchmarkAnswer(b *testing.B) {
	x := big(b, 20)
	k := &worker{s: &Server{o: Options{Zone: x, Upstream: forwarder(), Log: quiet()}, log: newQueryLog()}, stats: &counters{}}
	for name, n := range map[string]string{"hit": "web.default.svc.cluster.local.", "missing": "nothing.default.svc.cluster.local.", "headless": "big.default.svc.cluster.local."} {
		b.Run(name, func(b *testing.B) {
			m := new(mdns.Msg)
			m.SetQuestion(n, mdns.TypeA)
			pkt, err := m.Pack()
			if err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, 0, maxReply)
			b.ReportAllocs()
			for b.Loop() {
				if what, _ := k.answer(pkt, buf, 0, netip.Addr{}, 0); what != reply {
					b.Fatal(what)
				}
			}
		})
	}
}
