package dns

import (
	"bytes"
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
)

// TestMetrics: both our names and CoreDNS's count the same queries, and each
// series is there once.
func TestMetrics(t *testing.T) {
	fwd := forwarder(outsideWorld(t).addr)
	s, err := New(Options{Zone: fill(t, cluster()), Upstream: fwd, Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, time.Second) }()
	addr := s.Addrs()[0]
	for range 2 {
		exchange(t, "udp", addr, "web.default.svc.cluster.local.", mdns.TypeA, 0)
		exchange(t, "udp", addr, "big.example.com.", mdns.TypeA, 0)
	}
	exchange(t, "tcp", addr, "none.default.svc.cluster.local.", mdns.TypeA, 0)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	var b bytes.Buffer
	s.WriteMetrics(&b)
	fwd.WriteMetrics(&b)
	text := b.String()
	for _, want := range []string{
		`fairway_dns_queries_total{proto="udp"} 4`,
		`coredns_dns_requests_total{server="dns://:53",zone=".",view="",proto="udp",type="A"} 4`,
		`coredns_dns_requests_total{server="dns://:53",zone=".",view="",proto="tcp",type="A"} 1`,
		`coredns_dns_request_duration_seconds_bucket{server="dns://:53",zone=".",view="",le="8.192"} 5`,
		`coredns_dns_request_duration_seconds_count{server="dns://:53",zone=".",view=""} 5`,
		`coredns_dns_request_size_bytes_bucket{server="dns://:53",zone=".",view="",proto="udp",le="100"} 4`,
		`coredns_dns_response_size_bytes_count{server="dns://:53",zone=".",view="",proto="tcp"} 1`,
		`fairway_dns_request_duration_seconds_count{proto="udp"} 4`,
		`coredns_dns_responses_total{server="dns://:53",zone=".",view="",plugin="",rcode="NXDOMAIN"} 1`,
		`coredns_dns_responses_total{server="dns://:53",zone=".",view="",plugin="",rcode="NOERROR"} 4`,
		`coredns_cache_requests_total{server="dns://:53",zones=".",view=""} 2`,
		`coredns_cache_hits_total{server="dns://:53",zones=".",view="",type="success"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	seen := map[string]bool{}
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		series := line[:strings.LastIndexByte(line, ' ')]
		if seen[series] {
			t.Errorf("twice: %s", series)
		}
		seen[series] = !strings.HasPrefix(line, "#") || strings.HasPrefix(line, "# TYPE")
	}
}
