package proxy

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/fairway-net/fairway/internal/dialect/fairway"
	"github.com/fairway-net/fairway/internal/plan/route"
)

// wish is what a request wants of the endpoint that it gets.
type wish struct {
	sticky  cookie // its affinity cookie
	balance *route.Balance
	key     string // what balance hashes
	single  bool   // it needs a connection of its own
}

// wish is that of the exchange.
func (x *exchange) wish(p *pool) wish {
	f := x.rule.Forward
	w := wish{balance: f.Balance}
	if f.Affinity != nil {
		w.sticky = x.stickyCookie(f.Affinity)
	}
	if w.balance != nil && w.balance.Key != nil {
		w.key = x.expand(w.balance.Key)
	}
	if p.bounded() {
		protocol := p.protocol(f, x.scheme() == "https")
		w.single = protocol == route.HTTP1 || protocol == route.HTTPS || x.connects()
	}
	return w
}

// choose returns an endpoint that was not tried and has room, nil if there is none.
// The endpoint of an affinity cookie comes first, then those that are near, and last
// those that are not well.
func (p *pool) choose(tried []*endpoint, w wish, now time.Time) *endpoint {
	well := func(e *endpoint) bool { return e.well(now) && p.room(e, w.single) }
	if w.sticky.key != "" {
		if e := p.owner(tried, w.sticky, well); e != nil {
			return e
		}
	}
	b := w.balance
	if b != nil && w.key != "" {
		return p.ofSubset(tried, w.key, max(b.Subset, 1), now, w.single)
	}
	policy := p.backend.policy(b)
	if len(p.near) > 0 && p.staysNear(now) {
		if e := p.pick(policy, p.near, tried, well, now); e != nil {
			return e
		}
	}
	if e := p.pick(policy, p.endpoints, tried, well, now); e != nil {
		return e
	}
	return p.pick(policy, p.endpoints, tried, func(e *endpoint) bool { return p.room(e, w.single) }, now)
}

// policy is that of the Ingress, else that of the Service.
func (b *poolBackend) policy(of *route.Balance) fairway.Policy {
	if of != nil && of.EWMA {
		return fairway.EWMA
	}
	return b.Upstream.Policy
}

// pick is one step of a policy, among those of list that were not tried and fit.
func (p *pool) pick(policy fairway.Policy, list, tried []*endpoint, fit func(*endpoint) bool, now time.Time) *endpoint {
	switch policy {
	case fairway.LeastRequest:
		return p.least(list, tried, fit, now)
	case fairway.RandomTwo:
		return p.betterOfTwo(list, tried, fit, (*endpoint).load, now)
	case fairway.EWMA:
		return p.betterOfTwo(list, tried, fit, func(e *endpoint) float64 { return e.score(now) }, now)
	}
	return p.inTurn(list, tried, fit, now)
}

// spill is how many times its own share an endpoint that is near may get before others,
// too, are asked: Envoy's overprovisioning factor.
const spill = 1.4

// staysNear decides whether a request goes to those that are near: while enough of them
// are well, else for as many requests as they can take.
func (p *pool) staysNear(now time.Time) bool {
	n := 0
	for _, e := range p.near {
		if e.well(now) {
			n++
		}
	}
	share := spill * float64(n) / float64(len(p.near))
	return share >= 1 || rand.Float64() < share
}

// inTurn takes turns. Whose turn it is and cannot have it, or starts slowly and lets it
// pass, hands it to one drawn at random: to the next one, that one would get twice as many.
func (p *pool) inTurn(list, tried []*endpoint, fit func(*endpoint) bool, now time.Time) *endpoint {
	n := len(list)
	if n == 0 {
		return nil
	}
	start := int(p.turn.Add(1) % uint32(n))
	if e := list[start]; !slices.Contains(tried, e) && fit(e) && p.starts(e, now) {
		return e
	}
	if e := p.drawn(list, tried, fit, now); e != nil {
		return e
	}
	for i := range n {
		if e := list[(start+i)%n]; !slices.Contains(tried, e) && fit(e) {
			return e
		}
	}
	return nil
}

// least takes the one with the fewest exchanges for its share; of equals, any.
func (p *pool) least(list, tried []*endpoint, fit func(*endpoint) bool, now time.Time) *endpoint {
	var best *endpoint
	var fewest float64
	equal := 0
	for _, e := range list {
		if slices.Contains(tried, e) || !fit(e) {
			continue
		}
		switch load := e.load() / p.share(e, now); {
		case best == nil || load < fewest:
			best, fewest, equal = e, load, 1
		case load == fewest:
			if equal++; rand.IntN(equal) == 0 {
				best = e
			}
		}
	}
	return best
}

// load is what is under way, with what would come.
func (e *endpoint) load() float64 { return float64(e.active.Load() + 1) }

// betterOfTwo draws two and takes the one with the lower score. With the time that
// answers take in it, it is the peak EWMA of Finagle, which ingress-nginx calls ewma.
func (p *pool) betterOfTwo(list, tried []*endpoint, fit func(*endpoint) bool, score func(*endpoint) float64, now time.Time) *endpoint {
	a, b := p.drawn(list, tried, fit, now), p.drawn(list, tried, fit, now)
	switch {
	case a == nil && b == nil:
		return p.inTurn(list, tried, fit, now)
	case a == nil:
		return b
	case b != nil && score(b) < score(a):
		return b
	}
	return a
}

func (p *pool) drawn(list, tried []*endpoint, fit func(*endpoint) bool, now time.Time) *endpoint {
	for range 4 {
		if len(list) == 0 {
			return nil
		}
		if e := list[rand.IntN(len(list))]; !slices.Contains(tried, e) && fit(e) && p.starts(e, now) {
			return e
		}
	}
	return nil
}

// slowest is the share that an endpoint has at the beginning of a slow start.
const slowest = 0.1

// share is what part of its requests an endpoint may have, which grows with its age.
func (p *pool) share(e *endpoint, now time.Time) float64 {
	window := p.backend.Upstream.SlowStart
	born := e.born.Load()
	if window == 0 || born == 0 {
		return 1
	}
	if age := now.UnixNano() - born; age < int64(window) {
		return max(slowest, float64(age)/float64(window))
	}
	return 1
}

// starts decides whether an endpoint takes a request that could be its.
func (p *pool) starts(e *endpoint, now time.Time) bool {
	share := p.share(e, now)
	return share == 1 || rand.Float64() < share
}
