package forward

import (
	"io"
	"sync/atomic"

	"github.com/fairway-net/fairway/internal/metric"
)

// WriteMetrics writes the counters in the text format of Prometheus.
func (f *Forwarder) WriteMetrics(out io.Writer) {
	w, s := metric.Writer{Writer: out}, &f.stats
	for _, c := range []struct {
		name, help string
		value      *atomic.Uint64
	}{
		{"cache_hits_total", "Forwarded names answered from the cache.", &s.Hits},
		{"cache_misses_total", "Forwarded names that were not in the cache.", &s.Misses},
		{"cache_stale_total", "Expired answers given because upstream failed.", &s.Stale},
		{"joined_total", "Questions that waited for the same question of another client.", &s.Joined},
		{"refreshed_total", "Questions asked again before the answer expired.", &s.Refreshed},
		{"asked_total", "Questions to upstream servers.", &s.Asked},
		{"failed_total", "Questions to upstream servers without an answer.", &s.Failed},
		{"timeouts_total", "Of the failed, those that timed out.", &s.Timed},
		{"busy_total", "Questions refused because too many were under way.", &s.Busy},
		{"no_upstream_total", "Questions that no upstream server was there for.", &s.NoUpstream},
	} {
		w.One("fairway_dns_upstream_"+c.name, metric.Counter, c.help, float64(c.value.Load()))
	}
	w.One("fairway_dns_upstream_cache_entries", metric.Gauge, "Answers kept.", float64(f.CacheLen()))
	for _, g := range []struct {
		name, help string
		is         func(*upstream) bool
	}{
		{"fairway_dns_upstream_up", "Whether the server answers.", (*upstream).up},
		{"fairway_dns_upstream_loop", "Whether the server was found to ask this one.", func(u *upstream) bool { return u.looping.Load() }},
	} {
		w.Family(g.name, metric.Gauge, g.help)
		for _, u := range f.all {
			v := 0.0
			if g.is(u) {
				v = 1
			}
			w.Value(g.name, v, "server", u.Server.String())
		}
	}
	writeCoreDNS(w, s, f.CacheLen())
}

// writeCoreDNS repeats what CoreDNS counts, under its names.
func writeCoreDNS(w metric.Writer, s *Stats, entries int) {
	server := []string{"server", "dns://:53", "zones", ".", "view", ""}
	success := append(server[:len(server):len(server)], "type", "success")
	for _, c := range []struct {
		name   string
		labels []string
		kind   metric.Kind
		value  uint64
	}{
		{"cache_hits_total", success, metric.Counter, s.Hits.Load()},
		{"cache_misses_total", server, metric.Counter, s.Misses.Load()},
		{"cache_requests_total", server, metric.Counter, s.Hits.Load() + s.Misses.Load()},
		{"cache_served_stale_total", server, metric.Counter, s.Stale.Load()},
		{"cache_prefetch_total", server, metric.Counter, s.Refreshed.Load()},
		{"cache_entries", success, metric.Gauge, uint64(entries)},
		{"forward_max_concurrent_rejects_total", nil, metric.Counter, s.Busy.Load()},
	} {
		w.Family("coredns_"+c.name, c.kind, "As CoreDNS names it; hits and entries of any kind.")
		w.Value("coredns_"+c.name, float64(c.value), c.labels...)
	}
}
