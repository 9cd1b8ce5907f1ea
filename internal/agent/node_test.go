package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairway-net/fairway/internal/apply/bpf"
	"github.com/fairway-net/fairway/internal/apply/netdev"
	"github.com/fairway-net/fairway/internal/config"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/policy"
	"github.com/fairway-net/fairway/internal/plan/service"
	"github.com/fairway-net/fairway/internal/state"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func ip(s string) netip.Addr    { return netip.MustParseAddr(s) }

func snapshotOf(objects ...any) *state.Snapshot {
	store := state.New()
	store.Update(func(tx *state.Tx) {
		for _, o := range objects {
			tx.Set(o)
		}
	})
	return store.Snapshot()
}

func changed(kind model.Kind, keys ...string) state.Changes {
	c := state.Changes{Keys: map[state.Change]struct{}{}}
	for _, k := range keys {
		c.Keys[state.Change{Kind: kind, Key: k}] = struct{}{}
	}
	return c
}

func TestWantRoutes(t *testing.T) {
	snap := snapshotOf(
		&model.Node{Name: "a", InternalIPs: []netip.Addr{ip("192.0.2.1"), ip("2001:db8::1")}, PodCIDRs: []netip.Prefix{pfx("10.244.1.0/24"), pfx("fd00:1::/64")}},
		&model.Node{Name: "b", InternalIPs: []netip.Addr{ip("192.0.2.2")}, PodCIDRs: []netip.Prefix{pfx("10.244.2.0/24"), pfx("fd00:2::/64")}},
		&model.Node{Name: "new", InternalIPs: []netip.Addr{ip("192.0.2.3")}},
		&model.ServiceCIDR{Name: "kubernetes", CIDRs: []netip.Prefix{pfx("10.96.0.0/16")}},
		&model.ServiceCIDR{Name: "more", CIDRs: []netip.Prefix{pfx("10.97.0.0/24"), pfx("fd00:97::/112")}},
	)
	c := config.Config{PodCIDRs: []netip.Prefix{pfx("10.244.0.0/16")}, ServiceCIDRs: []netip.Prefix{pfx("10.96.0.0/16")},
		LBPools: []config.Pool{{Name: "default", Ranges: []config.Range{{From: ip("192.0.2.9"), To: ip("192.0.2.17")}}}}}
	routes, nodes := wantRoutes(snap, "a", c)
	wantR := netdev.Routes{
		Peers: map[netip.Prefix]netip.Addr{pfx("10.244.2.0/24"): ip("192.0.2.2")}, // b has no IPv6 address to go by
		Unreachable: []netip.Prefix{pfx("10.244.0.0/16"), pfx("10.96.0.0/16"), pfx("10.97.0.0/24"), pfx("fd00:97::/112"), pfx("192.0.2.9/32"), pfx("192.0.2.10/31"), pfx("192.0.2.12/30"), pfx("192.0.2.16/31"),
			pfx("10.244.1.0/24"), pfx("fd00:1::/64")},
	}
	if !reflect.DeepEqual(routes, wantR) {
		t.Errorf("routes\n%+v, want\n%+v", routes, wantR)
	}
	wantN := bpf.Nodes{
		Self: []netip.Addr{ip("192.0.2.1"), ip("2001:db8::1")}, Others: []netip.Addr{ip("192.0.2.2"), ip("192.0.2.3")},
		PodCIDRs:     []netip.Prefix{pfx("10.244.0.0/16"), pfx("10.244.1.0/24"), pfx("fd00:1::/64"), pfx("10.244.2.0/24"), pfx("fd00:2::/64")},
		Local:        []netip.Prefix{pfx("10.244.1.0/24"), pfx("fd00:1::/64")},
		ServiceCIDRs: []netip.Prefix{pfx("10.96.0.0/16"), pfx("10.97.0.0/24"), pfx("fd00:97::/112")},
	}
	if !reflect.DeepEqual(nodes, wantN) {
		t.Errorf("nodes\n%+v, want\n%+v", nodes, wantN)
	}
}

// TestUnreachedNodes: of each node that the uplink does not reach, with all its
// pods in one sentence.
func TestUnreachedNodes(t *testing.T) {
	snap := snapshotOf(
		&model.Node{Name: "near", PodCIDRs: []netip.Prefix{pfx("10.244.2.0/24")}},
		&model.Node{Name: "far", PodCIDRs: []netip.Prefix{pfx("10.244.3.0/24"), pfx("fd00:3::/64")}},
	)
	got := unreached(snap, "here", "eth0", map[netip.Prefix]netip.Addr{pfx("10.244.3.0/24"): ip("203.0.113.3"), pfx("fd00:3::/64"): ip("2001:db8::3")})
	if len(got) != 1 || got[0].Ref.Name.Name != "far" || got[0].Ref.UID != "far" || got[0].Reason != "NodeNotOnLink" {
		t.Fatalf("rejected %+v, want node far", got)
	}
	if want := "node here does not reach the pods 10.244.3.0/24 and fd00:3::/64: 2001:db8::3 is not on the network of its uplink eth0"; got[0].Message != want {
		t.Errorf("message %q, want %q", got[0].Message, want)
	}
}

func TestPrefixesOfRange(t *testing.T) {
	tests := []struct{ from, to, want string }{
		{"192.0.2.0", "192.0.2.255", "192.0.2.0/24"},
		{"192.0.2.7", "192.0.2.7", "192.0.2.7/32"},
		{"192.0.2.1", "192.0.2.6", "192.0.2.1/32 192.0.2.2/31 192.0.2.4/31 192.0.2.6/32"},
		{"0.0.0.0", "255.255.255.255", "0.0.0.0/0"},
		{"fd00::", "fd00::1:1", "fd00::/112 fd00::1:0/127"},
		{"255.255.255.254", "255.255.255.255", "255.255.255.254/31"},
	}
	for _, tt := range tests {
		var got []string
		for _, p := range prefixesOf(config.Range{From: ip(tt.from), To: ip(tt.to)}) {
			got = append(got, p.String())
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s-%s: %s, want %s", tt.from, tt.to, s, tt.want)
		}
	}
}

// fakeKernel records what the steps apply.
type fakeKernel struct {
	services [][]service.Plan
	pruned   int
	policies []policy.Plan
	vips     [][]netip.Addr
	fail     error
}

func (f *fakeKernel) ApplyServices(_ context.Context, p []service.Plan) error {
	f.services = append(f.services, p)
	return f.fail
}
func (f *fakeKernel) PruneServices(context.Context) error { f.pruned++; return f.fail }
func (f *fakeKernel) ApplyPolicy(_ context.Context, p policy.Plan) error {
	f.policies = append(f.policies, p)
	return f.fail
}
func (f *fakeKernel) ApplyVIPs(_ context.Context, v []netip.Addr) error {
	f.vips = append(f.vips, v)
	return f.fail
}

func TestServicesPruneOnceAndOnlyAfterACompleteApply(t *testing.T) {
	snap := snapshotOf(&model.Service{Name: model.Name{Namespace: "x", Name: "one"}, ClusterIPs: []netip.Addr{ip("10.96.0.1")}})
	k, opened := &fakeKernel{fail: errors.New("no memory")}, 0
	s := &services{params: service.Params{Node: "here"}, datapath: k, health: newHealthPorts(nil, nil), metrics: newServiceMetrics(), problems: newProblems("here", slog.New(slog.DiscardHandler)), done: func() { opened++ }}
	if err := s.step(t.Context(), snap, state.Changes{All: true}); err == nil || k.pruned != 0 || opened != 0 {
		t.Errorf("after a failed apply: error %v, pruned %d times, done %d times", err, k.pruned, opened)
	}
	k.fail = nil
	for range 2 {
		if err := s.step(t.Context(), snap, state.Changes{All: true}); err != nil {
			t.Fatal(err)
		}
	}
	if k.pruned != 1 || opened != 2 {
		t.Errorf("pruned %d times, done %d times; want 1 and 2", k.pruned, opened)
	}
}

func TestServicesPlanOnlyWhatAChangeTouches(t *testing.T) {
	svc := func(name, addr string) *model.Service {
		return &model.Service{Name: model.Name{Namespace: "x", Name: name}, ClusterIPs: []netip.Addr{ip(addr)}, Ports: []model.ServicePort{{Protocol: model.TCP, Port: 80}}}
	}
	snap := snapshotOf(svc("one", "10.96.0.1"), svc("two", "10.96.0.2"), &model.Node{Name: "here"})
	k := &fakeKernel{}
	s := &services{params: service.Params{Node: "here"}, datapath: k, health: newHealthPorts(nil, nil), metrics: newServiceMetrics(), problems: newProblems("here", slog.New(slog.DiscardHandler)), done: func() {}}
	if err := s.step(t.Context(), snap, state.Changes{All: true}); err != nil || len(k.services[0]) != 2 {
		t.Fatalf("first step: %v, %d plans, want 2", err, len(k.services[0]))
	}
	if err := s.step(t.Context(), snap, changed(model.KindService, "x/two")); err != nil || len(k.services[1]) != 1 || k.services[1][0].Key.Name.Name != "two" {
		t.Errorf("after a change of x/two: %v, %+v", err, k.services[1])
	}
}

// The retry of a failed first step has All and what changed meanwhile: a
// Service that is no longer there must still be planned, to nothing.
func TestServicesForgetWhatWentDuringTheFirstStep(t *testing.T) {
	k := &fakeKernel{}
	s := &services{params: service.Params{Node: "here"}, datapath: k, health: newHealthPorts(nil, nil), metrics: newServiceMetrics(), problems: newProblems("here", slog.New(slog.DiscardHandler)), done: func() {}}
	changes := changed(model.KindService, "x/gone")
	changes.All = true
	if err := s.step(t.Context(), snapshotOf(&model.Node{Name: "here"}), changes); err != nil {
		t.Fatal(err)
	}
	if got := k.services[0]; len(got) != 1 || got[0].Key.Name.Name != "gone" || len(got[0].Ports) != 0 {
		t.Errorf("plans: %+v, want one of x/gone without ports", got)
	}
}

func TestPoliciesIgnoreWhatCannotMatter(t *testing.T) {
	pod := func(name, node string) *model.Pod {
		return &model.Pod{Name: model.Name{Namespace: "x", Name: name}, UID: name, Node: node, IPs: []netip.Addr{ip(map[string]string{"p": "10.0.0.1", "q": "10.0.0.2"}[name])}}
	}
	deny := &model.NetworkPolicy{Name: model.Name{Namespace: "x", Name: "deny"}, Ingress: true}
	allow := &model.NetworkPolicy{Name: deny.Name, Ingress: true, IngressRules: []model.PolicyRule{{Peers: []model.PolicyPeer{{Pods: &model.Selector{}}}}}}
	tests := []struct {
		name    string
		before  []any
		after   []any
		changes state.Changes
		want    bool
	}{
		{"a pod of this node", nil, []any{pod("p", "here")}, changed(model.KindPod, "x/p"), true},
		{"a pod of this node that is gone", []any{pod("p", "here")}, nil, changed(model.KindPod, "x/p"), true},
		{"a pod of another node", nil, []any{pod("p", "there")}, changed(model.KindPod, "x/p"), false},
		{"a namespace without policies", nil, nil, changed(model.KindNamespace, "x"), false},
		{"a pod that a policy of this node does not mention", []any{deny, pod("q", "here")}, []any{deny, pod("q", "here"), pod("p", "there")}, changed(model.KindPod, "x/p"), false},
		{"a pod that a policy of this node mentions", []any{allow, pod("q", "here")}, []any{allow, pod("q", "here"), pod("p", "there")}, changed(model.KindPod, "x/p"), true},
		{"a policy without pods", nil, []any{deny}, changed(model.KindNetworkPolicy, "x/deny"), false},
		{"a policy with pods", []any{pod("q", "here")}, []any{deny, pod("q", "here")}, changed(model.KindNetworkPolicy, "x/deny"), true},
	}
	for _, tt := range tests {
		k := &fakeKernel{}
		p := &policies{planner: policy.NewPlanner("here"), datapath: k, planned: newPlanned(), done: func() {}}
		if err := p.step(t.Context(), snapshotOf(tt.before...), state.Changes{All: true}); err != nil || len(k.policies) != 1 {
			t.Fatalf("%s: first step: %v, %d plans", tt.name, err, len(k.policies))
		}
		if err := p.step(t.Context(), snapshotOf(tt.after...), tt.changes); err != nil || (len(k.policies) == 2) != tt.want {
			t.Errorf("%s: error %v, planned again %v, want %v", tt.name, err, len(k.policies) == 2, tt.want)
		}
	}
}

func TestAwaitPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, name := newPlanned(), model.Name{Namespace: "x", Name: "p"}
		await := func(uid string) time.Duration {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			start := time.Now()
			p.await(ctx, name, uid)
			return time.Since(start)
		}
		if took := await("1"); took != 50*time.Millisecond {
			t.Errorf("unknown pod: waited %v, want all the time", took)
		}
		time.AfterFunc(7*time.Millisecond, func() { p.set(policy.Plan{Pods: []policy.PodPolicy{{Pod: name, UID: "1"}}}) })
		if took := await("1"); took != 7*time.Millisecond {
			t.Errorf("waited %v for a plan that came after 7ms", took)
		}
		if took := await("2"); took != 50*time.Millisecond {
			t.Errorf("waited %v: the plan of a pod's namesake is not the pod's", took)
		}
	})
}

func TestVIPsApplyOnlyChanges(t *testing.T) {
	lb := &model.Service{Name: model.Name{Namespace: "x", Name: "lb"}, Type: model.LoadBalancer, LoadBalancer: []model.LoadBalancerIngress{{IP: ip("192.0.2.9")}}}
	here, there := &model.Node{Name: "here", Ready: true, InternalIPs: []netip.Addr{ip("192.0.2.1")}}, &model.Node{Name: "there"}
	k := &fakeKernel{}
	v := &vips{node: "here", datapath: k, done: func() {}}
	for _, snap := range []*state.Snapshot{snapshotOf(here, there), snapshotOf(here, there, lb), snapshotOf(here, there, lb), snapshotOf(there, lb)} {
		if err := v.step(t.Context(), snap, state.Changes{}); err != nil {
			t.Fatal(err)
		}
	}
	if want := [][]netip.Addr{nil, {ip("192.0.2.9")}, nil}; !slices.EqualFunc(k.vips, want, slices.Equal) {
		t.Errorf("applied %v, want %v", k.vips, want)
	}
}

func TestPluginInstall(t *testing.T) {
	dir := t.TempDir()
	p := Plugin{Program: filepath.Join(dir, "program"), BinDir: filepath.Join(dir, "bin"), ConfigDir: filepath.Join(dir, "conf")}
	for _, d := range []string{p.BinDir, p.ConfigDir} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, content := range []string{"one", "two", "two"} {
		if err := os.WriteFile(p.Program, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := p.Install(); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"fairway-cni", "loopback"} {
			got, err := os.ReadFile(filepath.Join(p.BinDir, name))
			if err != nil || string(got) != content {
				t.Errorf("%s is %q (%v), want %q", name, got, err, content)
			}
		}
	}
	if info, err := os.Stat(filepath.Join(p.BinDir, "fairway-cni")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("plugin: %v, %v", info.Mode(), err)
	}
	if conf, err := os.ReadFile(filepath.Join(p.ConfigDir, "05-fairway.conflist")); err != nil || !strings.Contains(string(conf), `"type": "fairway-cni"`) {
		t.Errorf("configuration: %v\n%s", err, conf)
	}
	for _, d := range []string{p.BinDir, p.ConfigDir} {
		files, _ := os.ReadDir(d)
		for _, f := range files {
			if strings.HasPrefix(f.Name(), ".") {
				t.Errorf("left over: %s", f.Name())
			}
		}
	}
	p.Program = filepath.Join(dir, "missing")
	if err := p.Install(); err == nil {
		t.Error("no error without a program")
	}
}

func TestGatesAndJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		g, j := newGates("one", "two"), newJobs(ctx, stop)
		g.open("one")
		g.open("one")
		g.note("two", errors.New("because"))
		if err := g.check(); err == nil || !strings.Contains(err.Error(), "two: because") {
			t.Errorf("check: %v", err)
		}
		j.start("waits", func(ctx context.Context) error { return g.await(ctx, "one", "two") })
		j.start("fails", func(ctx context.Context) error { time.Sleep(time.Second); return errors.New("broken") })
		j.start("ends with the others", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		if err := j.wait(nil); err == nil || err.Error() != "fails: broken" {
			t.Errorf("wait: %v, want the first error", err)
		}
		g.open("two")
		if err := g.check(); err != nil {
			t.Errorf("check: %v", err)
		}
	})
}
