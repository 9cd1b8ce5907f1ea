package forward

import (
	"encoding/binary"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fairway-net/fairway/internal/dns/wire"
)

// How long answers are kept, whatever their TTL says.
const (
	maxPositive = time.Hour
	maxNegative = 30 * time.Second // a name that somebody has just made should appear soon
	failureTTL  = time.Second      // RFC 9520, section 3.2: at least one second
	staleFor    = time.Hour        // RFC 8767: after expiry, while upstream does not answer
	staleTTL    = 30               // RFC 8767, section 4
)

// Answer is what upstream said, ready to be copied into replies to the same
// question. It does not change, but for refreshing.
type Answer struct {
	Rcode      int
	refreshing atomic.Bool // a newer one is on its way

	body   []byte   // the records, OPT left out; pointers into the question hold, it is as long in each reply
	ttls   []uint16 // offsets in body
	counts [3]uint16
	base   int  // offset of body in a message
	ad     bool // upstream has validated it
	stored time.Time
	ttl    time.Duration // for how long it is fresh; 0: do not keep
	msg    wire.Message  // its answer section, for FollowTo
	soa    *wire.RR      // of a negative answer, in msg
}

// newAnswer keeps m, which is not used by others afterwards.
func newAnswer(m wire.Message, now time.Time) *Answer {
	a := &Answer{Rcode: m.Rcode, base: m.Body, ad: m.Flags&wire.FlagAD != 0, stored: now, msg: m}
	end := m.Body
	least := uint32(1<<32 - 1)
	for s, rrs := range [][]wire.RR{m.Answer, m.Authority, m.Additional} {
		for _, rr := range rrs {
			if rr.NameOff != end {
				// An OPT record in between was left out. What follows it is
				// additional, and its pointers would no longer be right.
				break
			}
			end = rr.End
			a.counts[s]++
			a.ttls = append(a.ttls, uint16(rr.TTLOff-m.Body))
			least = min(least, rr.TTL)
		}
	}
	a.body = m.Raw[m.Body:end]
	a.ttl = lifetime(&m, least)
	if i := slices.IndexFunc(m.Authority, func(rr wire.RR) bool { return rr.Type == wire.TypeSOA }); i >= 0 {
		a.soa = &wire.RR{}
		*a.soa = m.Authority[i]
	}
	a.msg.Authority, a.msg.Additional = nil, nil
	return a
}

// lifetime applies RFC 2308: a negative answer lives as long as its SOA says,
// and not at all without one.
func lifetime(m *wire.Message, least uint32) time.Duration {
	positive := false
	for _, rr := range m.Answer {
		positive = positive || rr.Type == m.Type || m.Type == wire.TypeANY
	}
	switch {
	case m.Rcode != wire.NoError && m.Rcode != wire.NXDomain:
		return failureTTL
	case m.Rcode == wire.NoError && positive:
		return min(maxPositive, time.Duration(least&^(1<<31))*time.Second)
	}
	for _, rr := range m.Authority {
		if rr.Type == wire.TypeSOA && rr.End-rr.Data >= 20 {
			minimum := binary.BigEndian.Uint32(m.Raw[rr.End-4:])
			return min(maxNegative, time.Duration(min(minimum, least, rr.TTL))*time.Second)
		}
	}
	return 0
}

// failure is a SERVFAIL of our own.
func failure(now time.Time) *Answer {
	return &Answer{Rcode: wire.ServFail, stored: now, ttl: failureTTL}
}

func (a *Answer) fresh(now time.Time) bool { return now.Sub(a.stored) < a.ttl }

// old says that the last tenth of a life has begun that is long enough for
// asking again early to be worth it.
func (a *Answer) old(now time.Time) bool {
	return a.ttl >= 10*time.Second && now.Sub(a.stored) >= a.ttl-a.ttl/10
}

func (a *Answer) stale(now time.Time) bool {
	return a.Rcode != wire.ServFail && now.Sub(a.stored) < a.ttl+staleFor
}

func (a *Answer) size() int { return len(a.msg.Raw) + 2*len(a.ttls) + 56*len(a.msg.Answer) + 300 }

// WriteTo completes the reply to the same question.
func (a *Answer) WriteTo(w *wire.Writer, now time.Time) {
	w.Rcode(a.Rcode)
	q := w.Query()
	if a.ad && (q.DO || q.Flags&wire.FlagAD != 0) { // RFC 6840, section 5.8
		w.Flag(wire.FlagAD)
	}
	at := len(w.Buf)
	if at != a.base && len(a.body) > 0 {
		w.Rcode(wire.ServFail) // not the same question: pointers would be wrong
		return
	}
	if !w.Body(a.body, a.counts) {
		return
	}
	for _, off := range a.ttls {
		a.age(w.Buf[at+int(off):], now)
	}
}

// age makes the TTL at the start of field what is left of it.
func (a *Answer) age(field []byte, now time.Time) {
	age := max(0, now.Sub(a.stored))
	spent := uint32(age / time.Second)
	ttl := binary.BigEndian.Uint32(field)
	switch {
	case age >= a.ttl && a.ttl > 0:
		ttl = staleTTL
	case ttl > spent:
		ttl -= spent
	default:
		ttl = 0
	}
	binary.BigEndian.PutUint32(field, ttl)
}

// has reports whether there is a record of the type that was asked for.
func (a *Answer) has() bool {
	return slices.ContainsFunc(a.msg.Answer, func(rr wire.RR) bool { return rr.Type == a.msg.Type })
}

// FollowTo adds the records that answer a CNAME of ours to the reply: owner is
// where the name that was asked for stands in it.
func (a *Answer) FollowTo(w *wire.Writer, owner int, now time.Time) {
	w.Rcode(a.Rcode)
	for _, rr := range a.msg.Answer {
		if !a.append(w, wire.Answer, rr, owner, now) {
			return
		}
	}
	if a.soa != nil {
		a.append(w, wire.Authority, *a.soa, owner, now)
	}
}

func (a *Answer) append(w *wire.Writer, s wire.Section, rr wire.RR, owner int, now time.Time) bool {
	m := &a.msg
	var buf [256]byte
	name, ok := wire.Name(buf[:0], m.Raw, rr.NameOff)
	if !ok {
		return false
	}
	if string(wire.Lower(name)) == string(m.Question) && owner < 1<<14 {
		name = binary.BigEndian.AppendUint16(name[:0], wire.Pointer(owner))
	}
	before := len(w.Buf)
	out, ok := wire.AppendRR(w.Buf, m.Raw, rr, name)
	w.Buf = out[:before]
	if !ok || !w.Fits(s, len(out)-before) {
		return false
	}
	w.Buf = out
	a.age(w.Buf[before+len(name)+4:], now) // after type and class
	w.Added(s)
	return true
}
