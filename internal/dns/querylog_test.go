package dns

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/fairway-net/fairway/internal/testkit"
)

// TestQueryLog: one reply in so many is logged, with what one asks of a log; the
// switch works while the server runs.
func TestQueryLog(t *testing.T) {
	log := &testkit.Text{}
	s, err := New(Options{Zone: fill(t, cluster()), Upstream: forwarder(outsideWorld(t).addr), Listen: loopback(), Sockets: 1, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, time.Second) }()
	defer func() { cancel(); <-done }()
	ask := func(network, name string, n int) {
		for range n {
			exchange(t, network, s.Addrs()[0], name, mdns.TypeA, 0)
		}
	}
	const web = "web.default.svc.cluster.local."
	ask("udp", web, 5)
	if got := log.Lines("msg=query"); len(got) > 0 {
		t.Errorf("off by default: %q", got)
	}
	s.LogQueries(3)
	ask("udp", web, 9)
	eventually(t, "one in three", func() bool { return len(log.Lines("msg=query")) == 3 })
	for _, want := range []string{"client=127.0.0.1", "proto=udp", "name=" + web, "type=A", "rcode=NOERROR", "from=zone", "bytes=", "took="} {
		if line := log.Lines("msg=query")[0]; !strings.Contains(line, want) {
			t.Errorf("no %s in %q", want, line)
		}
	}
	s.LogQueries(1)
	ask("udp", "web.example.com.", 2) // from upstream, then from the cache
	ask("tcp", "none.default.svc.cluster.local.", 1)
	eventually(t, "all", func() bool { return len(log.Lines("msg=query")) == 6 })
	for i, want := range []string{"from=upstream", "from=cache", "proto=tcp name=none.default.svc.cluster.local. type=A rcode=NXDOMAIN"} {
		if line := log.Lines("msg=query")[3+i]; !strings.Contains(line, want) {
			t.Errorf("no %q in %q", want, line)
		}
	}
	s.LogQueries(0)
	ask("udp", web, 3)
	time.Sleep(50 * time.Millisecond)
	if n := len(log.Lines("msg=query")); n != 6 {
		t.Errorf("%d lines after it was switched off", n)
	}
}
