package dns

import (
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/fairway-net/fairway/internal/testkit"
)

// outside is an upstream server of the test, by a third-party library.
type outside struct {
	addr  netip.AddrPort
	asked atomic.Int64
	delay atomic.Int64 // nanoseconds before each answer
	mute  atomic.Bool  // answer nothing
}

// outsideWorld serves example.com on loopback.
func outsideWorld(t testing.TB) *outside {
	t.Helper()
	l, pc, addr := testkit.Loopback(t)
	o := &outside{addr: addr}
	for _, s := range []*mdns.Server{{Listener: l, Handler: o}, {PacketConn: pc, Handler: o}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe()
		<-started
		t.Cleanup(func() { s.Shutdown() })
	}
	return o
}

var outsideRecords = map[string][]string{
	"www.example.com.":    {"www.example.com. 60 IN CNAME web.example.com.", "web.example.com. 30 IN A 192.0.2.80", "web.example.com. 30 IN A 192.0.2.81"},
	"web.example.com.":    {"web.example.com. 30 IN A 192.0.2.80", "web.example.com. 30 IN A 192.0.2.81"},
	"mail.example.com.":   {"mail.example.com. 60 IN MX 10 web.example.com."},
	"web.eu.example.com.": {"web.eu.example.com. 60 IN A 192.0.2.90"},
	"short.example.com.":  {"short.example.com. 1 IN A 192.0.2.1"},
}

const outsideSOA = "example.com. 20 IN SOA ns.example.com. host.example.com. 1 2 3 4 10"

// ServeDNS answers "big" names with more than fits into a UDP packet, "refused"
// and "servfail" names accordingly.
func (o *outside) ServeDNS(w mdns.ResponseWriter, r *mdns.Msg) {
	o.asked.Add(1)
	if o.mute.Load() {
		return
	}
	time.Sleep(time.Duration(o.delay.Load()))
	m := new(mdns.Msg)
	m.SetReply(r)
	m.RecursionAvailable, m.Compress = true, true
	q := r.Question[0]
	switch {
	case strings.HasPrefix(q.Name, "refused."):
		m.Rcode = mdns.RcodeRefused
	case strings.HasPrefix(q.Name, "servfail."):
		m.Rcode = mdns.RcodeServerFailure
	case strings.HasPrefix(q.Name, "big."):
		for i := range 200 {
			m.Answer = append(m.Answer, &mdns.A{Hdr: mdns.RR_Header{Name: q.Name, Rrtype: mdns.TypeA, Class: mdns.ClassINET, Ttl: 60}, A: net.IPv4(192, 0, 2, byte(i))})
		}
	default:
		for _, s := range outsideRecords[q.Name] {
			rr, err := mdns.NewRR(s)
			if err != nil {
				panic(err)
			}
			if t := rr.Header().Rrtype; t == q.Qtype || t == mdns.TypeCNAME {
				m.Answer = append(m.Answer, rr)
			}
		}
		if outsideRecords[q.Name] == nil {
			m.Rcode = mdns.RcodeNameError
		}
		if len(m.Answer) == 0 {
			rr, _ := mdns.NewRR(outsideSOA)
			m.Ns = append(m.Ns, rr)
		}
	}
	if opt := r.IsEdns0(); opt != nil {
		m.SetEdns0(1232, opt.Do())
	}
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		m.Truncate(1232)
	}
	m.Compress = true // Truncate has taken it back
	w.WriteMsg(m)
}
