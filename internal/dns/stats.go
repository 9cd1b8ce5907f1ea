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
	proto                  string
	queries                atomic.Uint64
	cached                 atomic.Uint64
	forwarded              atomic.Uint64
	failed                 atomic.Uint64 // forwarded without an answer
	busy                   atomic.Uint64 // refused: too many wait for upstream
	truncated              atomic.Uint64
	searches               atomic.Uint64 // walks through a search path that ended here
	readErrors             atomic.Uint64
	types                  [len(countedTypes) + 1]atomic.Uint64 // the last: any other
	duration               durations
	requestSize, replySize sizes
	rcode                  [17]atomic.Uint64 // BADVERS, 16, is the largest
	problem                [wire.NumProblems]atomic.Uint64
	_                      [64]byte
}

// countedTypes are the types that are counted by name.
var countedTypes = [...]uint16{wire.TypeA, wire.TypeAAAA, wire.TypeSRV, wire.TypePTR, wire.TypeCNAME, wire.TypeTXT, wire.TypeMX, wire.TypeNS, wire.TypeSOA, wire.TypeHTTPS, wire.TypeANY}

func typeIndex(t uint16) int {
	for i, c := range countedTypes {
		if c == t {
			return i
		}
	}
	return len(countedTypes)
}

func typeName(i int) string {
	if i < len(countedTypes) {
		return wire.TypeName(countedTypes[i])
	}
	return "other" // as CoreDNS says
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
	c.searches.Add(o.searches.Load())
	c.readErrors.Add(o.readErrors.Load())
	for i := range c.types {
		c.types[i].Add(o.types[i].Load())
	}
	c.duration.add(&o.duration)
	c.requestSize.add(&o.requestSize)
	c.replySize.add(&o.replySize)
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
	counter("searches_total", "Search paths of pods that were walked here.", one(func(c *counters) *atomic.Uint64 { return &c.searches }))
	counter("queries_by_type_total", "Queries answered, by type.", func(emit func(string, uint64), c *counters) {
		for i := range c.types {
			emit(fmt.Sprintf(",type=%q", typeName(i)), c.types[i].Load())
		}
	})
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
	for _, h := range []struct {
		name, help string
		write      func(c *counters, name, labels string)
	}{
		{"request_duration_seconds", "Time from reading a query to having sent its reply.", func(c *counters, n, l string) { c.duration.write(w, n, l, 0) }},
		{"request_size_bytes", "Size of queries.", func(c *counters, n, l string) { c.requestSize.write(w, n, l) }},
		{"response_size_bytes", "Size of replies.", func(c *counters, n, l string) { c.replySize.write(w, n, l) }},
	} {
		name := "fairway_dns_" + h.name
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s histogram\n", name, h.help, name)
		for _, proto := range []string{"udp", "tcp"} {
			h.write(sums[proto], name, fmt.Sprintf("proto=%q,", proto))
		}
	}
	fmt.Fprintf(w, "# HELP fairway_dns_query_log_total Replies logged.\n# TYPE fairway_dns_query_log_total counter\nfairway_dns_query_log_total %d\n", s.log.written.Load())
	fmt.Fprintf(w, "# HELP fairway_dns_query_log_dropped_total Replies that were to be logged, but faster than the log takes them.\n# TYPE fairway_dns_query_log_dropped_total counter\nfairway_dns_query_log_dropped_total %d\n", s.log.dropped.Load())
	writeCoreDNS(w, sums)
}

// writeCoreDNS repeats what CoreDNS counts, under its names and with those of
// its labels that dashboards sum by.
func writeCoreDNS(w io.Writer, sums map[string]*counters) {
	const labels = `server="dns://:53",zone=".",view="",`
	fmt.Fprint(w, "# HELP coredns_dns_requests_total Queries received, as CoreDNS names it.\n# TYPE coredns_dns_requests_total counter\n")
	for _, proto := range []string{"udp", "tcp"} {
		for i := range sums[proto].types {
			fmt.Fprintf(w, "coredns_dns_requests_total{%sproto=%q,type=%q} %d\n", labels, proto, typeName(i), sums[proto].types[i].Load())
		}
	}
	fmt.Fprint(w, "# HELP coredns_dns_responses_total Replies by response code, as CoreDNS names it.\n# TYPE coredns_dns_responses_total counter\n")
	for code := range sums["udp"].rcode {
		if name := wire.RcodeName(code); name != "OTHER" {
			fmt.Fprintf(w, "coredns_dns_responses_total{%splugin=\"\",rcode=%q} %d\n", labels, name, sums["udp"].rcode[code].Load()+sums["tcp"].rcode[code].Load())
		}
	}
	fmt.Fprint(w, "# HELP coredns_dns_request_duration_seconds Time to a reply, as CoreDNS names it.\n# TYPE coredns_dns_request_duration_seconds histogram\n")
	var both durations
	both.add(&sums["udp"].duration)
	both.add(&sums["tcp"].duration)
	both.write(w, "coredns_dns_request_duration_seconds", labels, coreDNS)
	for _, h := range []struct {
		name string
		of   func(*counters) *sizes
	}{
		{"request", func(c *counters) *sizes { return &c.requestSize }}, {"response", func(c *counters) *sizes { return &c.replySize }},
	} {
		name := "coredns_dns_" + h.name + "_size_bytes"
		fmt.Fprintf(w, "# HELP %s As CoreDNS names it.\n# TYPE %s histogram\n", name, name)
		for _, proto := range []string{"udp", "tcp"} {
			h.of(sums[proto]).write(w, name, fmt.Sprintf("%sproto=%q,", labels, proto))
		}
	}
}
