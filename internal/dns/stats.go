package dns

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/fairway-net/fairway/internal/dns/wire"
	"github.com/fairway-net/fairway/internal/metric"
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

// protocols in the order in which they are written.
var protocols = [...]string{"udp", "tcp"}

// WriteMetrics writes the counters in the text format of Prometheus.
func (s *Server) WriteMetrics(out io.Writer) {
	w, sums := metric.Writer{Writer: out}, s.stats.sum()
	for _, f := range []struct {
		name, help string
		of         func(*counters) *atomic.Uint64
	}{
		{"queries_total", "Queries received.", func(c *counters) *atomic.Uint64 { return &c.queries }},
		{"cached_total", "Queries answered from the cache of forwarded names.", func(c *counters) *atomic.Uint64 { return &c.cached }},
		{"forwarded_total", "Queries that had to wait for an upstream server.", func(c *counters) *atomic.Uint64 { return &c.forwarded }},
		{"forward_failures_total", "Forwarded queries without an answer.", func(c *counters) *atomic.Uint64 { return &c.failed }},
		{"forward_refused_total", "Queries refused because too many waited for upstream.", func(c *counters) *atomic.Uint64 { return &c.busy }},
		{"truncated_total", "Replies that did not fit.", func(c *counters) *atomic.Uint64 { return &c.truncated }},
		{"socket_errors_total", "Errors of the sockets.", func(c *counters) *atomic.Uint64 { return &c.readErrors }},
		{"searches_total", "Search paths of pods that were walked here.", func(c *counters) *atomic.Uint64 { return &c.searches }},
	} {
		name := "fairway_dns_" + f.name
		w.Family(name, metric.Counter, f.help)
		for _, proto := range protocols {
			w.Value(name, float64(f.of(sums[proto]).Load()), "proto", proto)
		}
	}
	writeKinds(w, sums)
	for _, h := range histograms {
		name := "fairway_dns_" + h.name
		w.Family(name, metric.Histogram, h.help)
		for _, proto := range protocols {
			h.write(sums[proto], w, name, "proto", proto)
		}
	}
	w.One("fairway_dns_query_log_total", metric.Counter, "Replies logged.", float64(s.log.written.Load()))
	w.One("fairway_dns_query_log_dropped_total", metric.Counter, "Replies that were to be logged, but faster than the log takes them.", float64(s.log.dropped.Load()))
	writeCoreDNS(w, sums)
}

// writeKinds writes what is counted by kind.
func writeKinds(w metric.Writer, sums map[string]*counters) {
	const types, replies, malformed = "fairway_dns_queries_by_type_total", "fairway_dns_replies_total", "fairway_dns_malformed_total"
	w.Family(types, metric.Counter, "Queries answered, by type.")
	for _, proto := range protocols {
		for i := range sums[proto].types {
			w.Value(types, float64(sums[proto].types[i].Load()), "proto", proto, "type", typeName(i))
		}
	}
	w.Family(replies, metric.Counter, "Replies by response code.")
	for _, proto := range protocols {
		for code := range sums[proto].rcode {
			if name := wire.RcodeName(code); name != "OTHER" {
				w.Value(replies, float64(sums[proto].rcode[code].Load()), "proto", proto, "rcode", name)
			}
		}
	}
	w.Family(malformed, metric.Counter, "Malformed packets by what is wrong with them.")
	for _, proto := range protocols {
		for p := wire.OK + 1; int(p) < wire.NumProblems; p++ {
			w.Value(malformed, float64(sums[proto].problem[p].Load()), "proto", proto, "problem", fmt.Sprint(p))
		}
	}
}

// histograms are those of each protocol.
var histograms = []struct {
	name, help string
	write      func(c *counters, w metric.Writer, name string, labels ...string)
}{
	{"request_duration_seconds", "Time from reading a query to having sent its reply.",
		func(c *counters, w metric.Writer, n string, l ...string) { c.duration.write(w, n, 0, l...) }},
	{"request_size_bytes", "Size of queries.", func(c *counters, w metric.Writer, n string, l ...string) { c.requestSize.write(w, n, l...) }},
	{"response_size_bytes", "Size of replies.", func(c *counters, w metric.Writer, n string, l ...string) { c.replySize.write(w, n, l...) }},
}

// writeCoreDNS repeats what CoreDNS counts, under its names and with those of
// its labels that dashboards sum by.
func writeCoreDNS(w metric.Writer, sums map[string]*counters) {
	server := []string{"server", "dns://:53", "zone", ".", "view", ""}
	labels := func(more ...string) []string { return append(server[:len(server):len(server)], more...) }
	w.Family("coredns_dns_requests_total", metric.Counter, "Queries received, as CoreDNS names it.")
	for _, proto := range protocols {
		for i := range sums[proto].types {
			w.Value("coredns_dns_requests_total", float64(sums[proto].types[i].Load()), labels("proto", proto, "type", typeName(i))...)
		}
	}
	w.Family("coredns_dns_responses_total", metric.Counter, "Replies by response code, as CoreDNS names it.")
	for code := range sums["udp"].rcode {
		if name := wire.RcodeName(code); name != "OTHER" {
			w.Value("coredns_dns_responses_total", float64(sums["udp"].rcode[code].Load()+sums["tcp"].rcode[code].Load()), labels("plugin", "", "rcode", name)...)
		}
	}
	w.Family("coredns_dns_request_duration_seconds", metric.Histogram, "Time to a reply, as CoreDNS names it.")
	var both durations
	both.add(&sums["udp"].duration)
	both.add(&sums["tcp"].duration)
	both.write(w, "coredns_dns_request_duration_seconds", coreDNS, server...)
	for _, h := range histograms[1:] {
		name := "coredns_dns_" + h.name
		w.Family(name, metric.Histogram, "As CoreDNS names it.")
		for _, proto := range protocols {
			h.write(sums[proto], w, name, labels("proto", proto)...)
		}
	}
}
