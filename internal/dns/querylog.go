package dns

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/fairway-net/fairway/internal/dns/wire"
)

// queryLog writes one of every so many replies to the log. Readers only copy
// into a queue; when the writer does not keep up, entries are dropped and
// counted, never waited for.
type queryLog struct {
	every   atomic.Uint32 // 0: off
	waited  atomic.Uint32 // replies that waited for upstream, which have no reader's count
	queue   chan entry
	dropped atomic.Uint64
	written atomic.Uint64
}

// entry is a reply, without references to buffers that will be used again.
type entry struct {
	client netip.Addr
	proto  string
	name   [256]byte // in wire form
	rrtype uint16
	rcode  int
	from   origin
	size   int
	took   time.Duration
}

func newQueryLog() *queryLog { return &queryLog{queue: make(chan entry, 256)} }

// LogQueries makes the server log one in every so many replies; 0: none. It
// may be called at any time.
func (s *Server) LogQueries(every uint32) { s.log.every.Store(every) }

// turn counts the replies that waited, as workers count the others.
func (l *queryLog) turn() uint32 { return l.waited.Add(1) - 1 }

func (l *queryLog) put(k *worker, size int) {
	e := entry{client: k.client, proto: k.stats.proto, rrtype: k.query.Type, rcode: k.reply.Code(), from: k.from, size: size, took: k.s.now() - k.came}
	copy(e.name[:], k.query.Name)
	select {
	case l.queue <- e:
	default:
		l.dropped.Add(1)
	}
}

// write writes entries until ctx ends.
func (l *queryLog) write(ctx context.Context, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-l.queue:
			log.Info("query", "client", e.client.Unmap(), "proto", e.proto, "name", wire.UnpackName(e.name[:]), "type", wire.TypeName(e.rrtype),
				"rcode", wire.RcodeName(e.rcode), "from", e.from.String(), "bytes", e.size, "took", e.took)
			l.written.Add(1)
		}
	}
}
