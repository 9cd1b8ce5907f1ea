package proxy

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/route"
)

// pool is a backend with its endpoints as they are in one plan.
type pool struct {
	backend   *poolBackend
	endpoints []*endpoint
	near      []*endpoint    // those that come first; empty if all are alike
	turn      *atomic.Uint32 // like budget shared by all pools that the backend has had
	budget    *budget
	queue     *queue // of its Service
}

// empty says that there is nobody who could take a request; nil is empty.
func (p *pool) empty() bool { return p == nil || len(p.endpoints) == 0 }

// poolBackend is the plan's, with methods of ours.
type poolBackend route.Backend

// newPool makes the pool for b; was is the one it replaces, or nil. Endpoints that
// stay keep their connections and their state. Runs under s.mu.
func (s *Server) newPool(b *route.Backend, was *pool) *pool {
	p := &pool{backend: (*poolBackend)(b), queue: s.takeQueue(b.Key.Service), endpoints: make([]*endpoint, len(b.Endpoints))}
	if was != nil {
		p.turn, p.budget = was.turn, was.budget
	} else {
		p.turn, p.budget = new(atomic.Uint32), new(budget)
		p.budget.tokens.Store(tokensFirst)
		p.turn.Store(rand.Uint32()) // so that several gateways do not begin with the same endpoint
	}
	for i := range b.Endpoints {
		e := s.takeEndpoint(b.Key.Service, &b.Endpoints[i], was != nil && len(was.endpoints) > 0)
		e.queue.Store(p.queue)
		s.examine(e, b)
		p.endpoints[i] = e
		if b.Endpoints[i].Near {
			p.near = append(p.near, e)
		}
	}
	p.queue.wakeAll()
	return p
}

// releasePool gives up what newPool took. Runs under s.mu.
func (s *Server) releasePool(p *pool) {
	for _, e := range p.endpoints {
		s.dropEndpoint(e)
	}
	s.dropQueue(p)
}

// takeQueue returns the queue of a Service, and counts one more pool. Runs under s.mu.
func (s *Server) takeQueue(service model.Name) *queue {
	q := s.queues[service]
	if q == nil {
		q = &queue{}
		s.queues[service] = q
	}
	q.refs++
	return q
}

func (s *Server) dropQueue(p *pool) {
	if p.queue.refs--; p.queue.refs == 0 {
		delete(s.queues, p.backend.Key.Service)
	}
}

// protocol is what the rule wants, else what the Service says.
func (p *pool) protocol(f *route.Forward, secure bool) route.Protocol {
	switch {
	case f.AutoTLS && secure:
		return route.HTTPS
	case f.AutoTLS:
		return route.HTTP1
	}
	if f.Protocol != "" {
		return f.Protocol
	}
	return p.backend.Protocol
}

// randomBelow returns a number in [0, n); 0 for 0.
func randomBelow(n uint64) uint64 {
	if n == 0 {
		return 0
	}
	return rand.Uint64N(n)
}
