package proxy

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fairway-net/fairway/internal/plan/route"
)

// wish is what a request wants of the endpoint that it gets.
type wish struct {
	sticky  string // value of its affinity cookie
	balance *route.Balance
	key     string // what balance hashes
}

// wish is that of the exchange.
func (x *exchange) wish() wish {
	f := x.rule.Forward
	w := wish{sticky: x.stickyToken(f.Affinity), balance: f.Balance}
	if w.balance != nil && w.balance.Key != nil {
		w.key = x.expand(w.balance.Key)
	}
	return w
}

// choose returns an endpoint that was not tried, nil if there is none. Those that
// fail lately come last. The endpoint of an affinity cookie comes first.
func (p *pool) choose(tried []*endpoint, w wish, now time.Time) *endpoint {
	if w.sticky != "" {
		if e := p.named(w.sticky); e != nil && !slices.Contains(tried, e) && !e.resting(now) {
			return e
		}
	}
	pick := p.inTurn
	switch b := w.balance; {
	case b == nil:
	case w.key != "" && b.Subset > 1:
		return p.ofSubset(tried, w.key, b.Subset, now)
	case w.key != "":
		return p.ofSubset(tried, w.key, 1, now)
	case b.EWMA:
		pick = p.betterOfTwo
	}
	if e := pick(tried, func(e *endpoint) bool { return !e.resting(now) }); e != nil {
		return e
	}
	return pick(tried, func(*endpoint) bool { return true })
}

// named returns the endpoint of an affinity cookie, nil if it has left.
func (p *pool) named(token string) *endpoint {
	for _, e := range p.endpoints {
		if e.token == token {
			return e
		}
	}
	return nil
}

// inTurn takes turns.
func (p *pool) inTurn(tried []*endpoint, fit func(*endpoint) bool) *endpoint {
	n := len(p.endpoints)
	if n == 0 {
		return nil
	}
	start := int(p.turn.Add(1) % uint32(n))
	for i := range n {
		if e := p.endpoints[(start+i)%n]; !slices.Contains(tried, e) && fit(e) {
			return e
		}
	}
	return nil
}

// betterOfTwo draws two and takes the one with less to do, weighed by how long it
// takes: the peak EWMA of Finagle, which ingress-nginx calls ewma.
func (p *pool) betterOfTwo(tried []*endpoint, fit func(*endpoint) bool) *endpoint {
	a := p.drawn(tried, fit)
	b := p.drawn(tried, fit)
	switch {
	case a == nil:
		return p.inTurn(tried, fit)
	case b != nil && b.score() < a.score():
		return b
	}
	return a
}

func (p *pool) drawn(tried []*endpoint, fit func(*endpoint) bool) *endpoint {
	for range 4 {
		if len(p.endpoints) == 0 {
			return nil
		}
		if e := p.endpoints[rand.IntN(len(p.endpoints))]; !slices.Contains(tried, e) && fit(e) {
			return e
		}
	}
	return nil
}

// ofSubset draws one of the size endpoints that a key belongs to, by rendezvous hashing:
// when an endpoint comes or goes only its own keys move.
func (p *pool) ofSubset(tried []*endpoint, key string, size int, now time.Time) *endpoint {
	type ranked struct {
		e     *endpoint
		score uint64
	}
	all := make([]ranked, 0, len(p.endpoints))
	for _, e := range p.endpoints {
		if !slices.Contains(tried, e) {
			all = append(all, ranked{e, rendezvous(key, e.token)})
		}
	}
	slices.SortFunc(all, func(a, b ranked) int {
		switch {
		case a.e.resting(now) != b.e.resting(now) && b.e.resting(now):
			return -1
		case a.e.resting(now) != b.e.resting(now):
			return 1
		case a.score > b.score:
			return -1
		case a.score < b.score:
			return 1
		}
		return 0
	})
	if len(all) == 0 {
		return nil
	}
	return all[rand.IntN(min(size, len(all)))].e
}

// rendezvous mixes key and endpoint, the same in all gateways (FNV-1a, then the
// finalizer of MurmurHash3, as FNV alone does not mix its last octets).
func rendezvous(key, token string) uint64 {
	h := uint64(14695981039346656037)
	for _, s := range [...]string{key, "\x00", token} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// pace is how quickly an endpoint answers: a mean of seconds that forgets within
// paceMemory, and believes a slower answer at once.
type pace struct{ seconds, at atomic.Uint64 }

const paceMemory = 10 * time.Second

func (e *endpoint) observe(took time.Duration, now time.Time) {
	old, since := math.Float64frombits(e.pace.seconds.Load()), now.UnixNano()-int64(e.pace.at.Swap(uint64(now.UnixNano())))
	mean := took.Seconds()
	if mean < old {
		keep := math.Exp(-float64(max(since, 0)) / float64(paceMemory))
		mean = old*keep + mean*(1-keep)
	}
	e.pace.seconds.Store(math.Float64bits(mean))
}

func (e *endpoint) score() float64 {
	return (math.Float64frombits(e.pace.seconds.Load()) + 1e-6) * float64(e.active.Load()+1)
}

// budget bounds how much of an endpoint's misery is passed on to the others: attempts
// after the first may be a fifth of the requests, and some more for Services that
// have few. Attempts that found no connection do not count, as nobody had work by them.
type budget struct{ tokens atomic.Int64 }

const (
	tokensPerRequest = 200
	tokensPerRetry   = 1000
	tokensMost       = 100 * tokensPerRetry
	tokensFirst      = 10 * tokensPerRetry
)

func (b *budget) request() {
	if b.tokens.Load() < tokensMost {
		b.tokens.Add(tokensPerRequest)
	}
}

func (b *budget) retry() bool {
	if b.tokens.Add(-tokensPerRetry) >= 0 {
		return true
	}
	b.tokens.Add(tokensPerRetry)
	return false
}
