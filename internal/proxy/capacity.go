package proxy

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// errFull says that all endpoints have as much to do as they may.
var errFull = errors.New("no endpoint has room")

// bounded says that the Service bounds what an endpoint may have to do.
func (p *pool) bounded() bool {
	return p.backend.Upstream.MaxRequests > 0 || p.backend.Upstream.MaxConnections > 0
}

// limit is how many exchanges an endpoint may have; 0: any number. single is for those
// that have a connection each.
func (p *pool) limit(single bool) int64 {
	u := &p.backend.Upstream
	if single && u.MaxConnections > 0 && (u.MaxRequests == 0 || u.MaxConnections < u.MaxRequests) {
		return int64(u.MaxConnections)
	}
	return int64(u.MaxRequests)
}

func (p *pool) room(e *endpoint, single bool) bool {
	limit := p.limit(single)
	return limit == 0 || e.active.Load() < limit
}

// acquireUpTo takes note of one more exchange, unless there are limit of them.
func (e *endpoint) acquireUpTo(limit int64) bool {
	if n := e.active.Add(1); limit == 0 || n <= limit {
		return true
	}
	e.release()
	return false
}

// take chooses an endpoint and acquires it. Where none has room it waits for one, up to
// wait, if there may be so many who do. The pool is that of the moment when it returns.
func (s *Server) take(p *pool, tried []*endpoint, w wish, wait time.Duration, gone func() bool) (*endpoint, *pool, error) {
	e := p.seize(tried, w)
	if e != nil || !p.bounded() {
		if e == nil {
			return nil, p, errNoEndpoint
		}
		return e, p, nil
	}
	if !p.untried(tried) {
		return nil, p, errNoEndpoint
	}
	q := p.queue
	turn := q.join(p.backend.Upstream.MaxPending * len(p.endpoints))
	if turn == nil {
		s.metrics.overflows.Add(1)
		return nil, p, errFull
	}
	defer q.leave(turn)
	end, look := time.NewTimer(wait), time.NewTicker(250*time.Millisecond)
	defer end.Stop()
	defer look.Stop()
	for {
		select {
		case <-turn:
		case <-look.C:
			if gone() {
				return nil, p, errClientGone
			}
		case <-end.C:
			s.metrics.overflows.Add(1)
			return nil, p, errFull
		}
		if now := s.live.Load().pools.Get(p.backend.Key); now != nil {
			p = now
		}
		if e := p.seize(tried, w); e != nil {
			return e, p, nil
		}
	}
}

// seize chooses an endpoint and acquires it, nil if none has room.
func (p *pool) seize(tried []*endpoint, w wish) *endpoint {
	limit := p.limit(w.single)
	for {
		e := p.choose(tried, w, time.Now())
		if e == nil || e.acquireUpTo(limit) {
			return e
		}
	}
}

// untried says that there are endpoints that only have no room.
func (p *pool) untried(tried []*endpoint) bool { return len(p.endpoints) > len(tried) }

// queue are the exchanges that wait for room at a Service's endpoints, the oldest first.
type queue struct {
	refs int // pools that have it; guarded by Server.mu

	count   atomic.Int32 // how many wait: whoever makes room need not lock for nobody
	mu      sync.Mutex
	waiting []chan struct{}
}

// join returns what is sent to when it is the turn of the one who joined; nil if there
// are most of them already.
func (q *queue) join(most int) chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) >= most {
		return nil
	}
	turn := make(chan struct{}, 1)
	q.waiting = append(q.waiting, turn)
	q.count.Add(1)
	return turn
}

// leave gives up the place. Whoever was called and does not need it calls the next.
func (q *queue) leave(turn chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, t := range q.waiting {
		if t == turn {
			q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
			q.count.Add(-1)
			break
		}
	}
	if len(turn) > 0 {
		q.call(1)
	}
}

// wake calls the oldest who has not been called.
func (q *queue) wake() {
	if q.count.Load() == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.call(1)
}

// wakeAll calls all of them, as there are other endpoints now.
func (q *queue) wakeAll() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.call(len(q.waiting))
}

func (q *queue) call(n int) {
	for _, t := range q.waiting {
		if n == 0 {
			return
		}
		select {
		case t <- struct{}{}:
			n--
		default:
		}
	}
}
