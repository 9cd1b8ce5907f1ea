package bpf

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
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

// A flood is dropped, not answered packet by packet.
func TestRefusalsAreLimited(t *testing.T) {
	w := newWorld(t)
	w.set(nodePort("web", "10.96.0.1"))
	conn, err := w.client.Dial(nil, "udp", "198.51.100.1:30080", "")
	w.must(err)
	defer conn.Close()
	start := time.Now()
	const sent = 20000
	for done := 0; done < sent; {
		if _, err := conn.Write([]byte("x")); err == nil { // or it tells of a refusal
			done++
		}
	}
	for deadline := start.Add(10 * time.Second); w.node1.dropped(DropNoEndpoints) < sent; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d packets were dropped", w.node1.dropped(DropNoEndpoints), sent)
		}
	}
	took := time.Since(start)
	refused := unreachables(t, w.client.NS)
	most := runtime.NumCPU() * (202 + int(took/time.Millisecond))
	if refused < 200 || refused > most {
		t.Errorf("%d refusals of %d packets in %v, want 200 to %d", refused, sent, took, most)
	}
}

// unreachables is the number of ICMP errors that a namespace has received.
func unreachables(t *testing.T, ns *testkit.NS) int {
	t.Helper()
	var text []byte
	err := ns.Do(func() (err error) { text, err = os.ReadFile("/proc/thread-self/net/snmp"); return err })
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if f[0] != "Icmp:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		n, err := strconv.Atoi(f[slices.Index(names, "InDestUnreachs")])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	t.Fatal("no ICMP counters")
	return 0
}
