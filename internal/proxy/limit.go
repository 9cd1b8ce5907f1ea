package proxy

import (
	"net/netip"
	"sync"
	"time"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/route"
)

// limiters keep the counts of the limits of all Ingresses. They belong to the
// Ingress, not to the plan, so that a change does not forgive anybody.
type limiters struct {
	mu  sync.Mutex
	all map[model.Name]*limiter
}

// limiter counts the clients of one Ingress.
type limiter struct {
	mu      sync.Mutex
	clients map[netip.Addr]*client
}

// client is what is remembered of an address: a leaky bucket per rate, as in
// nginx's limit_req, and the requests that are under way, as in limit_conn.
type client struct {
	buckets [route.MaxRates]bucket
	active  int
}

// bucket holds Level requests more than the rate allows; it leaks at the rate.
type bucket struct {
	level float64
	last  time.Time
}

// maxClients bounds the memory of one Ingress; it is what fits into nginx's zone
// of 5 MiB.
const maxClients = 80_000

func newLimiters() *limiters { return &limiters{all: map[model.Name]*limiter{}} }

// of returns the limiter of an Ingress.
func (l *limiters) of(ingress model.Name) *limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	lim := l.all[ingress]
	if lim == nil {
		lim = &limiter{clients: map[netip.Addr]*client{}}
		l.all[ingress] = lim
	}
	return lim
}

// enter counts a request of addr. If no limit is exceeded it returns 0, and leave
// must be called at the end of the request; else it returns the status to answer with.
func (l *limiter) enter(addr netip.Addr, limits *route.Limits, now time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.clients[addr]
	if c == nil {
		if len(l.clients) >= maxClients {
			l.forget(limits, now)
		}
		c = &client{}
		l.clients[addr] = c
	}
	if limits.Connections > 0 && c.active >= limits.Connections {
		return limits.ConnectionStatus
	}
	for i, r := range limits.Rates {
		b := &c.buckets[i]
		level := max(0, b.level-r.PerSecond*now.Sub(b.last).Seconds())
		if level > float64(r.Burst) {
			return limits.RateStatus // what is refused does not count, so that the client gets in at the rate
		}
		b.level, b.last = level+1, now
	}
	c.active++
	return 0
}

func (l *limiter) leave(addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.clients[addr]; c != nil && c.active > 0 {
		c.active--
	}
}

// forget makes room for an eighth, so that its cost is spread over many clients:
// those whose buckets are empty are as good as unknown; if they are too few, any
// that has no request under way has to do.
func (l *limiter) forget(limits *route.Limits, now time.Time) {
	for addr, c := range l.clients {
		if c.active == 0 && c.idle(limits, now) {
			delete(l.clients, addr)
		}
	}
	for addr, c := range l.clients {
		if len(l.clients) <= maxClients*7/8 {
			return
		}
		if c.active == 0 {
			delete(l.clients, addr)
		}
	}
}

func (c *client) idle(limits *route.Limits, now time.Time) bool {
	for i, r := range limits.Rates {
		if c.buckets[i].level > r.PerSecond*now.Sub(c.buckets[i].last).Seconds() {
			return false
		}
	}
	return true
}

// keep forgets the Ingresses that are no longer served.
func (l *limiters) keep(served func(model.Name) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name := range l.all {
		if !served(name) {
			delete(l.all, name)
		}
	}
}

// limited applies the rule's limits. status is not 0 if the client exceeds one; else
// done is to be called at the end of the request.
func (x *exchange) limited(limits *route.Limits) (done func(), status int) {
	addr := x.remote
	if !addr.IsValid() || limits.Exempts(addr) {
		return func() {}, 0
	}
	l := x.server.limiters.of(x.rule.Source.Ref.Name)
	if status := l.enter(addr, limits, time.Now()); status != 0 {
		return nil, status
	}
	return func() { l.leave(addr) }, 0
}
