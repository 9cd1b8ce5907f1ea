package dns

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/fairway-net/fairway/internal/dns/wire"
)

// counters belong to one UDP socket, so that readers on several cores do not
// fight over a cache line, or to all TCP connections together.
type counters struct {
	proto      string
	queries    atomic.Uint64
	cached     atomic.Uint64
	forwarded  atomic.Uint64
	failed     atomic.Uint64 // forwarded without an answer
	busy       atomic.Uint64 // refused: too many wait for upstream
	truncated  atomic.Uint64
	readErrors atomic.Uint64
	rcode      [17]atomic.Uint64 // BADVERS, 16, is the largest
	problem    [wire.NumProblems]atomic.Uint64
	_          [64]byte
}

// Stats are the server's counters.
type Stats struct {
	mu      sync.Mutex
	readers []*counters
}

// reader makes counters for a reader.
func (s *Stats) reader(proto string) *counters {
	c := &counters{proto: proto}
	s.mu.Lock()
	s.readers = append(s.readers, c)
	s.mu.Unlock()
	return c
}

func (c *counters) add(o *counters) {
	c.queries.Add(o.queries.Load())
	c.cached.Add(o.cached.Load())
	c.forwarded.Add(o.forwarded.Load())
	c.failed.Add(o.failed.Load())
	c.busy.Add(o.busy.Load())
	c.truncated.Add(o.truncated.Load())
	c.readErrors.Add(o.readErrors.Load())
	for i := range c.rcode {
		c.rcode[i].Add(o.rcode[i].Load())
	}
	for i := range c.problem {
		c.problem[i].Add(o.problem[i].Load())
	}
}

// sum adds up all readers by protocol.
func (s *Stats) sum() map[string]*counters {
	out := map[string]*counters{"udp": {}, "tcp": {}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.readers {
		out[c.proto].add(c)
	}
	return out
}

// WriteMetrics writes the counters in the text format of Prometheus.
func (s *Server) WriteMetrics(w io.Writer) {
	sums := s.stats.sum()
	counter := func(name, help string, value func(emit func(labels string, v uint64), c *counters)) {
		fmt.Fprintf(w, "# HELP fairway_dns_%s %s\n# TYPE fairway_dns_%s counter\n", name, help, name)
		for _, proto := range []string{"udp", "tcp"} {
			value(func(labels string, v uint64) {
				fmt.Fprintf(w, "fairway_dns_%s{proto=%q%s} %d\n", name, proto, labels, v)
			}, sums[proto])
		}
	}
	one := func(get func(*counters) *atomic.Uint64) func(func(string, uint64), *counters) {
		return func(emit func(string, uint64), c *counters) { emit("", get(c).Load()) }
	}
	counter("queries_total", "Queries received.", one(func(c *counters) *atomic.Uint64 { return &c.queries }))
	counter("cached_total", "Queries answered from the cache of forwarded names.", one(func(c *counters) *atomic.Uint64 { return &c.cached }))
	counter("forwarded_total", "Queries that had to wait for an upstream server.", one(func(c *counters) *atomic.Uint64 { return &c.forwarded }))
	counter("forward_failures_total", "Forwarded queries without an answer.", one(func(c *counters) *atomic.Uint64 { return &c.failed }))
	counter("forward_refused_total", "Queries refused because too many waited for upstream.", one(func(c *counters) *atomic.Uint64 { return &c.busy }))
	counter("truncated_total", "Replies that did not fit.", one(func(c *counters) *atomic.Uint64 { return &c.truncated }))
	counter("socket_errors_total", "Errors of the sockets.", one(func(c *counters) *atomic.Uint64 { return &c.readErrors }))
	counter("replies_total", "Replies by response code.", func(emit func(string, uint64), c *counters) {
		for code := range c.rcode {
			if name := wire.RcodeName(code); name != "OTHER" {
				emit(fmt.Sprintf(",rcode=%q", name), c.rcode[code].Load())
			}
		}
	})
	counter("malformed_total", "Malformed packets by what is wrong with them.", func(emit func(string, uint64), c *counters) {
		for p := wire.OK + 1; int(p) < wire.NumProblems; p++ {
			emit(fmt.Sprintf(",problem=%q", p), c.problem[p].Load())
		}
	})
	writeCoreDNS(w, sums)
}

// writeCoreDNS repeats what CoreDNS counts, under its names and with those of
// its labels that dashboards sum by. Its histograms have no counterpart.
func writeCoreDNS(w io.Writer, sums map[string]*counters) {
	const labels = `server="dns://:53",zone=".",view="",`
	fmt.Fprint(w, "# HELP coredns_dns_requests_total Queries received, as CoreDNS names it.\n# TYPE coredns_dns_requests_total counter\n")
	for _, proto := range []string{"udp", "tcp"} {
		fmt.Fprintf(w, "coredns_dns_requests_total{%sproto=%q} %d\n", labels, proto, sums[proto].queries.Load())
	}
	fmt.Fprint(w, "# HELP coredns_dns_responses_total Replies by response code, as CoreDNS names it.\n# TYPE coredns_dns_responses_total counter\n")
	for code := range sums["udp"].rcode {
		if name := wire.RcodeName(code); name != "OTHER" {
			fmt.Fprintf(w, "coredns_dns_responses_total{%splugin=\"\",rcode=%q} %d\n", labels, name, sums["udp"].rcode[code].Load()+sums["tcp"].rcode[code].Load())
		}
	}
}
