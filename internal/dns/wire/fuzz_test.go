package wire

import (
	"bytes"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"
)

func seeds(f *testing.F) {
	add := func(m *mdns.Msg) {
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	m := new(mdns.Msg)
	m.SetQuestion("Web.default.svc.cluster.local.", mdns.TypeA)
	add(m)
	m.SetEdns0(4096, true)
	add(m)
	m.IsEdns0().SetVersion(1)
	add(m)
	m.Opcode = mdns.OpcodeUpdate
	add(m)
	r := new(mdns.Msg)
	r.SetReply(m)
	r.Opcode = mdns.OpcodeQuery
	r.Compress = true
	for _, s := range []string{"web.default.svc.cluster.local. 5 IN CNAME b.cluster.local.", "b.cluster.local. 5 IN SRV 0 1 2 c.cluster.local.",
		"cluster.local. 5 IN SOA a.b.cluster.local. c.cluster.local. 1 2 3 4 5", "cluster.local. 1 IN MX 10 mx.cluster.local.", `x. 1 IN TXT "a"`} {
		rr, err := mdns.NewRR(s)
		if err != nil {
			f.Fatal(err)
		}
		r.Answer = append(r.Answer, rr)
	}
	r.SetEdns0(1232, true)
	add(r)
	f.Add([]byte{})
	f.Add(make([]byte, 12))
	f.Add([]byte("\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"))
}

// FuzzQuery: nothing makes Parse fail badly, and whatever it takes for a query
// the oracle takes for the same one.
func FuzzQuery(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var q Query
		problem := q.Parse(b)
		// A reply to it, with or without a problem, is one that the oracle reads.
		if problem != Short && problem != Reply {
			var w Writer
			w.Begin(nil, &q, Limit(&q))
			w.Rcode(problem.Rcode())
			out := w.Finish()
			m := new(mdns.Msg)
			if err := m.Unpack(out); err != nil {
				t.Fatalf("reply to %x: %v", b, err)
			}
			if len(out) > Limit(&q) {
				t.Fatalf("reply of %d bytes, limit %d", len(out), Limit(&q))
			}
		}
		m := new(mdns.Msg)
		if err := m.Unpack(b); err != nil || problem != OK {
			return
		}
		if m.Id != q.ID || m.Response || m.Opcode != 0 || len(m.Question) != 1 {
			t.Fatalf("%x: taken for a query, the oracle says %v", b, m)
		}
		got := m.Question[0]
		if got.Qtype != q.Type || got.Qclass != q.Class {
			t.Fatalf("%x: question %v, want type %d class %d", b, got, q.Type, q.Class)
		}
		packed := make([]byte, 300)
		n, err := mdns.PackDomainName(strings.ToLower(got.Name), packed, 0, nil, false)
		if err != nil || !bytes.Equal(packed[:n], q.Lower()) {
			t.Fatalf("%x: name %q, oracle %q (%v)", b, q.Lower(), got.Name, err)
		}
		if labels := mdns.CountLabel(got.Name); labels != q.NumLabels {
			t.Fatalf("%q: %d labels, oracle %d", got.Name, q.NumLabels, labels)
		}
		if opt := m.IsEdns0(); (opt != nil) != q.EDNS || opt != nil && opt.Do() != q.DO {
			t.Fatalf("%x: EDNS %v DO %v, oracle %v", b, q.EDNS, q.DO, opt)
		}
	})
}

// FuzzMessage: what the oracle reads as a response we read too, with the same
// records, and spelling them out does not change them.
func FuzzMessage(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := ParseMessage(bytes.Clone(b))
		o := new(mdns.Msg)
		if err := o.Unpack(b); err != nil || !ok {
			if ok {
				for _, rr := range m.Answer { // must not panic on what only we can read
					AppendRR(nil, m.Raw, rr, []byte{0})
				}
			}
			return
		}
		if len(o.Question) != 1 || len(o.Answer) != len(m.Answer)+opts(o.Answer) {
			t.Fatalf("%x: %d answers, oracle %d", b, len(m.Answer), len(o.Answer))
		}
		if opts(o.Answer) > 0 {
			return
		}
		for i, rr := range m.Answer {
			name, ok := Name(nil, m.Raw, rr.NameOff)
			if !ok {
				continue // a pointer forwards: the oracle follows it, we do not
			}
			out, ok := AppendRR(nil, m.Raw, rr, name)
			if !ok || !wellKnown(rr.Type) {
				continue // the oracle follows pointers where RFC 3597 has none
			}
			got, _, err := mdns.UnpackRR(out, 0)
			if err != nil {
				t.Fatalf("%x: record %d spelled out as %x: %v", b, i, out, err)
			}
			if got.String() != o.Answer[i].String() {
				t.Fatalf("record %d: %v, oracle %v", i, got, o.Answer[i])
			}
		}
	})
}

func wellKnown(t uint16) bool {
	switch t {
	case TypeA, TypeAAAA, TypeCNAME, TypeNS, TypePTR, TypeDNAME, TypeSOA, TypeMX, TypeSRV, TypeTXT:
		return true
	}
	return false
}

func opts(rrs []mdns.RR) (n int) {
	for _, rr := range rrs {
		if rr.Header().Rrtype == mdns.TypeOPT {
			n++
		}
	}
	return n
}

// FuzzName: the two spellings of a name are each other's inverse.
func FuzzName(f *testing.F) {
	for _, s := range []string{"", ".", "a", "web.default.svc.cluster.local", "a..b", "A.b.", strings.Repeat("x", 64), strings.Repeat("a.", 130)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, ok := PackName(s)
		if !ok {
			return
		}
		if len(name) > 255 || name[len(name)-1] != 0 {
			t.Fatalf("%q: %x", s, name)
		}
		text := UnpackName(name)
		if strings.Contains(text, `\`) {
			return
		}
		if again, ok := PackName(text); !ok || !bytes.Equal(again, name) {
			t.Fatalf("%q: %x, then %x", s, name, again)
		}
	})
}
