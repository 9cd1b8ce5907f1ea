package oracle

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/proxy"
	netutils "k8s.io/utils/net"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/service"
	"github.com/fairway-net/fairway/internal/source/kube"
	"github.com/fairway-net/fairway/internal/state"
)

// TestMain keeps kube-proxy from telling what it ignores.
func TestMain(m *testing.M) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

// FuzzPlan compares what both do with one Service: `go test -fuzz FuzzPlan ./oracle`.
func FuzzPlan(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		f.Add(randomBytes(r))
	}
	f.Fuzz(func(t *testing.T, data []byte) { compare(t, data) })
}

// TestPlan does so with random Services, others each time.
func TestPlan(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, seed))
	used := map[string]int{}
	for i := range 20_000 {
		data := randomBytes(r)
		if compare(t, data); t.Failed() {
			t.Fatalf("seed %d, Service %d", seed, i)
		}
		for _, line := range strings.Split(ours((*choices)(&data).world()), "\n") {
			for _, word := range []string{"drop", "refuse", "NodePort", "LoadBalancer", "ExternalIP", "10.1.0.", "[fd01::"} {
				if strings.Contains(line, word) {
					used[word]++
				}
			}
		}
	}
	// A generator that makes no such case any more would prove nothing.
	for _, word := range []string{"drop", "refuse", "NodePort", "LoadBalancer", "ExternalIP", "10.1.0.", "[fd01::"} {
		if used[word] < 500 {
			t.Errorf("%q was planned only %d times", word, used[word])
		}
	}
}

func randomBytes(r *rand.Rand) []byte {
	b := make([]byte, 40+r.IntN(300))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func compare(t *testing.T, data []byte) {
	t.Helper()
	c := choices(data)
	w := c.world()
	if have, want := ours(w), theirs(w); have != want {
		text, _ := json.MarshalIndent(map[string]any{"service": w.service, "slices": w.slices, "node": w.node}, "", " ")
		t.Errorf("%s\n--- Fairway\n%s--- kube-proxy\n%s", text, have, want)
	}
}

// A line per frontend: "family port kind address:port internal=SET external=SET";
// per port its affinity, and the sources that its LoadBalancer addresses admit;
// at last the health check. SET is a list of endpoints, "drop" or "refuse".

func ours(w world) string {
	store := state.New()
	store.Update(func(tx *state.Tx) {
		for _, obj := range []any{w.service, w.node} {
			_, v := kube.Convert(obj)
			tx.Set(v)
		}
		for _, s := range w.slices {
			if _, v := kube.Convert(s); v != nil && v != (*model.EndpointSlice)(nil) {
				tx.Set(v)
			}
		}
	})
	name := model.Name{Namespace: w.service.Namespace, Name: w.service.Name}
	plan := service.For(store.Snapshot(), service.Params{Node: w.node.Name}, service.Key{Kind: model.KindService, Name: name})
	var lines []string
	for _, p := range plan.Ports {
		family := corev1.IPv4Protocol
		if p.Family == model.IPv6 {
			family = corev1.IPv6Protocol
		}
		head := fmt.Sprintf("%s %s/%v", family, p.Name, p.Protocol)
		sources := p.SourceRanges
		for _, f := range p.Frontends {
			addr := f.Addr.String()
			if f.Addr.IsUnspecified() {
				addr = "node"
			}
			admits := "all"
			if f.Restricted {
				var list []string
				for _, s := range sources {
					list = append(list, s.String())
				}
				admits = set(list)
			}
			lines = append(lines, fmt.Sprintf("%s %v %s:%d internal=%s external=%s affinity=%d admits=%s", head, f.Kind, addr, f.Port,
				ourSet(p.Sets[f.Internal]), ourSet(p.Sets[f.External]), int(p.Affinity.Seconds()), admits))
		}
	}
	return text(lines, int(plan.HealthCheckPort), plan.LocalReady)
}

func ourSet(s service.Set) string {
	var list []string
	for _, b := range s.Backends {
		list = append(list, fmt.Sprintf("%v/%v", b.Addr, b.Local))
	}
	switch {
	case len(list) > 0:
		return set(list)
	case s.Drop:
		return "drop"
	}
	return "refuse"
}

func theirs(w world) string {
	// These filters are of kube-proxy's informers.
	if _, ok := w.service.Labels["service.kubernetes.io/service-proxy-name"]; ok {
		return text(nil, 0, 0)
	}
	var lines []string
	health, ready := 0, map[string]bool{}
	for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
		services, endpoints := proxy.ServicePortMap{}, proxy.EndpointsMap{}
		st := proxy.NewServiceChangeTracker(family, nil, nil)
		st.Update(nil, w.service)
		services.Update(st)
		et := proxy.NewEndpointsChangeTracker(family, w.node.Name, nil, nil)
		for _, s := range w.slices {
			if _, ok := s.Labels[corev1.IsHeadlessService]; !ok {
				et.EndpointSliceUpdate(s, false)
			}
		}
		endpoints.Update(et)
		for name, port := range services {
			lines = append(lines, theirPort(w, family, name, port, endpoints[name])...)
			for _, e := range endpoints[name] {
				if e.IsLocal() && e.IsReady() {
					ready[e.IP()] = true
				}
			}
		}
		if p := services.HealthCheckNodePorts()[types.NamespacedName{Namespace: "ns", Name: "web"}]; p != 0 {
			health = int(p)
		}
	}
	return text(lines, health, len(ready))
}

// theirPort says which set each address of a port leads to, as all of
// kube-proxy's backends derive it from the lists of CategorizeEndpoints.
func theirPort(w world, family corev1.IPFamily, name proxy.ServicePortName, port proxy.ServicePort, endpoints []proxy.Endpoint) []string {
	cluster, local, _, any := proxy.CategorizeEndpoints(endpoints, port, w.node.Name, w.node.Labels)
	choose := func(localPolicy bool) string {
		list := cluster
		if localPolicy {
			list = local
		}
		switch {
		case len(list) > 0:
			return theirSet(list)
		case localPolicy && any:
			return "drop"
		}
		return "refuse"
	}
	head := fmt.Sprintf("%s %s/%s", family, name.Port, name.Protocol)
	var lines []string
	add := func(kind, addr string, number int, internal, external, admits string) {
		lines = append(lines, fmt.Sprintf("%s %s %s:%d internal=%s external=%s affinity=%d admits=%s", head, kind, addr, number, internal, external, port.StickyMaxAgeSeconds(), admits))
	}
	internal, external := choose(port.InternalPolicyLocal()), choose(port.ExternalPolicyLocal())
	add("ClusterIP", port.ClusterIP().String(), port.Port(), internal, internal, "all")
	for _, ip := range port.ExternalIPs() {
		add("ExternalIP", ip.String(), port.Port(), choose(false), external, "all")
	}
	ranges := theirRanges(w, port)
	for _, ip := range port.LoadBalancerVIPs() {
		admits := "all"
		if len(ranges) > 0 {
			admits = set(ranges)
		}
		add("LoadBalancer", ip.String(), port.Port(), choose(false), external, admits)
	}
	if port.NodePort() != 0 {
		add("NodePort", "node", port.NodePort(), choose(false), external, "all")
	}
	return lines
}

// theirRanges are the sources that LoadBalancer addresses admit. Where the node is one,
// so are these addresses themselves (allowFromNode in kube-proxy's rules).
func theirRanges(w world, port proxy.ServicePort) []string {
	admits := func(ip net.IP) bool {
		return slices.ContainsFunc(port.LoadBalancerSourceRanges(), func(r *net.IPNet) bool { return r.Contains(ip) })
	}
	var ranges []string
	for _, r := range port.LoadBalancerSourceRanges() {
		ranges = append(ranges, r.String())
	}
	if slices.ContainsFunc(w.node.Status.Addresses, func(a corev1.NodeAddress) bool { return admits(net.ParseIP(a.Address)) }) {
		for _, vip := range port.LoadBalancerVIPs() {
			if !admits(vip) { // else there is nothing to add
				addr := netip.MustParseAddr(vip.String())
				ranges = append(ranges, netip.PrefixFrom(addr, addr.BitLen()).String())
			}
		}
	}
	return ranges
}

func theirSet(list []proxy.Endpoint) string {
	var out []string
	for _, e := range list {
		ip := e.IP()
		if netutils.IsIPv6String(ip) {
			ip = net.ParseIP(ip).String()
		}
		out = append(out, fmt.Sprintf("%s/%v", net.JoinHostPort(ip, fmt.Sprint(e.Port())), e.IsLocal()))
	}
	return set(out)
}

func set(list []string) string {
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ",")
}

func text(lines []string, health, ready int) string {
	slices.Sort(lines)
	out := strings.Join(lines, "\n") + "\n"
	if health != 0 {
		out += fmt.Sprintf("health check at %d: %d ready here\n", health, ready)
	}
	return out
}
