package bpf

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/policy"
	"github.com/fairway-net/fairway/internal/testkit"
)

// enforce gives pods of node1 sets of rules; nil is not isolated.
type enforced struct{ ingress, egress []policy.Rule }

func (w *world) enforce(classes map[string]string, pods map[*testkit.Pod]enforced) {
	w.Helper()
	var plan policy.Plan
	for prefix, class := range classes {
		plan.Classes = append(plan.Classes, policy.ClassPrefix{Prefix: netip.MustParsePrefix(prefix), Class: class})
	}
	set := func(rules []policy.Rule) *string {
		if rules == nil {
			return nil
		}
		name := fmt.Sprintf("%+v", rules)
		plan.Sets = append(plan.Sets, policy.Set{Name: name, Rules: rules})
		return &name
	}
	for _, p := range w.node1.pods {
		e := pods[p]
		plan.Pods = append(plan.Pods, policy.PodPolicy{Pod: podName(p), IPs: p.IPs, Ingress: set(e.ingress), Egress: set(e.egress)})
	}
	w.must(w.node1.dp.ApplyPolicy(w.Context(), plan))
}

// reaches tries once, with little patience.
func reaches(from *testkit.NS, c *testkit.Cgroup, network, addr string) bool {
	_, err := from.AskWithin(c, network, addr, 300*time.Millisecond)
	return err == nil
}

// expect tries once, with little patience for what shall fail and much for what
// shall not: machines may be busy.
func (w *world) expect(want bool, from *testkit.NS, c *testkit.Cgroup, network, addr string) {
	w.Helper()
	patience := 300 * time.Millisecond
	if want {
		patience = 5 * time.Second
	}
	_, err := from.AskWithin(c, network, addr, patience)
	if got := err == nil; got != want {
		w.dump()
		w.Errorf("%s to %s %s: reached %t, want %t", from.Name, network, addr, got, want)
	}
}

func tcp(class string, lo, hi uint16) policy.Rule {
	return policy.Rule{Class: class, Protocol: model.TCP, PortLo: lo, PortHi: hi}
}

func TestIngressPolicy(t *testing.T) {
	w := newWorld(t)
	w.a1.Serve(":8090")
	a1 := w.a1.IPs[0].String()
	a1v6 := "[" + w.a1.IPs[1].String() + "]"
	classes := map[string]string{w.a2.IPs[0].String() + "/32": "friend", w.a2.IPs[1].String() + "/128": "friend", "10.1.2.0/24": "far"}

	w.enforce(classes, map[*testkit.Pod]enforced{w.a1: {ingress: []policy.Rule{}}})
	w.expect(false, w.a2.NS, nil, "tcp", a1+":8080")
	w.expect(false, w.b1.NS, nil, "udp", a1+":8080")
	w.expect(true, w.node1.NS, nil, "tcp", a1+":8080") // kubelet's probes
	w.expect(true, w.a1.NS, nil, "tcp", w.a2.IPs[0].String()+":8080")
	w.expect(true, w.a1.NS, nil, "udp", w.b1.IPs[0].String()+":8080")

	w.enforce(classes, map[*testkit.Pod]enforced{w.a1: {ingress: []policy.Rule{tcp("friend", 8000, 8085)}}})
	w.expect(true, w.a2.NS, nil, "tcp", a1+":8080")
	w.expect(true, w.a2.NS, nil, "tcp", a1v6+":8080")
	w.expect(false, w.a2.NS, nil, "udp", a1+":8080")
	w.expect(false, w.a2.NS, nil, "tcp", a1+":8090")
	w.expect(false, w.b1.NS, nil, "tcp", a1+":8080")

	w.enforce(classes, map[*testkit.Pod]enforced{w.a1: {ingress: []policy.Rule{{AnyPeer: true, AnyProtocol: true}}}})
	w.expect(true, w.b1.NS, nil, "udp", a1+":8080")
	w.enforce(classes, map[*testkit.Pod]enforced{w.a1: {ingress: []policy.Rule{{Class: "far", AnyProtocol: true}}}})
	w.expect(true, w.b1.NS, nil, "udp", a1+":8090")
	w.expect(false, w.a2.NS, nil, "tcp", a1+":8080")

	// All of IPv6 is nothing of IPv4.
	all6 := map[string]string{"::/0": "six"}
	w.enforce(all6, map[*testkit.Pod]enforced{w.a1: {ingress: []policy.Rule{{Class: "six", AnyProtocol: true}}}})
	w.expect(true, w.a2.NS, nil, "tcp", a1v6+":8080")
	w.expect(false, w.a2.NS, nil, "tcp", a1+":8080")

	// The class of an address changes, the pod's rules do not.
	classes["10.1.2.2/32"] = "other"
	w.enforce(classes, map[*testkit.Pod]enforced{w.a1: {ingress: []policy.Rule{{Class: "far", AnyProtocol: true}}}})
	w.expect(false, w.b1.NS, nil, "udp", a1+":8090")
	if w.node1.dropped(DropPolicyIngress) == 0 {
		t.Error("drops were not counted")
	}
}

// Egress rules see the backend, by sockets and by packets.
func TestEgressPolicy(t *testing.T) {
	w := newWorld(t)
	w.set(web("web", "10.96.0.1"), w.b1.IPs[0])
	w.set(web("other", "10.96.0.2"), w.a2.IPs[0])
	classes := map[string]string{"10.1.2.0/24": "far"}
	w.enforce(classes, map[*testkit.Pod]enforced{w.a1: {egress: []policy.Rule{tcp("far", 8080, 8080)}}})
	for _, cgroup := range []*testkit.Cgroup{w.node1.cgroup, nil} {
		w.expect(true, w.a1.NS, cgroup, "tcp", "10.96.0.1:80")
		w.expect(false, w.a1.NS, cgroup, "tcp", "10.96.0.2:80")
		w.expect(false, w.a1.NS, cgroup, "udp", "10.96.0.1:80")
	}
	w.expect(true, w.b1.NS, nil, "udp", w.a1.IPs[0].String()+":8080") // replies pass
	w.expect(true, w.node1.NS, nil, "udp", w.a1.IPs[0].String()+":8080")
}

// A change of policy is felt by connections that are open, but not by the
// replies of those that the pod may open.
func TestPolicyOnOpenConnections(t *testing.T) {
	w := newWorld(t)
	in, err := w.b1.Dial(nil, "tcp", w.a1.IPs[0].String()+":8080", "")
	w.must(err)
	out, err := w.a1.Dial(nil, "tcp", w.b1.IPs[0].String()+":8080", "")
	w.must(err)
	for _, c := range []*testkit.Conn{in, out} {
		defer c.Close()
		_, err := c.Ask("x")
		w.must(err)
	}
	w.enforce(nil, map[*testkit.Pod]enforced{w.a1: {ingress: []policy.Rule{}}})
	if _, err := out.Ask("x"); err != nil {
		t.Errorf("a connection of the pod's own: %v", err)
	}
	if _, err := in.AskWithin("x", 300*time.Millisecond); err == nil {
		t.Error("a connection that is denied now goes on")
	}
}

// A pod is closed until a plan has it; the node reaches it all the same.
func TestNewPodIsClosed(t *testing.T) {
	w := newWorld(t)
	p := w.node1.pod("new")
	p.Serve(":8080")
	addr := p.IPs[0].String() + ":8080"
	w.node1.attach(p)
	w.expect(false, w.a1.NS, nil, "tcp", addr)
	w.expect(false, p.NS, nil, "tcp", w.a1.IPs[0].String()+":8080")
	w.expect(true, w.node1.NS, nil, "tcp", addr)
	w.openPods()
	w.expect(true, w.a1.NS, nil, "tcp", addr)

	// The same name with another UID is another pod.
	w.must(w.node1.dp.ApplyPolicy(t.Context(), policy.Plan{Pods: []policy.PodPolicy{{Pod: podName(p), UID: "1", IPs: p.IPs}}}))
	w.must(w.node1.dp.DetachPod(p.Index))
	w.must(w.node1.Do(func() error {
		return w.node1.dp.AttachPod(PodLink{Pod: podName(p), UID: "2", IfIndex: p.Index, IPs: p.IPs})
	}))
	w.expect(false, w.a1.NS, nil, "tcp", addr)
}

func TestSpoofing(t *testing.T) {
	w := newWorld(t)
	before := w.node1.dropped(DropSpoofed)
	lo, err := w.a1.Link.LinkByName("lo")
	w.must(err)
	addr := testkit.Addr(t, "10.1.1.99/32")
	w.must(w.a1.Link.AddrAdd(lo, addr))
	conn, err := w.a1.Dial(nil, "udp", w.b1.IPs[0].String()+":8080", "10.1.1.99:0")
	w.must(err)
	defer conn.Close()
	if _, err := conn.AskWithin("x", 300*time.Millisecond); err == nil {
		t.Error("an answer to an address that is not the pod's")
	}
	if w.node1.dropped(DropSpoofed) == before {
		t.Error("the drop was not counted")
	}
}

// Sockets that the hooks do not see are served at the pod's link.
func TestClusterIPFromPackets(t *testing.T) {
	w := newWorld(t)
	w.set(web("web", "10.96.0.1", "fd00:96::1"), append(w.a2.IPs, w.b1.IPs...)...)
	for _, addr := range []string{"10.96.0.1:80", "[fd00:96::1]:80"} {
		for _, network := range []string{"tcp", "udp"} {
			for range 10 {
				if a := w.ask(w.a1.NS, nil, network, addr); a.Client.Addr() != w.a1.IPs[0] && a.Client.Addr() != w.a1.IPs[1] {
					t.Errorf("%s %s: %+v", network, addr, a)
				}
			}
		}
	}
	w.expect(false, w.a1.NS, nil, "tcp", "10.96.0.1:81")
	if w.node1.dropped(DropUnknownPort) == 0 {
		t.Error("the drop was not counted")
	}
}

// Peers move to other classes and rules follow: what is allowed before and after
// is allowed in between.
func TestPolicyChangesWithoutGap(t *testing.T) {
	w := newWorld(t)
	conn, err := w.a2.Dial(nil, "udp", w.a1.IPs[0].String()+":8080", "")
	w.must(err)
	defer conn.Close()
	stop := make(chan struct{})
	sent := make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				sent <- n
				return
			default:
				if _, err := conn.Write([]byte("x")); err == nil {
					n++
				}
			}
		}
	}()
	for i := range 100 {
		class := fmt.Sprint("class", i%2)
		rules := []policy.Rule{tcp(class, 8080, 8080), {Class: class, Protocol: model.UDP, PortLo: 8080, PortHi: 8080}}
		w.enforce(map[string]string{w.a2.IPs[0].String() + "/32": class}, map[*testkit.Pod]enforced{w.a1: {ingress: rules}})
		time.Sleep(time.Millisecond)
	}
	close(stop)
	if n, drops := <-sent, w.node1.dropped(DropPolicyIngress); n < 1000 || drops != 0 {
		t.Errorf("%d of %d packets were dropped", drops, n)
	}
}
