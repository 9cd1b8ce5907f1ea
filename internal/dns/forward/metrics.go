package forward

import (
	"fmt"
	"io"
	"sync/atomic"
)

// WriteMetrics writes the counters in the text format of Prometheus.
func (f *Forwarder) WriteMetrics(w io.Writer) {
	s := &f.stats
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
		fmt.Fprintf(w, "# HELP fairway_dns_upstream_%s %s\n# TYPE fairway_dns_upstream_%s counter\nfairway_dns_upstream_%s %d\n",
			c.name, c.help, c.name, c.name, c.value.Load())
	}
	fmt.Fprintf(w, "# HELP fairway_dns_upstream_cache_entries Answers kept.\n# TYPE fairway_dns_upstream_cache_entries gauge\nfairway_dns_upstream_cache_entries %d\n", f.CacheLen())
	fmt.Fprintf(w, "# HELP fairway_dns_upstream_up Whether the server answers.\n# TYPE fairway_dns_upstream_up gauge\n")
	for _, u := range f.all {
		up := 0
		if u.up() {
			up = 1
		}
		fmt.Fprintf(w, "fairway_dns_upstream_up{server=%q} %d\n", u.Server.String(), up)
	}
	fmt.Fprintf(w, "# HELP fairway_dns_upstream_loop Whether the server was found to ask this one.\n# TYPE fairway_dns_upstream_loop gauge\n")
	for _, u := range f.all {
		loop := 0
		if u.looping.Load() {
			loop = 1
		}
		fmt.Fprintf(w, "fairway_dns_upstream_loop{server=%q} %d\n", u.Server.String(), loop)
	}
	const server = `server="dns://:53",zones=".",view=""`
	for _, c := range []struct {
		name, labels, kind string
		value              uint64
	}{
		{"cache_hits_total", server + `,type="success"`, "counter", s.Hits.Load()},
		{"cache_misses_total", server, "counter", s.Misses.Load()},
		{"cache_requests_total", server, "counter", s.Hits.Load() + s.Misses.Load()},
		{"cache_served_stale_total", server, "counter", s.Stale.Load()},
		{"cache_prefetch_total", server, "counter", s.Refreshed.Load()},
		{"cache_entries", server + `,type="success"`, "gauge", uint64(f.CacheLen())},
		{"forward_max_concurrent_rejects_total", "", "counter", s.Busy.Load()},
	} {
		fmt.Fprintf(w, "# HELP coredns_%s As CoreDNS names it; hits and entries of any kind.\n# TYPE coredns_%s %s\ncoredns_%s{%s} %d\n", c.name, c.name, c.kind, c.name, c.labels, c.value)
	}
}
