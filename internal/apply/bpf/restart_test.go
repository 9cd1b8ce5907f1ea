package bpf

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/policy"
	"github.com/fairway-net/fairway/internal/plan/service"
	"github.com/fairway-net/fairway/internal/testkit"
)

// The datapath works while nobody holds it, and the next process continues
// without disturbing anything.
func TestReopen(t *testing.T) {
	w := newWorld(t)
	svc := nodePort("web", "10.96.0.1")
	w.set(svc, w.b1.IPs[0])
	w.set(web("gone", "10.96.0.9"), w.b1.IPs[0])
	w.client.Serve(":9000")
	rules := map[*testkit.Pod]enforced{w.a2: {ingress: []policy.Rule{}}}
	w.enforce(nil, rules)

	open := map[string]*testkit.Conn{}
	dial := func(name string, ns *testkit.NS, c *testkit.Cgroup, network, addr string) {
		conn, err := ns.Dial(c, network, addr, "")
		w.must(err)
		t.Cleanup(func() { conn.Close() })
		open[name] = conn
	}
	dial("from the world", w.client.NS, nil, "tcp", "198.51.100.1:30080")
	dial("from the world, UDP", w.client.NS, nil, "udp", "198.51.100.1:30080")
	dial("to the world", w.a1.NS, w.node1.cgroup, "tcp", "198.51.100.9:9000")
	dial("to a Service", w.a1.NS, w.node1.cgroup, "udp", "10.96.0.1:80")
	dial("to a Service, by packets", w.a1.NS, nil, "tcp", "10.96.0.1:80")
	check := func(when string) {
		t.Helper()
		for name, c := range open {
			if _, err := c.Ask("x"); err != nil {
				t.Errorf("%s: connection %s: %v", when, name, err)
			}
		}
		w.ask(w.client.NS, nil, "tcp", "198.51.100.1:30080")
		w.ask(w.a1.NS, w.node1.cgroup, "tcp", "10.96.0.1:80")
		w.expect(false, w.a1.NS, nil, "tcp", w.a2.IPs[0].String()+":8080")
		w.expect(true, w.a2.NS, nil, "tcp", w.a1.IPs[0].String()+":8080")
	}
	check("at first")
	before := w.node1.dp.services.frontends
	w.must(w.node1.dp.Close())
	check("with nobody there")

	w.node1.open()
	check("after opening again")
	after := w.node1.dp.services.frontends
	if len(after) != len(before) {
		t.Errorf("%d frontends after opening again, want %d", len(after), len(before))
	}
	plan := service.For(w.store.Snapshot(), service.Params{Node: "node1"}, service.Key{Kind: model.KindService, Name: svc.Name})
	w.must(w.node1.dp.ApplyServices(t.Context(), []service.Plan{plan}))
	for k, v := range before {
		if got := w.node1.dp.services.frontends[k]; got.value != v.value {
			t.Errorf("frontend %v:%d changed from %+v to %+v", k.Addr.addr(), swap(k.Port), v.value, got.value)
		}
	}
	w.enforce(nil, rules)
	check("after applying again")
	w.ask(w.a1.NS, w.node1.cgroup, "tcp", "10.96.0.9:80") // not pruned yet
	w.must(w.node1.dp.PruneServices(t.Context()))
	if reaches(w.a1.NS, w.node1.cgroup, "tcp", "10.96.0.9:80") {
		t.Error("a Service that is gone still answers after Prune")
	}
	check("after pruning")
}

// What nothing refers to leaves the maps after its grace period, and only that.
func TestBury(t *testing.T) {
	w := newWorld(t)
	w.set(web("web", "10.96.0.1"), w.b1.IPs[0])
	w.set(web("web2", "10.96.0.2"), w.b1.IPs[0])
	size := func() (n int) {
		w.must(each(w.node1.dp.tables.slots.m, func(kernelSlotKey, kernelBackend) { n++ }))
		w.must(each(w.node1.dp.tables.members.m, func(kernelMemberKey, kernelMember) { n++ }))
		w.must(each(w.node1.dp.tables.names.m, func(kernelNameKey, kernelName) { n++ }))
		return n
	}
	want := size()
	for i := range 20 {
		w.set(web("web", "10.96.0.1"), []netip.Addr{w.a1.IPs[0], w.a2.IPs[0], w.b1.IPs[0]}[i%3])
	}
	w.set(web("web", "10.96.0.1"), w.b1.IPs[0])
	for deadline := time.Now().Add(3 * grace); size() != want; time.Sleep(grace / 4) {
		if time.Now().After(deadline) {
			t.Fatalf("%d entries, want %d as before the changes", size(), want)
		}
		_, err := w.node1.dp.Sweep(t.Context())
		w.must(err)
	}
	w.ask(w.a1.NS, w.node1.cgroup, "tcp", "10.96.0.2:80")
}

// A pod's link vanishes without a word; its successor must not be hindered.
func TestLinkGone(t *testing.T) {
	w := newWorld(t)
	l, err := w.node1.Link.LinkByIndex(w.a2.Index)
	w.must(err)
	w.must(w.node1.Link.LinkDel(l))
	w.must(w.node1.dp.Close())
	w.node1.pods = w.node1.pods[:1]
	w.node1.open()
	w.must(w.node1.dp.DetachPod(w.a2.Index)) // a late CNI DEL is no error
	pods, err := w.node1.dp.ReadPods()
	w.must(err)
	if len(pods) != 1 || pods[0].IfIndex != w.a1.Index {
		t.Errorf("pods: %+v, want a1 alone", pods)
	}
}

// After an upgrade the old version goes once the new one is complete, and
// decides until then; after Uninstall there is nothing.
func TestLayouts(t *testing.T) {
	w := newWorld(t)
	w.set(web("web", "10.96.0.1"), w.b1.IPs[0])
	peer := w.a2.IPs[0].String() + ":8080"
	w.expect(true, w.a1.NS, nil, "udp", peer)
	w.must(w.node1.dp.Close())
	w.node1.layout = "v99"
	w.node1.open()
	w.ask(w.a1.NS, w.node1.cgroup, "tcp", "10.96.0.1:80") // by the old one
	w.expect(true, w.a1.NS, nil, "udp", peer)             // closed in the new one
	w.openPods()
	w.set(web("web", "10.96.0.1"), w.b1.IPs[0])
	w.must(w.node1.dp.PruneServices(t.Context()))
	w.must(w.node1.dp.RetireOthers())
	if _, err := os.Stat(w.node1.dir + "/" + layout); err == nil {
		t.Error("the old layout is still there")
	}
	w.ask(w.a1.NS, w.node1.cgroup, "tcp", "10.96.0.1:80")
	w.expect(true, w.a1.NS, nil, "udp", peer)
	w.enforce(nil, map[*testkit.Pod]enforced{w.a2: {ingress: []policy.Rule{}}})
	w.expect(false, w.a1.NS, nil, "udp", peer)

	w.must(w.node1.dp.Close())
	w.must(w.node1.Do(func() error { return Uninstall(w.node1.dir) }))
	w.expect(true, w.a1.NS, nil, "udp", peer)
	// The kernel lets go of links in its own time.
	for deadline := time.Now().Add(2 * time.Second); reaches(w.a1.NS, w.node1.cgroup, "tcp", "10.96.0.1:80"); {
		if time.Now().After(deadline) {
			t.Fatal("a Service answers after Uninstall")
		}
	}
	w.ask(w.a2.NS, w.node1.cgroup, "tcp", w.a1.IPs[0].String()+":8080")
}

// A pod whose programs are replaced, and a pod that is forgotten while its link
// is there still, are never open to those whom the policy keeps out.
func TestFiltersHaveNoGap(t *testing.T) {
	w := newWorld(t)
	w.enforce(nil, map[*testkit.Pod]enforced{w.a1: {ingress: []policy.Rule{}}})
	var sink net.PacketConn
	w.must(w.a1.Do(func() (err error) { sink, err = net.ListenPacket("udp", ":9000"); return err }))
	conn, err := w.b1.Dial(nil, "udp", w.a1.IPs[0].String()+":9000", "")
	w.must(err)
	defer conn.Close()
	var sent, came atomic.Int64
	var done sync.WaitGroup
	done.Go(func() {
		for buf := make([]byte, 16); ; came.Add(1) {
			if _, _, err := sink.ReadFrom(buf); err != nil {
				return
			}
		}
	})
	stop := make(chan struct{})
	done.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := conn.Write([]byte("x")); err == nil {
					sent.Add(1)
				}
			}
		}
	})
	for range 50 {
		w.node1.attach(w.a1)
	}
	w.must(w.node1.dp.Close())
	w.node1.open()
	w.must(w.node1.dp.DetachPod(w.a1.Index))
	time.Sleep(20 * time.Millisecond)
	close(stop)
	sink.Close()
	done.Wait()
	if sent.Load() < 1000 || came.Load() != 0 {
		t.Errorf("%d of %d packets came through", came.Load(), sent.Load())
	}
	for _, reason := range []Drop{DropPolicyIngress, DropPodUnknown} {
		if w.node1.dropped(reason) == 0 {
			t.Errorf("nothing was dropped for %v", reason)
		}
	}
}
