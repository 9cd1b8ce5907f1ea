package forward

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-net/fairway/internal/dns/wire"
)

// Options of a Forwarder. Zero values mean the defaults given.
type Options struct {
	Upstreams []Server       // asked in this order, as a resolver reads resolv.conf; none: every name fails at once
	Stubs     []Stub         // domains that have servers of their own
	Search    []string       // the node's search domains, for Search
	Timeout   time.Duration  // of one upstream; 2 s
	Total     time.Duration  // of a question; 5 s
	InFlight  int            // questions under way; 1024
	Entries   int            // of the cache; 10,000
	Bytes     int            // of the cache; 16 MiB
	Roots     *x509.CertPool // who may sign certificates of servers over TLS; the system's
	Log       *slog.Logger
	Now       func() time.Time // the clock; time.Now
}

// Stub is a domain whose names are asked of Servers and of nobody else. Of
// several that a name is in, the longest counts.
type Stub struct {
	Domain  string // without a final dot
	Servers []Server
}

// Errors of Resolve. All of them are SERVFAIL to the client.
var (
	ErrNoUpstream = errors.New("no upstream server is configured or answering")
	ErrBusy       = errors.New("too many questions under way")
)

// Forwarder asks upstreams. It is safe for use by many.
type Forwarder struct {
	o      Options
	routes []route // longest domain first; the last is the root
	all    []*upstream
	search [][]byte // wire form
	cache  *cache
	stats  Stats

	mu    sync.Mutex
	calls map[string]*call
	tags  map[string]bool // of probes under way; true: it came back
}

// route is where the names of one domain are asked.
type route struct {
	domain  []byte // wire form, lower case
	servers []*upstream
}

// Stats counts outcomes.
type Stats struct {
	Hits, Misses, Stale  atomic.Uint64 // of the cache
	Joined               atomic.Uint64 // questions that waited for another client's
	Asked, Failed, Timed atomic.Uint64 // questions to upstreams; of them without an answer; of these by timeout
	Refreshed            atomic.Uint64 // questions asked again before the answer expired
	Busy, NoUpstream     atomic.Uint64
}

// call is a question under way.
type call struct {
	done   chan struct{}
	answer *Answer
	err    error
}

// New returns a Forwarder. A stub whose domain is no name is an error.
func New(o Options) (*Forwarder, error) {
	def(&o.Timeout, 2*time.Second)
	def(&o.Total, 5*time.Second)
	def(&o.InFlight, 1024)
	def(&o.Entries, 10_000)
	def(&o.Bytes, 16<<20)
	if o.Now == nil {
		o.Now = time.Now
	}
	f := &Forwarder{o: o, cache: newCache(o.Entries, o.Bytes), calls: map[string]*call{}, tags: map[string]bool{}}
	for _, s := range append(slices.Clone(o.Stubs), Stub{".", o.Upstreams}) {
		domain, ok := wire.PackName(s.Domain)
		if !ok {
			return nil, fmt.Errorf("stub domain %q: not a domain name", s.Domain)
		}
		if slices.ContainsFunc(f.routes, func(r route) bool { return string(r.domain) == string(domain) }) {
			return nil, fmt.Errorf("stub domain %q: given twice", s.Domain)
		}
		r := route{domain: domain}
		for _, a := range s.Servers {
			r.servers = append(r.servers, f.server(a))
		}
		f.routes = append(f.routes, r)
	}
	for _, s := range o.Search {
		// What is no name, resolvers leave out as well; the root is the name itself.
		if domain, ok := wire.PackName(s); ok && len(domain) > 1 {
			f.search = append(f.search, domain)
		}
	}
	slices.SortStableFunc(f.routes, func(a, b route) int { return len(b.domain) - len(a.domain) })
	return f, nil
}

// server returns the upstream s: one that serves several domains has one health.
func (f *Forwarder) server(s Server) *upstream {
	for _, u := range f.all {
		if u.Server == s {
			return u
		}
	}
	u := &upstream{Server: s}
	if s.TLS != "" {
		u.secure = newSecure(s.TLS, f.o.Roots)
	}
	f.all = append(f.all, u)
	return f.all[len(f.all)-1]
}

// servers are those that name is asked of.
func (f *Forwarder) servers(name []byte) []*upstream {
	for _, r := range f.routes {
		if inDomain(name, r.domain) {
			return r.servers
		}
	}
	return nil
}

// inDomain reports whether name is domain or below it.
func inDomain(name, domain []byte) bool {
	for len(name) > len(domain) {
		name = name[1+int(name[0]):]
	}
	return string(name) == string(domain)
}

func def[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// appendKey is the identity of a question: DO and CD change what upstream says.
func appendKey(b, name []byte, rrtype uint16, do, cd bool) []byte {
	var bits byte
	if do {
		bits |= 1
	}
	if cd {
		bits |= 2
	}
	return append(append(b, name...), byte(rrtype>>8), byte(rrtype), bits)
}

// Cached completes the reply if a fresh answer is kept.
func (f *Forwarder) Cached(w *wire.Writer) bool {
	var buf [300]byte
	q := w.Query()
	a := f.cache.get(appendKey(buf[:0], q.Lower(), q.Type, q.DO, q.Flags&wire.FlagCD != 0))
	if a == nil {
		return false
	}
	now := f.o.Now()
	if !a.fresh(now) {
		return false
	}
	f.stats.Hits.Add(1)
	a.WriteTo(w, now)
	if a.old(now) && a.refreshing.CompareAndSwap(false, true) {
		f.refresh(q)
	}
	return true
}

// refresh asks upstream before an answer that is in use expires, so that
// nobody has to wait for it.
func (f *Forwarder) refresh(q *wire.Query) {
	cd := q.Flags&wire.FlagCD != 0
	key := appendKey(nil, q.Lower(), q.Type, q.DO, cd)
	if _, err := f.start(key, question{q.Lower(), q.Type, q.DO, cd}); err == nil {
		f.stats.Refreshed.Add(1)
	}
}

// Reply completes the reply from upstream, waiting for it.
func (f *Forwarder) Reply(ctx context.Context, w *wire.Writer) error {
	q := w.Query()
	a, err := f.Resolve(ctx, q.Lower(), q.Type, q.DO, q.Flags&wire.FlagCD != 0)
	if err != nil {
		w.Rcode(wire.ServFail)
		return err
	}
	a.WriteTo(w, f.o.Now())
	return nil
}

// Follow completes a reply that ends in a CNAME to target, which stands at owner in it.
func (f *Forwarder) Follow(ctx context.Context, w *wire.Writer, target []byte, owner int) error {
	q := w.Query()
	a, err := f.Resolve(ctx, target, q.Type, q.DO, q.Flags&wire.FlagCD != 0)
	if err != nil {
		w.Rcode(wire.ServFail)
		return err
	}
	a.FollowTo(w, owner, f.o.Now())
	return nil
}

// Resolve returns the answer for a name in lower-case wire form, from the
// cache, from a question under way, or from upstream. While upstream fails, an
// answer that has expired is used again (RFC 8767).
func (f *Forwarder) Resolve(ctx context.Context, name []byte, rrtype uint16, do, cd bool) (*Answer, error) {
	if f.came(name) {
		return nil, ErrLoop
	}
	key := appendKey(nil, name, rrtype, do, cd)
	now := f.o.Now()
	old := f.cache.get(key)
	if old != nil && old.fresh(now) {
		f.stats.Hits.Add(1)
		return old, nil
	}
	f.stats.Misses.Add(1)
	c, err := f.start(key, question{name, rrtype, do, cd})
	if err == nil {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.done:
			if c.err == nil && c.answer.Rcode != wire.ServFail {
				return c.answer, nil
			}
			err = c.err
		}
	}
	if old != nil && old.stale(now) {
		f.stats.Stale.Add(1)
		return old, nil
	}
	if err != nil {
		return nil, err
	}
	return c.answer, nil
}

// start joins the call for key or makes one. The call outlives the client that
// made it: others may have joined.
func (f *Forwarder) start(key []byte, q question) (*call, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.calls[string(key)]; c != nil {
		f.stats.Joined.Add(1)
		return c, nil
	}
	if len(f.servers(q.name)) == 0 {
		f.stats.NoUpstream.Add(1)
		return nil, ErrNoUpstream
	}
	if len(f.calls) >= f.o.InFlight {
		f.stats.Busy.Add(1)
		return nil, ErrBusy
	}
	c := &call{done: make(chan struct{})}
	f.calls[string(key)] = c
	q.name = key[:len(q.name)] // the caller's buffer may not live as long
	go f.run(c, key, q)
	return c, nil
}

func (f *Forwarder) run(c *call, key []byte, q question) {
	ctx, cancel := context.WithTimeout(context.Background(), f.o.Total)
	defer cancel()
	c.answer, c.err = f.ask(ctx, q)
	now := f.o.Now()
	// A failure must not push out an answer that may still be served stale.
	if old := f.cache.get(key); c.err == nil && c.answer.ttl > 0 && (c.answer.Rcode != wire.ServFail || old == nil || !old.stale(now)) {
		f.cache.put(key, c.answer, now)
	} else if c.err != nil && !errors.Is(c.err, ErrNoUpstream) && (old == nil || !old.stale(now)) {
		f.cache.put(key, failure(now), now)
	}
	f.mu.Lock()
	delete(f.calls, string(key))
	f.mu.Unlock()
	close(c.done)
}

// ask goes through the upstreams. One that refuses or fails is passed over, as
// the C library does; its answer counts only if nobody has a better one.
func (f *Forwarder) ask(ctx context.Context, q question) (*Answer, error) {
	var worse *Answer
	err := ErrNoUpstream
	for _, u := range f.servers(q.name) {
		if !u.available(f.o.Now()) {
			continue
		}
		f.stats.Asked.Add(1)
		try, cancel := context.WithTimeout(ctx, f.o.Timeout)
		m, e := u.exchange(try, q)
		cancel()
		was := u.up()
		u.report(e, f.o.Now())
		if now := u.up(); now != was {
			f.o.Log.Info("upstream changed", "upstream", u.Server, "up", now, "err", e)
		}
		if e != nil {
			f.stats.Failed.Add(1)
			if errors.Is(e, context.DeadlineExceeded) || isTimeout(e) {
				f.stats.Timed.Add(1)
			}
			err = e
			if ctx.Err() != nil {
				break
			}
			continue
		}
		a := newAnswer(m, f.o.Now())
		if a.Rcode == wire.NoError || a.Rcode == wire.NXDomain {
			return a, nil
		}
		if a.Rcode > 15 {
			a = failure(f.o.Now()) // BADVERS and the like are between upstream and us
		}
		worse = a
	}
	if worse != nil {
		return worse, nil
	}
	if errors.Is(err, ErrNoUpstream) {
		f.stats.NoUpstream.Add(1)
	}
	return nil, err
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// Stats are the forwarder's counters.
func (f *Forwarder) Stats() *Stats { return &f.stats }

// CacheLen is the number of answers kept.
func (f *Forwarder) CacheLen() int { return f.cache.len() }

// Health lists the upstreams and whether they answer.
func (f *Forwarder) Health() map[Server]bool {
	out := map[Server]bool{}
	for _, u := range f.all {
		out[u.Server] = u.up()
	}
	return out
}
