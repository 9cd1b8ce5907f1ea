package dns

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/fairway-net/fairway/internal/dns/forward"
	"github.com/fairway-net/fairway/internal/dns/index"
	"github.com/fairway-net/fairway/internal/dns/wire"
	"github.com/fairway-net/fairway/internal/plan/zone"
)

func forwarder(servers ...netip.AddrPort) *forward.Forwarder {
	var upstreams []forward.Server
	for _, a := range servers {
		upstreams = append(upstreams, forward.Server{Addr: a})
	}
	f, err := forward.New(forward.Options{Upstreams: upstreams, Log: quiet()})
	if err != nil {
		panic(err)
	}
	return f
}

// big is a zone with a headless Service of n endpoints.
func big(t testing.TB, n int) *index.Index {
	x := fill(t, cluster())
	r := zone.Records{Name: name("default/big")}
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, 244, byte(i >> 8), byte(i)})
		r.Hosts = append(r.Hosts, zone.Host{Label: zone.Dashed(a), Addrs: []netip.Addr{a}, Ports: []zone.Port{{Name: "http", Protocol: 6, Port: 80}}})
	}
	slices.SortFunc(r.Hosts, func(a, b zone.Host) int {
		if a.Label < b.Label {
			return -1
		}
		return 1
	})
	x.Set(r)
	return x
}

// exchange asks addr with the third-party library.
func exchange(t testing.TB, network string, addr netip.AddrPort, name string, qtype uint16, edns uint16) *mdns.Msg {
	t.Helper()
	m := new(mdns.Msg)
	m.SetQuestion(name, qtype)
	if edns > 0 {
		m.SetEdns0(edns, false)
	}
	c := &mdns.Client{Net: network, Timeout: 5 * time.Second}
	r, _, err := c.Exchange(m, addr.String())
	if err != nil {
		t.Fatalf("%s %s over %s: %v", name, mdns.TypeToString[qtype], network, err)
	}
	return r
}

func TestTruncation(t *testing.T) {
	addr := start(t, Options{Zone: big(t, 500), Upstream: forwarder(outsideWorld(t).addr)})
	for _, c := range []struct {
		name  string
		qtype uint16
		edns  uint16
		limit int
	}{
		{"big.default.svc.cluster.local.", mdns.TypeA, 0, 512},
		{"big.default.svc.cluster.local.", mdns.TypeA, 100, 512},
		{"big.default.svc.cluster.local.", mdns.TypeA, 900, 900},
		{"big.default.svc.cluster.local.", mdns.TypeA, 65535, 1232},
		{"_http._tcp.big.default.svc.cluster.local.", mdns.TypeSRV, 4096, 1232},
		{"big.example.com.", mdns.TypeA, 1232, 1232},
	} {
		r := exchange(t, "udp", addr, c.name, c.qtype, c.edns)
		// Len counts without the compression that the server uses, so it says
		// nothing about size: pack it again as the server does.
		r.Compress = true
		b, err := r.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if !r.Truncated || len(b) > c.limit {
			t.Errorf("%s size %d: %d bytes, truncated %v", c.name, c.edns, len(b), r.Truncated)
		}
		if (r.IsEdns0() != nil) != (c.edns > 0) {
			t.Errorf("%s size %d: OPT %v", c.name, c.edns, r.IsEdns0())
		}
		full := exchange(t, "tcp", addr, c.name, c.qtype, c.edns)
		if want := map[bool]int{true: 500, false: 200}[c.name != "big.example.com."]; full.Truncated || len(full.Answer) != want {
			t.Errorf("%s over TCP: %d answers, truncated %v", c.name, len(full.Answer), full.Truncated)
		}
	}
	// BIND's client asks again by itself.
	for _, args := range [][]string{{"+noedns"}, {"+bufsize=900"}} {
		if got := dig(t, addr, append(args, "big.default.svc.cluster.local.", "A")...); len(got) != 501 || got[0] != "NOERROR qr aa rd ra" {
			t.Errorf("dig %v: %d lines, %s", args, len(got), got[0])
		}
	}
	// What fits of the zone's own lists comes along: some clients never ask again.
	if r := exchange(t, "udp", addr, "big.default.svc.cluster.local.", mdns.TypeA, 0); len(r.Answer) < 20 {
		t.Errorf("only %d addresses in a truncated reply", len(r.Answer))
	}
}

func TestRotation(t *testing.T) {
	addr := start(t, Options{Zone: big(t, 10), Upstream: forwarder()})
	first := map[string]int{}
	for range 400 {
		r := exchange(t, "udp", addr, "big.default.svc.cluster.local.", mdns.TypeA, 0)
		seen := map[string]bool{}
		for _, rr := range r.Answer {
			seen[rr.(*mdns.A).A.String()] = true
		}
		if len(seen) != 10 {
			t.Fatalf("%d different addresses, want 10", len(seen))
		}
		first[r.Answer[0].(*mdns.A).A.String()]++
	}
	for a, n := range first { // 40 each; a fair draw leaves 10…80 once in a billion runs
		if n < 10 || n > 80 {
			t.Errorf("%s came first %d times of 400", a, n)
		}
	}
	if len(first) != 10 {
		t.Errorf("%d addresses came first, want all 10", len(first))
	}
}

// TestPipelining sends a query that must wait and one that need not in one
// segment: the second answer comes first (RFC 7766, section 6.2.1.1).
func TestPipelining(t *testing.T) {
	world := outsideWorld(t)
	world.delay.Store(int64(300 * time.Millisecond))
	addr := start(t, Options{Zone: fill(t, cluster()), Upstream: forwarder(world.addr)})
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var out []byte
	for id, n := range []string{"web.example.com.", "web.default.svc.cluster.local.", "plain.default.svc.cluster.local."} {
		m := new(mdns.Msg)
		m.SetQuestion(n, mdns.TypeA)
		m.Id = uint16(id)
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		out = append(append(out, byte(len(b)>>8), byte(len(b))), b...)
	}
	if _, err := conn.Write(out); err != nil {
		t.Fatal(err)
	}
	// The client is done sending; all answers must still come.
	conn.(*net.TCPConn).CloseWrite()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	var ids []uint16
	c := &mdns.Conn{Conn: conn}
	for range 3 {
		m, err := c.ReadMsg()
		if err != nil {
			t.Fatalf("after %v: %v", ids, err)
		}
		if len(m.Answer) == 0 {
			t.Errorf("no answer: %v", m)
		}
		ids = append(ids, m.Id)
	}
	if !slices.Equal(ids, []uint16{1, 2, 0}) {
		t.Errorf("order %v, want 1 2 0", ids)
	}
	if _, err := c.ReadMsg(); err != io.EOF {
		t.Errorf("connection not closed: %v", err)
	}
}

// TestMalformed sends what no client should: none of it stops the server, and
// nothing is answered by more than its question.
func TestMalformed(t *testing.T) {
	addr := start(t, Options{Zone: fill(t, cluster()), Upstream: forwarder()})
	conn, err := net.Dial("udp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	header := func(flags, counts string) string { return "\x12\x34" + flags + counts }
	const one = "\x00\x01\x00\x00\x00\x00\x00\x00"
	const q = "\x03web\x07default\x03svc\x07cluster\x05local\x00\x00\x01\x00\x01"
	for _, c := range []struct {
		what, msg string
		rcode     int // -1: no reply
	}{
		{"empty", "", -1},
		{"short", "\x12\x34\x01\x00", -1},
		{"a response", header("\x81\x80", one) + q, -1},
		{"no question", header("\x01\x00", "\x00\x00\x00\x00\x00\x00\x00\x00"), wire.FormErr},
		{"two questions", header("\x01\x00", "\x00\x02\x00\x00\x00\x00\x00\x00") + q + q, wire.FormErr},
		{"question cut off", header("\x01\x00", one) + q[:20], wire.FormErr},
		{"type cut off", header("\x01\x00", one) + q[:len(q)-3], wire.FormErr},
		{"compressed question", header("\x01\x00", one) + "\xc0\x0c\x00\x01\x00\x01", wire.FormErr},
		{"label type 01", header("\x01\x00", one) + "\x41a\x00\x00\x01\x00\x01", wire.FormErr},
		{"record missing", header("\x01\x00", "\x00\x01\x00\x00\x00\x00\x00\x01") + q, wire.FormErr},
		{"record looping", header("\x01\x00", "\x00\x01\x00\x00\x00\x00\x00\x01") + q + "\xc0\x2e\x00\x29", wire.FormErr},
		{"two OPT", header("\x01\x00", "\x00\x01\x00\x00\x00\x00\x00\x02") + q + "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00" + "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00", wire.FormErr},
		{"OPT with a name", header("\x01\x00", "\x00\x01\x00\x00\x00\x00\x00\x01") + q + "\x01a\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00", wire.FormErr},
		{"update", header("\x28\x00", one) + q, wire.NotImp},
		{"OPT asked for", header("\x01\x00", one) + "\x00\x00\x29\x00\x01", wire.FormErr},
		{"transfer", header("\x01\x00", one) + "\x07cluster\x05local\x00\x00\xfc\x00\x01", wire.Refused},
	} {
		if _, err := conn.Write([]byte(c.msg)); err != nil {
			t.Fatal(err)
		}
		// A good query after the bad one says that the server has seen both.
		good := new(mdns.Msg)
		good.SetQuestion("plain.default.svc.cluster.local.", mdns.TypeA)
		good.Id = 0x4321
		b, _ := good.Pack()
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
		rcode := -1
		for {
			buf := make([]byte, 2048)
			conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("%s: the good query after it: %v", c.what, err)
			}
			m := new(mdns.Msg)
			if err := m.Unpack(buf[:n]); err != nil {
				t.Fatalf("%s: reply %x: %v", c.what, buf[:n], err)
			}
			if m.Id == good.Id {
				break
			}
			rcode = m.Rcode
			if n > len(c.msg)+11 || m.Id != 0x1234 || len(m.Answer)+len(m.Ns) > 0 {
				t.Errorf("%s: reply of %d bytes: %v", c.what, n, m)
			}
		}
		if rcode != c.rcode {
			t.Errorf("%s: rcode %d, want %d", c.what, rcode, c.rcode)
		}
	}
}

// TestSourceAddress: on a wildcard socket the reply must come from the address
// that was asked, or the client drops it. (A connected socket does so too.)
func TestSourceAddress(t *testing.T) {
	listen := []netip.AddrPort{netip.MustParseAddrPort("[::]:0")}
	addr := start(t, Options{Zone: fill(t, cluster()), Upstream: forwarder(outsideWorld(t).addr), Listen: listen})
	targets := []string{"127.0.0.1", "127.0.0.77"}
	if _, err := os.Stat("/proc/net/if_inet6"); err == nil {
		if l, err := net.ListenPacket("udp", "[::1]:0"); err == nil {
			l.Close()
			targets = append(targets, "::1")
		}
	}
	for _, to := range targets {
		at := netip.AddrPortFrom(ip(to), addr.Port())
		for _, n := range []string{"web.default.svc.cluster.local.", "web.example.com."} {
			if r := exchange(t, "udp", at, n, mdns.TypeA, 0); len(r.Answer) == 0 {
				t.Errorf("%s at %s: %v", n, to, r)
			}
		}
	}
}

// TestUnsynced: before the first sync nobody may learn that a name is not there.
func TestUnsynced(t *testing.T) {
	x, err := index.New(params)
	if err != nil {
		t.Fatal(err)
	}
	world := outsideWorld(t)
	addr := start(t, Options{Zone: x, Upstream: forwarder(world.addr)})
	askAll(t, addr, "testdata/unsynced.txt")
	if n := world.asked.Load(); n != 0 {
		t.Errorf("%d questions were forwarded", n)
	}
	if r := exchange(t, "udp", addr, "web.example.com.", mdns.TypeA, 0); len(r.Answer) != 2 {
		t.Errorf("names of others must work meanwhile: %v", r)
	}
}

// TestChurn changes Services under queries: each change is visible in the next
// answer, and names that do not change are never missing.
func TestChurn(t *testing.T) {
	x := fill(t, cluster())
	addr := start(t, Options{Zone: x, Upstream: forwarder()})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			c := &mdns.Client{Timeout: 5 * time.Second}
			for ctx.Err() == nil {
				m := new(mdns.Msg)
				m.SetQuestion("web.default.svc.cluster.local.", mdns.TypeA)
				r, _, err := c.Exchange(m, addr.String())
				if err != nil || len(r.Answer) != 1 {
					t.Errorf("a Service that did not change: %v %v", r, err)
					return
				}
			}
		})
	}
	conn, err := mdns.Dial("udp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ask := func(n string, qtype uint16) *mdns.Msg {
		m := new(mdns.Msg)
		m.SetQuestion(n, qtype)
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		if err := conn.WriteMsg(m); err != nil {
			t.Fatal(err)
		}
		r, err := conn.ReadMsg()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for i := range 1500 {
		a := netip.AddrFrom4([4]byte{10, 97, byte(i >> 8), byte(i)})
		n := name(fmt.Sprintf("churn/s%d", i%300))
		fqdn := n.Name + ".churn.svc.cluster.local."
		x.Set(zone.Records{Name: n, Addrs: []netip.Addr{a}})
		if r := ask(fqdn, mdns.TypeA); len(r.Answer) != 1 || r.Answer[0].(*mdns.A).A.String() != a.String() {
			t.Fatalf("added %s with %s: %v", n, a, r)
		}
		if r := ask(zone.ReverseName(a), mdns.TypePTR); len(r.Answer) != 1 {
			t.Fatalf("added %s: %v", a, r)
		}
		if i%3 == 0 {
			x.Set(zone.Records{Name: n})
			if r := ask(fqdn, mdns.TypeA); r.Rcode != mdns.RcodeNameError {
				t.Fatalf("removed %s: %v", n, r)
			}
		}
	}
	cancel()
	wg.Wait()
}

// TestEnd: a client that waits for upstream when the server is told to end
// still gets its answer.
func TestEnd(t *testing.T) {
	world := outsideWorld(t)
	world.delay.Store(int64(300 * time.Millisecond))
	s, err := New(Options{Zone: fill(t, cluster()), Upstream: forwarder(world.addr), Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, 2*time.Second) }()
	time.AfterFunc(100*time.Millisecond, cancel)
	if r := exchange(t, "udp", s.Addrs()[0], "web.example.com.", mdns.TypeA, 0); len(r.Answer) != 2 {
		t.Errorf("%v", r)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("does not end")
	}
	if _, err := net.DialTimeout("tcp", s.Addrs()[0].String(), time.Second); err == nil {
		t.Error("still listens")
	}
}

// TestNoAllocation keeps the hot path free of garbage.
func TestNoAllocation(t *testing.T) {
	world := outsideWorld(t)
	fwd := forwarder(world.addr)
	x := big(t, 20)
	s := &Server{o: Options{Zone: x, Upstream: fwd, Log: quiet()}, log: newQueryLog()}
	k := &worker{s: s, stats: &counters{}}
	buf := make([]byte, 0, maxReply)
	for _, n := range []string{"web.default.svc.cluster.local.", "_http._tcp.big.default.svc.cluster.local.", "nothing.default.svc.cluster.local.",
		"to-web.default.svc.cluster.local.", "20.0.96.10.in-addr.arpa.", "web.example.com."} {
		m := new(mdns.Msg)
		m.SetQuestion(n, mdns.TypeA)
		if n[0] == '_' {
			m.Question[0].Qtype = mdns.TypeSRV
		}
		m.SetEdns0(1232, false)
		pkt, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if what, _ := k.answer(pkt, buf, 0, netip.Addr{}, 0); what == wait {
			(&worker{s: s, stats: k.stats}).ask(t.Context(), pkt, 0) // fills the cache
		}
		if allocs := testing.AllocsPerRun(200, func() {
			if what, _ := k.answer(pkt, buf, 0, netip.Addr{}, 0); what != reply {
				t.Fatalf("%s: outcome %d", n, what)
			}
		}); allocs != 0 {
			t.Errorf("%s: %.1f allocations", n, allocs)
		}
	}
}

// FuzzAnswer: whatever is asked, the reply is one that the oracle reads, to
// that question, and within the limit.
func FuzzAnswer(f *testing.F) {
	x := big(f, 100)
	for _, n := range []string{"web.default.svc.cluster.local.", "_http._tcp.big.default.svc.cluster.local.", "to-db.default.svc.cluster.local.",
		"10-0-0-1.default.pod.cluster.local.", "20.0.96.10.in-addr.arpa.", "cluster.local.", "."} {
		m := new(mdns.Msg)
		m.SetQuestion(n, mdns.TypeA)
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	s := &Server{o: Options{Zone: x, Upstream: forwarder(), Log: quiet()}, log: newQueryLog()}
	f.Fuzz(func(t *testing.T, pkt []byte) {
		k := &worker{s: s, stats: &counters{}}
		what, b := k.answer(pkt, make([]byte, 0, 64), 0, netip.Addr{}, 0)
		if what != reply {
			return
		}
		m := new(mdns.Msg)
		if err := m.Unpack(b); err != nil {
			t.Fatalf("reply %x: %v", b, err)
		}
		if len(b) > wire.Limit(&k.query) {
			t.Fatalf("%d bytes, limit %d", len(b), wire.Limit(&k.query))
		}
		asked := new(mdns.Msg)
		if asked.Unpack(pkt) == nil && len(asked.Question) == 1 && asked.Opcode == mdns.OpcodeQuery && m.Rcode != mdns.RcodeFormatError {
			if m.Id != asked.Id || !m.Response || m.Opcode != asked.Opcode || m.RecursionDesired != asked.RecursionDesired || len(m.Question) != 1 || m.Question[0] != asked.Question[0] {
				t.Fatalf("asked %v\nreply %v", asked, m)
			}
			if (m.IsEdns0() != nil) != (asked.IsEdns0() != nil) {
				t.Fatalf("asked %v\nreply %v", asked, m)
			}
		}
		for _, rr := range m.Answer {
			if h := rr.Header(); h.Class != mdns.ClassINET || h.Ttl > 28800 {
				t.Fatalf("%v", rr)
			}
		}
	})
}

// TestLoop: two servers that forward to each other end in one timeout and a
// handful of questions, not in a storm.
func TestLoop(t *testing.T) {
	free := func() netip.AddrPort {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().(*net.TCPAddr).AddrPort()
	}
	a, b := free(), free()
	var fwds []*forward.Forwarder
	for at, to := range map[netip.AddrPort]netip.AddrPort{a: b, b: a} {
		f, err := forward.New(forward.Options{Upstreams: []forward.Server{{Addr: to}}, Timeout: 300 * time.Millisecond, Log: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		fwds = append(fwds, f)
		start(t, Options{Zone: fill(t, cluster()), Upstream: f, Listen: []netip.AddrPort{at}})
	}
	begin := time.Now()
	if r := exchange(t, "udp", a, "www.example.com.", mdns.TypeA, 0); r.Rcode != mdns.RcodeServerFailure || time.Since(begin) > 3*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), r)
	}
	if n := fwds[0].Stats().Asked.Load() + fwds[1].Stats().Asked.Load(); n > 4 {
		t.Errorf("%d questions went round", n)
	}
}
