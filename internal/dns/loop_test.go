package dns

import (
	"bytes"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
)

// TestLoopIsFoundOut: an upstream that asks us, by way of another, is found out and left
// alone; the zone is served throughout, and the way is taken again when it is mended.
func TestLoopIsFoundOut(t *testing.T) {
	var back atomic.Pointer[string] // where the upstream forwards to; nil: it answers itself
	handler := mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
		if to := back.Load(); to != nil {
			c := mdns.Client{Timeout: 5 * time.Second}
			if r, _, err := c.Exchange(q, *to); err == nil {
				r.Id = q.Id
				w.WriteMsg(r)
			}
			return
		}
		m := new(mdns.Msg).SetRcode(q, mdns.RcodeNameError)
		if q.Question[0].Name == "www.example.com." {
			m.Rcode = 0
			m.Answer = []mdns.RR{&mdns.A{Hdr: mdns.RR_Header{Name: "www.example.com.", Rrtype: mdns.TypeA, Class: mdns.ClassINET, Ttl: 60}, A: net.IPv4(192, 0, 2, 80)}}
		}
		w.WriteMsg(m)
	})
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	upstream := &mdns.Server{PacketConn: l, Handler: handler}
	go upstream.ActivateAndServe()
	t.Cleanup(func() { l.Close() })

	fwd := forwarder(l.LocalAddr().(*net.UDPAddr).AddrPort())
	addr := start(t, Options{Zone: fill(t, cluster()), Upstream: fwd})
	here := addr.String()
	back.Store(&here)
	if again := fwd.ProbeLoops(t.Context()); again > 10*time.Second {
		t.Errorf("a loop is looked at again after %v", again)
	}
	began := time.Now()
	if r := exchange(t, "udp", addr, "www.example.com.", mdns.TypeA, 0); r.Rcode != mdns.RcodeServerFailure || time.Since(began) > time.Second {
		t.Errorf("in a loop: %s after %v", mdns.RcodeToString[r.Rcode], time.Since(began))
	}
	if r := exchange(t, "udp", addr, "plain.default.svc.cluster.local.", mdns.TypeA, 0); len(r.Answer) != 1 {
		t.Errorf("the zone in a loop: %v", r)
	}
	var b bytes.Buffer
	if fwd.WriteMetrics(&b); !strings.Contains(b.String(), "fairway_dns_upstream_loop{server=\""+l.LocalAddr().String()+"\"} 1\n") {
		t.Errorf("metrics do not tell of the loop")
	}
	back.Store(nil)
	if again := fwd.ProbeLoops(t.Context()); again < time.Minute {
		t.Errorf("without a loop it is looked for again after %v", again)
	}
	if r := exchange(t, "udp", addr, "www.example.com.", mdns.TypeA, 0); len(r.Answer) != 1 {
		t.Errorf("without the loop: %v", r)
	}
}
