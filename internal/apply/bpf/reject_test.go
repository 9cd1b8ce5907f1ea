package bpf

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/policy"
	"github.com/fairway-net/fairway/internal/testkit"
)

// Clients that come by packets are told at once where nobody is there.
func TestRefusedByPackets(t *testing.T) {
	w := newWorld(t)
	vip := netip.MustParseAddr("198.51.100.100")
	svc := nodePort("web", "10.96.0.1")
	svc.LoadBalancer = []model.LoadBalancerIngress{{IP: vip}}
	w.set(svc)
	w.must(w.node1.Do(func() error { return w.node1.dp.ApplyVIPs(t.Context(), []netip.Addr{vip}) }))
	// What the datapath tells a pod is not for policy to keep from it.
	w.enforce(nil, map[*testkit.Pod]enforced{w.a2: {ingress: []policy.Rule{}}})
	for _, c := range []struct {
		from *testkit.NS
		addr string
	}{
		{w.client.NS, "198.51.100.1:30080"}, {w.client.NS, "[2001:db8::1]:30080"},
		{w.client.NS, "198.51.100.100:80"}, {w.client.NS, "198.51.100.100:81"},
		{w.a1.NS, "10.96.0.1:80"}, {w.a1.NS, "[fd00:96::1]:80"}, {w.a1.NS, "10.96.0.1:81"},
		{w.a2.NS, "10.96.0.1:80"},
	} {
		for _, network := range []string{"tcp", "udp"} {
			start := time.Now()
			_, err := c.from.AskWithin(nil, network, c.addr, 5*time.Second)
			if !errors.Is(err, unix.ECONNREFUSED) {
				w.dump()
				t.Errorf("%s to %s %s: %v after %v, want connection refused", c.from.Name, network, c.addr, err, time.Since(start))
			}
		}
	}
	if w.node1.dropped(DropNoEndpoints) == 0 || w.node1.dropped(DropUnknownPort) == 0 {
		t.Error("refusals were not counted")
	}
}
