package proxy

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fairway-net/fairway/internal/plan/route"
)

// pool is a backend with its endpoints as they are in one plan.
type pool struct {
	backend   *route.Backend
	endpoints []*endpoint
	turn      *atomic.Uint32 // shared by all pools that the backend has had
}

// newPool makes the pool for b; was is the one it replaces, or nil. Endpoints that
// stay keep their connections and their state. Runs under s.mu.
func (s *Server) newPool(b *route.Backend, was *pool) *pool {
	p := &pool{backend: b, endpoints: make([]*endpoint, len(b.Endpoints))}
	if was != nil {
		p.turn = was.turn
	} else {
		p.turn = new(atomic.Uint32)
		p.turn.Store(rand.Uint32()) // so that several gateways do not begin with the same endpoint
	}
	for i := range b.Endpoints {
		p.endpoints[i] = s.takeEndpoint(b.Key.Service, &b.Endpoints[i])
	}
	return p
}

// releasePool gives up what newPool took. Runs under s.mu.
func (s *Server) releasePool(p *pool) {
	for _, e := range p.endpoints {
		s.dropEndpoint(e)
	}
}

// protocol is what the rule wants, else what the Service says.
func (p *pool) protocol(f *route.Forward) route.Protocol {
	if f.Protocol != "" {
		return f.Protocol
	}
	return p.backend.Protocol
}

// choose takes turns among the endpoints, leaving out those that were tried and,
// as long as there are others, those that do not accept connections lately. The
// endpoint of a sticky token, if it is given, comes first. It returns nil if all
// were tried.
func (p *pool) choose(tried []*endpoint, sticky string, now time.Time) *endpoint {
	n := len(p.endpoints)
	if n == 0 {
		return nil
	}
	if sticky != "" {
		for _, e := range p.endpoints {
			if e.token == sticky && !slices.Contains(tried, e) && !e.resting(now) {
				return e
			}
		}
	}
	start := int(p.turn.Add(1) % uint32(n))
	var resting *endpoint
	for i := range n {
		e := p.endpoints[(start+i)%n]
		if slices.Contains(tried, e) {
			continue
		}
		if !e.resting(now) {
			return e
		}
		if resting == nil {
			resting = e
		}
	}
	return resting
}

// randomBelow returns a number in [0, n); 0 for 0.
func randomBelow(n uint64) uint64 {
	if n == 0 {
		return 0
	}
	return rand.Uint64N(n)
}
