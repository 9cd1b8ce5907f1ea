package dns

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"

	"github.com/fairway-net/fairway/internal/dns/index"
	"github.com/fairway-net/fairway/internal/dns/wire"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/zone"
	"github.com/fairway-net/fairway/internal/state"
)

// none is an upstream that must not be asked.
var none Upstream

// ask answers one question without sockets; the reply is read by miekg/dns.
func ask(t testing.TB, x *index.Index, name string, qtype uint16) *mdns.Msg {
	t.Helper()
	q := new(mdns.Msg)
	q.SetQuestion(name, qtype)
	pkt, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	k := &worker{s: &Server{o: Options{Zone: x, Upstream: none, Log: quiet()}, log: newQueryLog()}, stats: &counters{}}
	what, b := k.answer(pkt, nil, wire.MaxTCP, netip.Addr{}, 0)
	if what != reply {
		t.Fatalf("%s %s: outcome %d", name, mdns.TypeToString[qtype], what)
	}
	m := new(mdns.Msg)
	if err := m.Unpack(b); err != nil {
		t.Fatalf("%s %s: the oracle cannot read the reply: %v\n%x", name, mdns.TypeToString[qtype], err, b)
	}
	if m.Id != q.Id || !m.Response || len(m.Question) != 1 || m.Question[0] != q.Question[0] {
		t.Fatalf("%s: not a reply to the question: %v", name, m)
	}
	return m
}

// literal is the zone spelled out: every name with its records by type.
type literal map[string]map[uint16][]string

func (l literal) add(rr zone.RR) {
	parsed, err := mdns.NewRR(rr.String())
	if err != nil {
		panic(fmt.Sprintf("the oracle cannot read %q: %v", rr, err))
	}
	name := strings.ToLower(rr.Name)
	if l[name] == nil {
		l[name] = map[uint16][]string{}
	}
	l[name][uint16(rr.Type)] = append(l[name][uint16(rr.Type)], parsed.String())
	// A name that has something below it exists (RFC 8020).
	for parent := name; strings.HasSuffix(parent, "."+params.Zone+"."); {
		_, parent, _ = strings.Cut(parent, ".")
		if l[parent] == nil {
			l[parent] = map[uint16][]string{}
		}
	}
}

func spellOut(snap *state.Snapshot, p zone.Params) literal {
	l := literal{"svc.cluster.local.": {}, "pod.cluster.local.": {}}
	for _, rr := range zone.Fixed(p, 7) {
		l.add(rr)
	}
	services, namespaces := zone.Keys(state.Changes{All: true}, snap)
	for _, s := range services {
		for _, rr := range zone.Plan(snap, s).List(p) {
			l.add(rr)
		}
	}
	for _, n := range namespaces {
		l[n+".svc.cluster.local."] = map[uint16][]string{}
	}
	// A Service's own address is answered by the Service alone.
	for name, types := range l {
		own := slices.DeleteFunc(slices.Clone(types[mdns.TypePTR]), func(s string) bool {
			return strings.Count(s[strings.LastIndexByte(s, '\t'):], ".") != 5
		})
		if len(own) > 0 {
			l[name][mdns.TypePTR] = own
		}
	}
	return l
}

// check asks for every name of l with every type, and for names beside them.
func check(t *testing.T, x *index.Index, l literal) {
	t.Helper()
	types := []uint16{mdns.TypeA, mdns.TypeAAAA, mdns.TypeSRV, mdns.TypePTR, mdns.TypeTXT, mdns.TypeNS, mdns.TypeSOA, mdns.TypeCNAME, mdns.TypeHTTPS}
	for name, records := range l {
		for _, qtype := range types {
			want := slices.Clone(records[qtype])
			if alias := records[mdns.TypeCNAME]; alias != nil && qtype != mdns.TypeCNAME {
				continue // chases are tested by dig
			}
			m := ask(t, x, name, qtype)
			var got []string
			for _, rr := range m.Answer {
				got = append(got, rr.String())
			}
			slices.Sort(want)
			slices.Sort(got)
			if m.Rcode != mdns.RcodeSuccess || !m.Authoritative || !slices.Equal(got, want) {
				t.Fatalf("%s %s: %s\ngot  %v\nwant %v", name, mdns.TypeToString[qtype], mdns.RcodeToString[m.Rcode], got, want)
			}
			if len(want) == 0 && (len(m.Ns) != 1 || m.Ns[0].Header().Rrtype != mdns.TypeSOA) {
				t.Fatalf("%s %s: NODATA without SOA: %v", name, mdns.TypeToString[qtype], m)
			}
		}
		if !strings.HasSuffix(name, params.Zone+".") {
			continue
		}
		beside := "x" + name
		if l[beside] == nil && name != "cluster.local." {
			if m := ask(t, x, beside, mdns.TypeA); m.Rcode != mdns.RcodeNameError || len(m.Ns) != 1 {
				t.Fatalf("%s: %v", beside, m)
			}
		}
	}
}

// TestTwin compares the packed zone with the literal one.
func TestTwin(t *testing.T) {
	store := cluster()
	check(t, fill(t, store), spellOut(store.Snapshot(), params.Params))
}

// TestTTL: another TTL is that of every record, of those that there are and of
// those that come later.
func TestTTL(t *testing.T) {
	store := cluster()
	x := fill(t, store)
	other := params.Params
	for _, ttl := range []uint32{30, 0, 5} {
		other.TTL = ttl
		x.SetTTL(ttl)
		check(t, x, spellOut(store.Snapshot(), other))
	}
	other.TTL = 3600
	x.SetTTL(3600)
	late := &model.Service{Name: name("default/late"), ClusterIPs: ips("10.96.0.99", "fd00:96::99")}
	store.Update(func(tx *state.Tx) { tx.Set(late) })
	x.Set(zone.Plan(store.Snapshot(), late.Name))
	check(t, x, spellOut(store.Snapshot(), other))
	for _, name := range []string{"nothing.default.svc.cluster.local.", "to-web.default.svc.cluster.local.", "10-0-0-1.default.pod.cluster.local."} {
		m := ask(t, x, name, mdns.TypeA)
		if len(m.Answer)+len(m.Ns) == 0 {
			t.Errorf("%s: %v", name, m)
		}
		for _, rr := range append(m.Answer, m.Ns...) {
			if soa, ok := rr.(*mdns.SOA); rr.Header().Ttl != 3600 || ok && soa.Minttl != 3600 {
				t.Errorf("%s: %v", name, rr)
			}
		}
	}
}

// TestTwinRandom does so after each of many random changes, which the index
// gets one at a time.
func TestTwinRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	store := state.New()
	store.Update(func(tx *state.Tx) { tx.Set(&model.Namespace{Name: "a"}) })
	x := fill(t, store)
	w := store.Watch(zone.Kinds()...)
	defer w.Close()
	for i := range 400 {
		store.Update(func(tx *state.Tx) {
			for range 1 + r.IntN(3) {
				randomChange(r, tx)
			}
		})
		snap, changes := w.Take()
		services, namespaces := zone.Keys(changes, snap)
		for _, s := range services {
			x.Set(zone.Plan(snap, s))
		}
		for _, n := range namespaces {
			x.SetNamespace(n, snap.Namespace(n) != nil)
		}
		if i%10 == 0 || i > 390 {
			check(t, x, spellOut(snap, params.Params))
		}
	}
	// When all is gone nothing may be left behind.
	snap := store.Snapshot()
	for s := range snap.Services.All() {
		x.Set(zone.Records{Name: model.ParseName(s)})
	}
	for n := range snap.Namespaces.All() {
		x.SetNamespace(n, false)
	}
	check(t, x, spellOut(state.New().Snapshot(), params.Params))
	if services, namespaces := x.Names(); len(services)+len(namespaces) > 0 || x.Reverse() != 0 {
		t.Errorf("left behind: %v %v, %d reverse names", services, namespaces, x.Reverse())
	}
}

func randomChange(r *rand.Rand, tx *state.Tx) {
	n := model.Name{Namespace: string('a' + rune(r.IntN(3))), Name: fmt.Sprintf("s%d", r.IntN(6))}
	addr := func() netip.Addr {
		if r.IntN(3) == 0 {
			return netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(r.IntN(6))})
		}
		return netip.AddrFrom4([4]byte{10, 244, 0, byte(r.IntN(20))})
	}
	ports := func() (out []model.EndpointPort) {
		for _, p := range []string{"http", "dns", ""}[:r.IntN(4)] {
			out = append(out, model.EndpointPort{Name: p, Protocol: []model.Protocol{model.TCP, model.UDP}[r.IntN(2)], Port: uint16(1 + r.IntN(3))})
		}
		return out
	}
	switch r.IntN(8) {
	case 0:
		tx.Delete(model.KindService, n.String())
	case 1:
		tx.Set(&model.Namespace{Name: n.Namespace})
	case 2:
		tx.Delete(model.KindNamespace, n.Namespace)
	case 3:
		s := &model.Service{Name: n, ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, n.Namespace[0], n.Name[1]})}}
		for _, p := range ports() {
			s.Ports = append(s.Ports, model.ServicePort{Name: p.Name, Protocol: p.Protocol, Port: p.Port})
		}
		tx.Set(s)
	case 4, 5:
		tx.Set(&model.Service{Name: n, Headless: true})
	default:
		s := &model.EndpointSlice{Name: model.Name{Namespace: n.Namespace, Name: fmt.Sprint(n.Name, r.IntN(2))}, Service: n.Name, Ports: ports()}
		for range r.IntN(5) {
			s.Endpoints = append(s.Endpoints, model.Endpoint{Addr: addr(), Ready: r.IntN(4) > 0, Hostname: []string{"", "", "h0", "H1"}[r.IntN(4)]})
		}
		tx.Set(s)
	}
}
