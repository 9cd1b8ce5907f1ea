package forward

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/fairway-net/fairway/internal/dns/wire"
	"github.com/fairway-net/fairway/internal/testkit"
)

// fake is an upstream whose replies a test writes: f returns the messages to
// send for one query, in order.
type fake struct {
	addr  Server
	asked atomic.Int64
	tcp   atomic.Int64
}

func serve(t *testing.T, f func(q *mdns.Msg, tcp bool) []*mdns.Msg) *fake {
	t.Helper()
	l, pc, addr := testkit.Loopback(t)
	u := &fake{addr: Server{Addr: addr}}
	h := mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
		_, tcp := w.RemoteAddr().(*net.TCPAddr)
		u.asked.Add(1)
		if tcp {
			u.tcp.Add(1)
		}
		for _, m := range f(q, tcp) {
			w.WriteMsg(m)
		}
	})
	for _, s := range []*mdns.Server{{Listener: l, Handler: h}, {PacketConn: pc, Handler: h}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe()
		<-started
		t.Cleanup(func() { s.Shutdown() })
	}
	return u
}

// answer replies with records in presentation format; "soa" in front of one puts it into the authority.
func answer(q *mdns.Msg, rrs ...string) *mdns.Msg {
	m := new(mdns.Msg)
	m.SetReply(q)
	m.Compress = true
	for _, s := range rrs {
		text, authority := strings.CutPrefix(s, "soa ")
		rr, err := mdns.NewRR(text)
		if err != nil {
			panic(err)
		}
		if authority {
			m.Ns = append(m.Ns, rr)
		} else {
			m.Answer = append(m.Answer, rr)
		}
	}
	if o := q.IsEdns0(); o != nil {
		m.SetEdns0(1232, o.Do())
	}
	return m
}

// clock is a time that tests move.
type clock struct{ atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1000, c.Load()) }
func (c *clock) forward(d time.Duration) { c.Add(int64(d)) }

func forwarder(t testing.TB, c *clock, o Options) *Forwarder {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	if c != nil {
		o.Now = c.now
	}
	f, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// resolve asks for an A record and returns the reply as a client sees it.
func resolve(t *testing.T, f *Forwarder, name string) (*mdns.Msg, error) {
	t.Helper()
	m := new(mdns.Msg)
	m.SetQuestion(name, mdns.TypeA)
	pkt, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var q wire.Query
	if p := q.Parse(pkt); p != wire.OK {
		t.Fatalf("%s: %v", name, p)
	}
	var w wire.Writer
	w.Begin(nil, &q, wire.MaxTCP)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if !f.Cached(&w) {
		err = f.Reply(ctx, &w)
	}
	r := new(mdns.Msg)
	if e := r.Unpack(w.Finish()); e != nil {
		t.Fatal(e)
	}
	return r, err
}

func want(t *testing.T, r *mdns.Msg, err error, rcode int, rrs ...string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, rr := range append(r.Answer, r.Ns...) {
		got = append(got, strings.Join(strings.Fields(rr.String()), " "))
	}
	if r.Rcode != rcode || strings.Join(got, "\n") != strings.Join(rrs, "\n") {
		t.Fatalf("rcode %d, want %d; got %q, want %q", r.Rcode, rcode, got, rrs)
	}
}

func TestCacheDecaysAndExpires(t *testing.T) {
	u := serve(t, func(q *mdns.Msg, _ bool) []*mdns.Msg {
		return []*mdns.Msg{answer(q, "a.test. 10 IN A 192.0.2.1", "a.test. 20 IN A 192.0.2.2")}
	})
	var c clock
	f := forwarder(t, &c, Options{Upstreams: []Server{u.addr}})
	for _, step := range []struct {
		after time.Duration
		asked int64
		ttls  [2]string
	}{{0, 1, [2]string{"10", "20"}}, {4 * time.Second, 1, [2]string{"6", "16"}}, {4 * time.Second, 1, [2]string{"2", "12"}}, {2 * time.Second, 2, [2]string{"10", "20"}}} {
		c.forward(step.after)
		r, err := resolve(t, f, "a.test.")
		want(t, r, err, mdns.RcodeSuccess, "a.test. "+step.ttls[0]+" IN A 192.0.2.1", "a.test. "+step.ttls[1]+" IN A 192.0.2.2")
		if n := u.asked.Load(); n != step.asked {
			t.Fatalf("upstream was asked %d times, want %d", n, step.asked)
		}
	}
}

// Negative answers live as long as their SOA's minimum, at most 30 s, and not
// at all without a SOA (RFC 2308).
func TestNegative(t *testing.T) {
	u := serve(t, func(q *mdns.Msg, _ bool) []*mdns.Msg {
		var m *mdns.Msg
		switch q.Question[0].Name {
		case "short.test.":
			m = answer(q, "soa test. 3600 IN SOA a. b. 1 2 3 4 7")
		case "long.test.":
			m = answer(q, "soa test. 3600 IN SOA a. b. 1 2 3 4 3600")
		default:
			m = answer(q)
		}
		m.Rcode = mdns.RcodeNameError
		return []*mdns.Msg{m}
	})
	var c clock
	f := forwarder(t, &c, Options{Upstreams: []Server{u.addr}})
	for _, row := range []struct {
		name string
		kept time.Duration
	}{{"short.test.", 7 * time.Second}, {"long.test.", 30 * time.Second}, {"none.test.", 0}} {
		before := u.asked.Load()
		resolve(t, f, row.name)
		if row.kept > 0 {
			c.forward(row.kept - row.kept/10 - 1) // after that it may be refreshed
			if r, err := resolve(t, f, row.name); err != nil || r.Rcode != mdns.RcodeNameError || u.asked.Load() != before+1 {
				t.Errorf("%s: asked again before %v", row.name, row.kept)
			}
		}
		c.forward(row.kept/10 + 1)
		if resolve(t, f, row.name); u.asked.Load() != before+2 {
			t.Errorf("%s: not asked again after %v", row.name, row.kept)
		}
	}
}

func TestOneQuestionAtATime(t *testing.T) {
	release := make(chan struct{})
	u := serve(t, func(q *mdns.Msg, _ bool) []*mdns.Msg {
		<-release
		return []*mdns.Msg{answer(q, "a.test. 10 IN A 192.0.2.1")}
	})
	f := forwarder(t, nil, Options{Upstreams: []Server{u.addr}})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			r, err := resolve(t, f, "a.test.")
			want(t, r, err, mdns.RcodeSuccess, "a.test. 10 IN A 192.0.2.1")
		})
	}
	for deadline := time.Now().Add(5 * time.Second); f.stats.Joined.Load() < 49; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d joined", f.stats.Joined.Load())
		}
	}
	close(release)
	wg.Wait()
	if n := u.asked.Load(); n != 1 {
		t.Errorf("upstream was asked %d times", n)
	}
}

// A datagram that is not the answer, by ID, question or direction, must be
// ignored and not end the wait.
func TestSpoofedAnswersAreIgnored(t *testing.T) {
	u := serve(t, func(q *mdns.Msg, _ bool) []*mdns.Msg {
		id := answer(q, "a.test. 10 IN A 192.0.2.66")
		id.Id++
		name := answer(q, "b.test. 10 IN A 192.0.2.66")
		name.Question[0].Name = "b.test."
		kind := answer(q, "a.test. 10 IN A 192.0.2.66")
		kind.Question[0].Qtype = mdns.TypeAAAA
		query := answer(q, "a.test. 10 IN A 192.0.2.66")
		query.Response = false
		return []*mdns.Msg{id, name, kind, query, answer(q, "a.test. 10 IN A 192.0.2.1")}
	})
	f := forwarder(t, nil, Options{Upstreams: []Server{u.addr}})
	r, err := resolve(t, f, "a.test.")
	want(t, r, err, mdns.RcodeSuccess, "a.test. 10 IN A 192.0.2.1")
}

func TestTruncatedIsAskedOverTCP(t *testing.T) {
	u := serve(t, func(q *mdns.Msg, tcp bool) []*mdns.Msg {
		m := answer(q, "a.test. 10 IN A 192.0.2.1")
		if !tcp {
			m.Answer, m.Truncated = nil, true
		}
		return []*mdns.Msg{m}
	})
	f := forwarder(t, nil, Options{Upstreams: []Server{u.addr}})
	r, err := resolve(t, f, "a.test.")
	want(t, r, err, mdns.RcodeSuccess, "a.test. 10 IN A 192.0.2.1")
	if u.tcp.Load() != 1 {
		t.Error("not asked over TCP")
	}
}

func TestServerFromBeforeEDNS(t *testing.T) {
	u := serve(t, func(q *mdns.Msg, _ bool) []*mdns.Msg {
		if q.IsEdns0() != nil {
			m := new(mdns.Msg)
			m.SetRcode(q, mdns.RcodeFormatError)
			return []*mdns.Msg{m}
		}
		return []*mdns.Msg{answer(q, "a.test. 10 IN A 192.0.2.1")}
	})
	f := forwarder(t, nil, Options{Upstreams: []Server{u.addr}})
	r, err := resolve(t, f, "a.test.")
	want(t, r, err, mdns.RcodeSuccess, "a.test. 10 IN A 192.0.2.1")
}

// A dead server is passed over at once after it has failed, and is asked again
// once per back-off; a server that refuses is no better than a dead one.
func TestFailover(t *testing.T) {
	var mute atomic.Bool
	mute.Store(true)
	first := serve(t, func(q *mdns.Msg, _ bool) []*mdns.Msg {
		if mute.Load() {
			return nil
		}
		return []*mdns.Msg{answer(q, q.Question[0].Name+" 10 IN A 192.0.2.1")}
	})
	refuses := serve(t, func(q *mdns.Msg, _ bool) []*mdns.Msg {
		m := new(mdns.Msg)
		m.SetRcode(q, mdns.RcodeRefused)
		return []*mdns.Msg{m}
	})
	last := serve(t, func(q *mdns.Msg, _ bool) []*mdns.Msg {
		return []*mdns.Msg{answer(q, q.Question[0].Name+" 10 IN A 192.0.2.2")}
	})
	var c clock
	f := forwarder(t, &c, Options{Upstreams: []Server{first.addr, refuses.addr, last.addr}, Timeout: 100 * time.Millisecond})
	for i, name := range []string{"a.test.", "b.test.", "c.test.", "d.test."} {
		start := time.Now()
		r, err := resolve(t, f, name)
		want(t, r, err, mdns.RcodeSuccess, name+" 10 IN A 192.0.2.2")
		if took := time.Since(start); i >= failuresToDown && took > 80*time.Millisecond {
			t.Errorf("%s took %v although the first server is known to be dead", name, took)
		}
	}
	if n := first.asked.Load(); n != failuresToDown {
		t.Errorf("the dead server was asked %d times", n)
	}
	mute.Store(false)
	c.forward(firstBackoff)
	r, err := resolve(t, f, "e.test.")
	want(t, r, err, mdns.RcodeSuccess, "e.test. 10 IN A 192.0.2.1")
}

func TestNoUpstreamFailsAtOnce(t *testing.T) {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := Server{Addr: l.LocalAddr().(*net.UDPAddr).AddrPort()}
	l.Close()
	for what, f := range map[string]*Forwarder{
		"none configured": forwarder(t, nil, Options{}),
		"port closed":     forwarder(t, nil, Options{Upstreams: []Server{closed}}),
	} {
		start := time.Now()
		r, err := resolve(t, f, "a.test.")
		if err == nil || r.Rcode != mdns.RcodeServerFailure || time.Since(start) > time.Second {
			t.Errorf("%s: %v %v after %v", what, r, err, time.Since(start))
		}
	}
}

// RFC 8767: while upstream is dead an expired answer is better than none.
func TestStale(t *testing.T) {
	var mute atomic.Bool
	u := serve(t, func(q *mdns.Msg, _ bool) []*mdns.Msg {
		if mute.Load() {
			return nil
		}
		return []*mdns.Msg{answer(q, "a.test. 10 IN A 192.0.2.1")}
	})
	var c clock
	f := forwarder(t, &c, Options{Upstreams: []Server{u.addr}, Timeout: 50 * time.Millisecond})
	r, err := resolve(t, f, "a.test.")
	want(t, r, err, mdns.RcodeSuccess, "a.test. 10 IN A 192.0.2.1")
	mute.Store(true)
	c.forward(time.Minute)
	for range 3 {
		r, err = resolve(t, f, "a.test.")
		want(t, r, err, mdns.RcodeSuccess, "a.test. 30 IN A 192.0.2.1")
	}
	c.forward(2 * time.Hour)
	if r, err = resolve(t, f, "a.test."); err == nil {
		t.Errorf("after two hours: %v", r)
	}
}

func TestBounds(t *testing.T) {
	release := make(chan struct{})
	u := serve(t, func(q *mdns.Msg, _ bool) []*mdns.Msg {
		<-release
		return []*mdns.Msg{answer(q, q.Question[0].Name+" 60 IN A 192.0.2.1")}
	})
	f := forwarder(t, nil, Options{Upstreams: []Server{u.addr}, InFlight: 1})
	c, err := f.start([]byte("\x01a\x00xxx"), question{name: []byte("\x01a\x00"), rrtype: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := resolve(t, f, "b.test."); !errors.Is(err, ErrBusy) {
		t.Errorf("second question: %v", err)
	}
	close(release)
	<-c.done

	cache := newCache(64*4, 1<<20)
	for i := range 5000 {
		cache.put([]byte{byte(i), byte(i >> 8)}, &Answer{ttl: time.Minute, stored: time.Now(), body: make([]byte, 100)}, time.Now())
	}
	if n := cache.len(); n > 64*4 || n < 64 {
		t.Errorf("%d entries, want at most %d", n, 64*4)
	}
	cache = newCache(1<<20, 64*2000)
	for i := range 5000 {
		cache.put([]byte{byte(i), byte(i >> 8)}, &Answer{ttl: time.Minute, stored: time.Now(), msg: wire.Message{Raw: make([]byte, 500)}}, time.Now())
	}
	total := 0
	for i := range cache.shard {
		total += cache.shard[i].bytes
	}
	if total > 64*2000 || total < 64*800 {
		t.Errorf("%d bytes, want at most %d", total, 64*2000)
	}
}

func TestServers(t *testing.T) {
	got, err := ParseResolvConf(strings.NewReader("# x\nsearch a b\nnameserver 192.0.2.1\nnameserver 2001:db8::1 # two\noptions ndots:5\n"))
	if err != nil || len(got) != 2 || got[0].String() != "192.0.2.1:53" || got[1].String() != "[2001:db8::1]:53" {
		t.Errorf("%v %v", got, err)
	}
	if _, err := ParseResolvConf(strings.NewReader("\nnameserver dns.example\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("error %v does not name the line", err)
	}
	for s, want := range map[string]string{"192.0.2.1": "192.0.2.1:53", "192.0.2.1:54": "192.0.2.1:54", "2001:db8::1": "[2001:db8::1]:53", "[2001:db8::1]:54": "[2001:db8::1]:54"} {
		if a, err := ParseServer(s); err != nil || a.String() != want {
			t.Errorf("%s: %v %v", s, a, err)
		}
	}
	servers := []Server{}
	for _, s := range []string{"127.0.0.53", "10.96.0.10", "10.1.1.1", "192.0.2.1", "127.0.0.1:5353"} {
		a, _ := ParseServer(s)
		servers = append(servers, a)
	}
	ask, self := Own(servers, netip.MustParseAddrPort("[::]:53"), []netip.Addr{netip.MustParseAddr("10.96.0.10")}, []netip.Addr{netip.MustParseAddr("10.1.1.1")})
	if len(ask) != 2 || ask[0].String() != "192.0.2.1:53" || ask[1].String() != "127.0.0.1:5353" || len(self) != 3 {
		t.Errorf("ask %v, self %v", ask, self)
	}
}

// A name of a stub domain is asked of that domain's servers only, and of the
// longest domain's.
func TestStubs(t *testing.T) {
	says := func(a string) *fake {
		return serve(t, func(q *mdns.Msg, _ bool) []*mdns.Msg { return []*mdns.Msg{answer(q, q.Question[0].Name+" 10 IN A "+a)} })
	}
	root, corp, deep := says("192.0.2.1"), says("192.0.2.2"), says("192.0.2.3")
	f := forwarder(t, nil, Options{Upstreams: []Server{root.addr}, Stubs: []Stub{
		{"corp.example", []Server{corp.addr}}, {"Deep.corp.example.", []Server{deep.addr}}, {"dark.example", nil}}})
	for name, a := range map[string]string{
		"example.": "192.0.2.1", "notcorp.example.": "192.0.2.1", "corp.example.": "192.0.2.2", "a.b.corp.example.": "192.0.2.2",
		"deep.corp.example.": "192.0.2.3", "a.DEEP.corp.example.": "192.0.2.3", "xdeep.corp.example.": "192.0.2.2",
	} {
		if r, err := resolve(t, f, name); err != nil || len(r.Answer) != 1 || r.Answer[0].(*mdns.A).A.String() != a {
			t.Errorf("%s: %v %v, want %s", name, r, err, a)
		}
	}
	if _, err := resolve(t, f, "a.dark.example."); !errors.Is(err, ErrNoUpstream) {
		t.Errorf("a stub without servers: %v", err)
	}
	for _, stubs := range [][]Stub{{{Domain: "a..b"}}, {{Domain: "a.b"}, {Domain: "A.b."}}} {
		if _, err := New(Options{Stubs: stubs}); err == nil {
			t.Errorf("%v: no error", stubs)
		}
	}
}

// An answer in use is asked for again in the last tenth of its life, once.
func TestRefresh(t *testing.T) {
	u := serve(t, func(q *mdns.Msg, _ bool) []*mdns.Msg { return []*mdns.Msg{answer(q, "a.test. 100 IN A 192.0.2.1")} })
	var c clock
	f := forwarder(t, &c, Options{Upstreams: []Server{u.addr}})
	resolve(t, f, "a.test.")
	c.forward(89 * time.Second)
	resolve(t, f, "a.test.")
	if f.stats.Refreshed.Load() != 0 {
		t.Error("refreshed too early")
	}
	c.forward(2 * time.Second)
	for range 5 {
		r, err := resolve(t, f, "a.test.")
		if err != nil || (r.Answer[0].Header().Ttl != 9 && r.Answer[0].Header().Ttl != 100) {
			t.Fatalf("%v %v", r, err)
		}
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if r, _ := resolve(t, f, "a.test."); r.Answer[0].Header().Ttl == 100 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("not refreshed")
		}
	}
	if n := u.asked.Load(); n != 2 || f.stats.Refreshed.Load() != 1 {
		t.Errorf("asked %d times, refreshed %d", n, f.stats.Refreshed.Load())
	}
}
