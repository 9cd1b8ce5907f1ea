package dns

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/fairway-net/fairway/internal/dns/index"
	"github.com/fairway-net/fairway/internal/dns/wire"
)

// upstreamTime bounds one client's wait; clients ask again after 5 s.
const upstreamTime = 5 * time.Second

// worker is what one reader needs to answer; it is never shared.
type worker struct {
	s     *Server
	query wire.Query
	reply wire.Writer
	stats *counters

	client netip.Addr
	came   time.Duration // when the query did, since the server's start
	size   int           // of the query
	from   origin
	count  uint32 // of replies, for the log
	meant  [256]byte
}

// origin says where an answer comes from.
type origin uint8

const (
	fromZone origin = iota
	fromCache
	fromUpstream
	fromNowhere // refused or malformed
)

func (o origin) String() string { return [...]string{"zone", "cache", "upstream", "none"}[o] }

// outcome of answer.
type outcome uint8

const (
	reply outcome = iota // the reply is ready
	drop                 // there is none
	wait                 // upstream has to be asked: finish will
)

// answer answers pkt of client into buf as far as that needs no waiting. limit
// 0 means what the client says it takes over UDP.
func (k *worker) answer(pkt, buf []byte, limit int, client netip.Addr, came time.Duration) (outcome, []byte) {
	q, w := &k.query, &k.reply
	k.client, k.came, k.size, k.from = client, came, len(pkt), fromNowhere
	problem := q.Parse(pkt)
	k.stats.queries.Add(1)
	if problem == wire.Short || problem == wire.Reply {
		k.stats.problem[problem].Add(1)
		return drop, nil
	}
	if limit == 0 {
		limit = wire.Limit(q)
	}
	w.Begin(buf, q, limit)
	switch {
	case problem != wire.OK:
		k.stats.problem[problem].Add(1)
		w.Rcode(problem.Rcode())
	case q.Class != wire.ClassIN || q.Type == wire.TypeAXFR || q.Type == wire.TypeIXFR:
		w.Rcode(wire.Refused)
	case q.Type == wire.TypeOPT:
		w.Rcode(wire.FormErr)
	case q.Type >= wire.TypeTKEY && q.Type < wire.TypeANY:
		w.Rcode(wire.NotImp)
	default:
		k.from = fromZone
		if done, _ := k.resolve(nil); !done {
			return wait, nil
		}
	}
	return reply, k.finish()
}

// oversized counts a query that is too long to be one.
func (k *worker) oversized() {
	k.stats.queries.Add(1)
	k.stats.problem[wire.Oversized].Add(1)
}

// resolve completes the reply to a query without a mistake. Without a ctx it
// does what needs no waiting, and false says that there is more to do.
func (k *worker) resolve(ctx context.Context) (done bool, err error) {
	w, up := &k.reply, k.s.o.Upstream
	res, target, owner := k.s.o.Zone.Answer(w, rand.Uint32())
	if res == index.Answered && w.Code() == wire.NXDomain && k.s.o.Zone.Searches() {
		if meant, inZone, ok := k.s.o.Zone.Meant(&k.query, k.client, k.meant[:]); ok {
			k.stats.searches.Add(1)
			if !inZone {
				if done, err = up.Search(ctx, w, meant, k.s.o.Zone.TTL()); done {
					k.cameFrom(ctx)
				}
				return done, err
			}
			res, target, owner = k.s.o.Zone.Complete(w, meant, rand.Uint32())
			if w.Code() == wire.NXDomain {
				w.Rcode(wire.NoError) // an alias that leads nowhere; NXDOMAIN would send the resolver on
			}
		}
	}
	switch {
	case res == index.Answered:
		return true, nil
	case ctx == nil && (res == index.Follow || !up.Cached(w)):
		return false, nil
	case res == index.Follow:
		err = up.Follow(ctx, w, target, owner)
	case ctx != nil:
		err = up.Reply(ctx, w)
	}
	k.cameFrom(ctx)
	return true, err
}

// cameFrom notes where an answer that is not the zone's came from.
func (k *worker) cameFrom(ctx context.Context) {
	if ctx == nil {
		k.from = fromCache
		k.stats.cached.Add(1)
	} else {
		k.from = fromUpstream
		k.stats.forwarded.Add(1)
	}
}

// finish closes the reply, counts it, and logs it if it is its turn.
func (k *worker) finish() []byte {
	k.stats.types[typeIndex(k.query.Type)].Add(1)
	k.stats.rcode[min(k.reply.Code(), len(k.stats.rcode)-1)].Add(1)
	if k.reply.Truncated() {
		k.stats.truncated.Add(1)
	}
	b := k.reply.Finish()
	k.stats.requestSize.observe(k.size)
	k.stats.replySize.observe(len(b))
	if n := k.s.log.every.Load(); n != 0 {
		if k.count++; k.count%n == 0 {
			k.s.log.put(k, len(b))
		}
	}
	return b
}

// resume answers pkt, for which answer said wait, in a goroutine of its own
// and hands the reply to send. Where too many wait already the client gets
// SERVFAIL at once, through the return value.
func (k *worker) resume(pkt []byte, limit int, send func([]byte)) (refusal []byte) {
	s := k.s
	select {
	case s.waiting <- struct{}{}:
	default:
		k.stats.busy.Add(1)
		k.reply.Reset()
		k.reply.Rcode(wire.ServFail)
		return k.finish()
	}
	later := &worker{s: s, stats: k.stats, client: k.client, came: k.came, size: k.size}
	pkt = append([]byte(nil), pkt...)
	s.jobs.Go(func() {
		defer func() { <-s.waiting }()
		ctx, cancel := context.WithTimeout(context.Background(), upstreamTime)
		defer cancel()
		send(later.ask(ctx, pkt, limit))
		later.stats.duration.observe(s.now()-later.came, 1)
	})
	return nil
}

// ask answers pkt, a query that has been parsed before, waiting for upstream.
// The zone may have changed since: it is asked again.
func (k *worker) ask(ctx context.Context, pkt []byte, limit int) []byte {
	k.query.Parse(pkt)
	if limit == 0 {
		limit = wire.Limit(&k.query)
	}
	k.reply.Begin(make([]byte, 0, 512), &k.query, limit)
	if _, err := k.resolve(ctx); err != nil {
		k.stats.failed.Add(1)
		k.s.o.Log.Debug("no answer from upstream", "name", wire.UnpackName(k.query.Name), "type", k.query.Type, "err", err)
	}
	k.count = k.s.log.turn()
	return k.finish()
}
