package cluster

import (
	"net/netip"
	"strings"
	"testing"
)

func TestPlanDefaults(t *testing.T) {
	p, err := NewPlan(Networking{DNSDomain: "cluster.local"}, 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ what, got, want string }{
		{"machine", p.Machine().String(), "198.18.3.1/24"},
		{"first node", p.Node(0).String(), "198.18.3.2/24"},
		{"second node", p.Node(1).String(), "198.18.3.3/24"},
		{"API server", p.APIServer(), "https://198.18.3.2:6443"},
		{"kubernetes Service", p.APIService().String(), "198.19.0.1"},
		{"DNS Service", p.DNS().String(), "198.19.0.10"},
		{"load balancers", joinPrefixes(p.LoadBalancers), "198.18.19.0/24"},
		{"closed", joinPrefixes(p.closed()), "198.18.128.0/17,198.19.0.0/16"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s, want %s", c.what, c.got, c.want)
		}
	}
}

// TestPlanStaysInside: every default address of every cluster is in the
// range for benchmarks, and no two clusters share what the machine can see.
func TestPlanStaysInside(t *testing.T) {
	inside := netip.MustParsePrefix("198.18.0.0/15")
	var seen []netip.Prefix
	for i := range maxClusters {
		p, err := NewPlan(Networking{}, i, maxNodes)
		if err != nil {
			t.Fatalf("cluster %d: %v", i, err)
		}
		visible := append([]netip.Prefix{p.Underlay}, p.LoadBalancers...)
		for _, prefix := range append(visible, p.closed()...) {
			if !inside.Overlaps(prefix) || prefix.Bits() < inside.Bits() {
				t.Errorf("cluster %d: %s is outside of %s", i, prefix, inside)
			}
		}
		for _, prefix := range visible {
			for _, other := range seen {
				if prefix.Overlaps(other) {
					t.Errorf("cluster %d: %s overlaps %s of another cluster", i, prefix, other)
				}
			}
			seen = append(seen, prefix)
		}
	}
}

func TestPlanRejects(t *testing.T) {
	for _, c := range []struct {
		name  string
		n     Networking
		nodes int
		want  string
	}{
		{"host bits", Networking{PodSubnets: []string{"198.18.128.1/17"}}, 2, `networking.podSubnets[0]: "198.18.128.1/17" is not a network`},
		{"no network", Networking{Underlay: "fairway"}, 2, `networking.underlay[0]: "fairway" is not a network`},
		{"overlap", Networking{Services: []string{"198.18.192.0/20"}}, 2, "overlaps networking."},
		{"small underlay", Networking{Underlay: "198.18.0.0/30"}, 2, "networking.underlay 198.18.0.0/30 has room for 1 nodes, not 2"},
		{"small pods", Networking{PodSubnets: []string{"198.18.128.0/28"}}, 2, "has no /28 for each of 2 nodes"},
		{"small services", Networking{Services: []string{"198.19.0.0/28"}}, 2, "networking.serviceSubnets 198.19.0.0/28 is too small"},
		{"IPv6", Networking{Services: []string{"fd00::/108"}}, 2, "is not IPv4"},
	} {
		_, err := NewPlan(c.n, 0, c.nodes)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

func TestNodeMask(t *testing.T) {
	for prefix, want := range map[string]int{"10.0.0.0/8": 24, "10.0.0.0/16": 24, "10.0.0.0/20": 24, "10.0.0.0/22": 26, "10.0.0.0/26": 28} {
		p := &Plan{Pods: []netip.Prefix{netip.MustParsePrefix(prefix)}}
		if got := p.nodeMask(); got != want {
			t.Errorf("%s: /%d for a node, want /%d", prefix, got, want)
		}
	}
}
