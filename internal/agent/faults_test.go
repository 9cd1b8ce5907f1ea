package agent

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/fairway-net/fairway/internal/apply/bpf"
)

// faults makes the fault tests take the time that users' faults take.
var faults = flag.Bool("faults", false, "let faults last for minutes, under 1,000 new connections per second")

// during returns how long a fault lasts.
func during(short, long time.Duration) time.Duration {
	if *faults {
		return long
	}
	return short
}

// rate is the number of new connections per second.
func rate() int {
	if *faults {
		return 1000
	}
	return 200
}

// churn changes the endpoints of the Service all the time, each of which
// serves on: only who gets new connections changes. The returned function ends it.
func (w *faultWorld) churn() func() {
	ctx, stop := context.WithCancel(w.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		some := [][]string{{"a1", "b1"}, {"a2", "b2"}, {"b1"}, {"a1", "a2", "b1", "b2"}, {"a1"}, {"b2", "b1"}}
		for i := 0; ctx.Err() == nil; i++ {
			w.endpoints("web", some[i%len(some)]...)
			name := fmt.Sprintf("passing-%d", i%7)
			if i%14 < 7 {
				w.api.Set("services", w.service(name, fmt.Sprintf("10.96.0.%d:80", 10+i%7), 0))
			} else {
				w.api.Delete("services", "test/"+name)
			}
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() { stop(); <-done }
}

// settled waits until the kernel has exactly what the API has, and no more in
// any map.
func (w *faultWorld) settled() {
	w.Helper()
	for i := range 7 {
		w.api.Delete("services", fmt.Sprintf("test/passing-%d", i))
	}
	w.endpoints("web", "a1", "b2")
	want := []netip.AddrPort{netip.AddrPortFrom(w.pods["a1"].ip, 8080), netip.AddrPortFrom(w.pods["b2"].ip, 8080)}
	w.await("the kernel to be as the API", func() bool {
		return len(w.agent.kernel().Entries) == 2 && slices.Equal(w.agent.backends(vip), want) && slices.Equal(w.agent.backends("0.0.0.0:30080"), want)
	})
	w.await("stale backends to be buried", func() bool {
		return w.agent.metric(`fairway_service_map_entries{map="slots"}`) == 2 && w.agent.metric(`fairway_service_map_entries{map="members"}`) == 2
	})
}

// TestAgentKilled: kill -9 of the agent, again and again, while connections are
// made and endpoints change, breaks none of them and leaves nothing behind.
func TestAgentKilled(t *testing.T) {
	w := newFaultWorld(t)
	w.start()
	loads, calm := w.load(rate()), w.churn()
	kills := 0
	for end := time.Now().Add(during(8*time.Second, time.Minute)); time.Now().Before(end); kills++ {
		w.agent.kill()
		w.agent = w.startAgent(agentSpec{})
		if kills%2 == 0 { // else it is killed while it starts
			w.agent.awaitReady()
		}
		time.Sleep(300 * time.Millisecond)
	}
	w.agent.awaitReady()
	calm()
	w.unharmed(loads)
	w.settled()
	t.Logf("killed %d times", kills)
}

// TestUpgrade: a version with another form of its maps takes over while
// connections are made and others are open, and back again; none breaks.
func TestUpgrade(t *testing.T) {
	w := newFaultWorld(t)
	w.start()
	loads, calm := w.load(rate()), w.churn()
	time.Sleep(time.Second)
	for _, s := range []agentSpec{{Layout: "v97", Break: "frontends"}, {Layout: "v98", Break: "conns"}, {}} {
		w.upgrade(s)
	}
	calm()
	w.unharmed(loads)
	w.settled()
}

// upgrade replaces the agent by another version and waits until that is alone.
func (w *faultWorld) upgrade(s agentSpec) {
	w.Helper()
	w.Logf("upgrade to %+v", s)
	w.agent.kill()
	w.agent = w.startAgent(s)
	w.agent.awaitReady()
	w.await("the version before to be gone", func() bool {
		dirs, err := filepath.Glob(filepath.Join(w.bpffs, "fairway", "v[0-9]*"))
		return err == nil && len(dirs) == 1
	})
	time.Sleep(during(time.Second, 10*time.Second))
}

// TestAPIGone: without an API server all goes on, and when it is back no entry
// that is still right is taken away, not even for a moment.
func TestAPIGone(t *testing.T) {
	w := newFaultWorld(t)
	w.start()
	for i := range 20 { // which nothing happens to
		w.api.Set("services", w.service(fmt.Sprintf("quiet-%d", i), fmt.Sprintf("10.96.1.%d:80", i), 0))
		w.endpoints(fmt.Sprintf("quiet-%d", i), "a1", "b1")
	}
	w.await("the quiet Services", func() bool { return len(w.agent.kernel().Entries) == 22 })
	loads := w.load(rate())
	const deleted = "fairway_service_map_deletes_total"
	before := w.agent.metric(deleted)
	w.api.Stop()
	time.Sleep(during(20*time.Second, 5*time.Minute))
	if got := w.agent.get("/readyz"); got != "ok\n" {
		t.Errorf("without an API server the agent says %q", got)
	}
	w.endpoints("web", "a2", "b2")
	w.api.Set("services", w.service("new", "10.96.0.9:80", 0))
	w.endpoints("new", "b1")
	w.api.Start(w.node1.NS, apiAddr)
	want := []netip.AddrPort{netip.AddrPortFrom(w.pods["a2"].ip, 8080), netip.AddrPortFrom(w.pods["b2"].ip, 8080)}
	w.await("what changed meanwhile", func() bool {
		return slices.Equal(w.agent.backends(vip), want) && len(w.agent.backends("10.96.0.9:80")) == 1
	})
	time.Sleep(3 * time.Second) // for the burial of what was replaced
	w.unharmed(loads)
	// Two endpoints of one port have left: two members, and the four slots of
	// the set that they were in with its name.
	if n := w.agent.metric(deleted) - before; before < 0 || n > 7 {
		t.Errorf("%v entries were deleted (%v before), want those of the endpoints that left alone", n, before)
	}
}

// TestVerifierRefuses: a version whose programs the kernel does not take says
// so, and the version before goes on working.
func TestVerifierRefuses(t *testing.T) {
	w := newFaultWorld(t)
	w.start()
	loads := w.load(50)
	w.agent.kill()
	w.agent = w.startAgent(agentSpec{Layout: "v97", Break: "verifier"})
	w.troubled("VerifierRefused", "go back to the version of Fairway before")
	time.Sleep(during(2*time.Second, 20*time.Second))
	w.unharmed(loads)
	w.agent.kill()
	w.startAgent(agentSpec{}).awaitReady()
	w.settled()
}

// TestNoBPFFS: without a bpffs the agent says so, and begins when there is one.
func TestNoBPFFS(t *testing.T) {
	w := newFaultWorld(t)
	dir := t.TempDir()
	w.agent = w.startAgent(agentSpec{BPFFS: dir})
	w.troubled("NoBPFFS", "mount -t bpf")
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	w.agent.awaitReady()
	if n := w.agent.metric(`fairway_problem{reason="NoBPFFS"}`); n != -1 {
		t.Errorf("the problem is over, and still there: %v", n)
	}
}

// TestNoCgroup: where the hooks of sockets cannot be, pods reach Services by
// way of their packets.
func TestNoCgroup(t *testing.T) {
	w := newFaultWorld(t)
	w.agent = w.startAgent(agentSpec{Break: "cgroup"})
	w.troubled("SocketHooksMissing", "mount cgroup2")
	w.servesByPackets()
}

// servesByPackets sees to it that a pod reaches a Service without socket hooks.
func (w *faultWorld) servesByPackets() {
	w.addPod("a1")
	w.pods["a1"].Serve(":8080")
	w.addPod("a2")
	w.api.Set("services", w.service("web", vip, 30080))
	w.endpoints("web", "a1")
	w.await("an answer without socket hooks", func() bool {
		_, err := w.pods["a2"].AskWithin(nil, "tcp", vip, time.Second)
		return err == nil
	})
}

// TestCgroupMissing: a node whose cgroup cannot be found says so, pods reach
// Services by way of their packets, and when there is one the hooks are there.
func TestCgroupMissing(t *testing.T) {
	w := newFaultWorld(t)
	w.agent = w.startAgent(agentSpec{Break: "no cgroup"})
	w.troubled("CgroupMissing", "mount cgroup2 on the node")
	w.servesByPackets()
	if err := os.WriteFile(filepath.Join(w.dir, "cgroup"), []byte(w.cgroup), 0o644); err != nil {
		t.Fatal(err)
	}
	w.agent.awaitReady() // so the self-test has passed, which goes through the hooks
	if n := w.agent.metric(`fairway_problem{reason="CgroupMissing"}`); n != -1 {
		t.Errorf("the problem is over, and still there: %v", n)
	}
}

// TestMapsFull: a Service that does not fit says so and holds up no other; when
// there is room again it is there.
func TestMapsFull(t *testing.T) {
	w := newFaultWorld(t)
	w.agent = w.startAgent(agentSpec{Break: "small"}) // room for four Services: each has an address and a wildcard
	w.agent.awaitReady()
	w.addPod("a1")
	w.pods["a1"].Serve(":8080")
	w.addPod("a2")
	for i := range 6 {
		name := fmt.Sprintf("s%d", i)
		w.api.Set("services", w.service(name, fmt.Sprintf("10.96.0.%d:80", i+1), 0))
		w.endpoints(name, "a1")
	}
	w.await("two Services without room", func() bool { return w.agent.metric("fairway_service_failed") == 2 })
	w.await("an Event", func() bool { return w.api.HasEvent("MapFull") && w.api.HasEvent("remove Services") })
	if got := w.agent.get("/readyz"); got != "ok\n" {
		t.Errorf("the agent says %q: most Services work", got)
	}
	if failed := w.agent.kernel().Failed; len(failed) != 2 {
		t.Errorf("failed: %+v, want two", failed)
	}
	works := func() (n int) {
		for i := range 6 {
			if _, err := w.pods["a2"].AskWithin(nil, "tcp", fmt.Sprintf("10.96.0.%d:80", i+1), time.Second); err == nil {
				n++
			}
		}
		return n
	}
	if n := works(); n != 4 {
		t.Errorf("%d Services work, want 4", n)
	}
	w.api.Delete("services", "test/s0")
	w.api.Delete("services", "test/s1")
	w.await("room for all", func() bool { return w.agent.metric("fairway_service_failed") == 0 })
	if n := works(); n != 4 {
		t.Errorf("%d Services work after two have gone, want the other 4", n)
	}
}

// TestUplinkDisappears: the device to the world goes and comes back.
func TestUplinkDisappears(t *testing.T) {
	w := newFaultWorld(t)
	w.start()
	w.endpoints("web", "a1", "a2")
	w.node1.Unplug()
	w.troubled("UplinkMissing", "bring the device eth0 back")
	w.await("pods of the node to reach each other", func() bool {
		_, err := w.pods["a2"].AskWithin(nil, "tcp", vip, time.Second)
		return err == nil
	})
	w.node1.Plug("198.51.100.1/24")
	w.agent.awaitReady()
	w.await("clients from outside", func() bool {
		_, err := w.client.AskWithin(nil, "tcp", nodePort1, time.Second)
		return err == nil
	})
}

// troubled waits until the agent tells of a problem in every way it has.
func (w *faultWorld) troubled(reason, fix string) {
	w.Helper()
	w.await(reason, func() bool { return w.agent.metric(fmt.Sprintf("fairway_problem{reason=%q}", reason)) == 1 })
	w.await("a line in the log", func() bool { return len(w.agent.log.Lines(reason, fix)) > 0 })
	if text := w.agent.get("/readyz"); !strings.Contains(text, fix) {
		w.Errorf("/readyz says %q, want %q in it", text, fix)
	}
	w.await("an Event", func() bool { return w.api.HasEvent(reason) && w.api.HasEvent(fix) })
}

// tweaks returns what is to be different about the datapath of an agent.
func tweaks(s agentSpec) func(*bpf.Options) {
	return func(o *bpf.Options) {
		o.Layout = s.Layout
		switch s.Break {
		case "verifier": // reads a register that nothing was written to
			o.Spec = func(spec *ebpf.CollectionSpec) {
				p := spec.Programs["from_net"]
				p.Instructions = p.Instructions[len(p.Instructions)-1:]
			}
		case "frontends": // as if its struct had grown: no map of Services fits
			o.Spec = func(spec *ebpf.CollectionSpec) { spec.Maps["frontends"].MaxEntries *= 2 }
		case "conns":
			o.Spec = func(spec *ebpf.CollectionSpec) { spec.Maps["conns"].MaxEntries *= 2 }
		case "small":
			o.Spec = func(spec *ebpf.CollectionSpec) { spec.Maps["frontends"].InnerMap.MaxEntries = 8 }
			o.MostEntries = 8
		case "cgroup":
			o.Cgroup = "/sys/fs/cgroup/nowhere"
		}
	}
}
