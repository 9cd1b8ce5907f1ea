package dns

import (
	"context"
	"math/rand/v2"
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
}

// outcome of answer.
type outcome uint8

const (
	reply outcome = iota // the reply is ready
	drop                 // there is none
	wait                 // upstream has to be asked: finish will
)

// answer answers pkt into buf as far as that needs no waiting. limit 0 means
// what the client says it takes over UDP.
func (k *worker) answer(pkt, buf []byte, limit int) (outcome, []byte) {
	q, w := &k.query, &k.reply
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
	res := index.Answered
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
		res, _, _ = k.s.o.Zone.Answer(w, rand.Uint32())
		if res == index.Elsewhere && k.s.o.Upstream.Cached(w) {
			res = index.Answered
			k.stats.cached.Add(1)
		}
	}
	if res != index.Answered {
		return wait, nil
	}
	return reply, k.finish()
}

// finish closes the reply and counts it.
func (k *worker) finish() []byte {
	k.stats.rcode[min(k.reply.Code(), len(k.stats.rcode)-1)].Add(1)
	if k.reply.Truncated() {
		k.stats.truncated.Add(1)
	}
	return k.reply.Finish()
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
	pkt = append([]byte(nil), pkt...)
	s.jobs.Go(func() {
		defer func() { <-s.waiting }()
		ctx, cancel := context.WithTimeout(context.Background(), upstreamTime)
		defer cancel()
		send(s.ask(ctx, pkt, limit, k.stats))
	})
	return nil
}

// ask answers pkt, a query that has been parsed before, waiting for upstream.
func (s *Server) ask(ctx context.Context, pkt []byte, limit int, stats *counters) []byte {
	k := worker{s: s, stats: stats}
	k.query.Parse(pkt)
	if limit == 0 {
		limit = wire.Limit(&k.query)
	}
	k.reply.Begin(make([]byte, 0, 512), &k.query, limit)
	var err error
	// The zone may have changed since: ask it again.
	switch res, target, owner := s.o.Zone.Answer(&k.reply, rand.Uint32()); res {
	case index.Elsewhere:
		err = s.o.Upstream.Reply(ctx, &k.reply)
		stats.forwarded.Add(1)
	case index.Follow:
		err = s.o.Upstream.Follow(ctx, &k.reply, target, owner)
		stats.forwarded.Add(1)
	}
	if err != nil {
		stats.failed.Add(1)
		s.o.Log.Debug("no answer from upstream", "name", wire.UnpackName(k.query.Name), "type", k.query.Type, "err", err)
	}
	return k.finish()
}
