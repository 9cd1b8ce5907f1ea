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

// Clients that come by packets learn of a pod that is gone from the first packet
// after a second of silence, also where it has data. What else happens to a
// Service is nothing to its connections.
func TestVanishedPodResetsPackets(t *testing.T) {
	w := newWorld(t)
	svc := nodePort("web", "10.96.0.1")
	conns := map[string]*testkit.Conn{}
	dial := func(from *testkit.NS, addr string) {
		c, err := from.Dial(nil, "tcp", addr, "")
		w.must(err)
		t.Cleanup(func() { c.Close() })
		_, err = c.Ask("x")
		w.must(err)
		conns[from.Name+" to "+addr] = c
	}
	var gone []netip.Addr
	for _, backend := range []*testkit.Pod{w.a2, w.b1} {
		w.set(svc, backend.IPs...)
		for _, node := range []string{"198.51.100.1:30080", "[2001:db8::1]:30080"} {
			dial(w.client.NS, node)
		}
		dial(w.a1.NS, "10.96.0.1:80")
		dial(w.a1.NS, "[fd00:96::1]:80")
		gone = append(gone, backend.IPs...)
	}
	w.set(svc)
	for name, c := range conns {
		if _, err := c.Ask("x"); err != nil {
			t.Errorf("%s, without endpoints: %v", name, err)
		}
	}
	w.node1.applyGone(nil, gone...)
	for _, c := range conns {
		c.SetDeadline(time.Now().Add(10 * time.Second))
	}
	time.Sleep(1100 * time.Millisecond)
	for name, c := range conns {
		// More than one segment, as a program would send it at once.
		if _, err := c.Write([]byte(strings.Repeat("x", 20000))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
			w.dump()
			t.Errorf("%s, the pod is gone: %v, want connection reset", name, err)
		}
	}
	if w.node1.dropped(DropBackendGone) < uint64(len(conns)) {
		t.Error("drops were not counted")
	}
}

// A connection that the table does not know, because it has been silent for too
// long: its client is told, and nothing escapes with a Service's address.
func TestUnknownConnectionIsReset(t *testing.T) {
	w := newWorld(t)
	w.set(web("web", "10.96.0.1", "fd00:96::1"), append(w.a2.IPs, w.b1.IPs...)...)
	w.client.Route("10.96.0.0/16", "198.51.100.1")
	w.client.Route("fd00:96::/112", "2001:db8::1")
	for _, from := range []*testkit.NS{w.client.NS, w.a1.NS} {
		for _, addr := range []string{"10.96.0.1:80", "[fd00:96::1]:80"} {
			conn, err := from.Dial(nil, "tcp", addr, "")
			w.must(err)
			defer conn.Close()
			w.must(each(w.node1.dp.objs.Conns, func(k kernelTuple, _ kernelConn) { w.must(deleteKey(w.node1.dp.objs.Conns, k)) }))
			if _, err := conn.Ask("x"); !errors.Is(err, unix.ECONNRESET) {
				w.dump()
				t.Errorf("%s to %s: %v, want connection reset", from.Name, addr, err)
			}
		}
	}
	if w.node1.dropped(DropNoFlow) < 4 {
		t.Error("drops were not counted")
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
