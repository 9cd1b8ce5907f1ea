package cluster

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestPlanDefaults(t *testing.T) {
	p, err := NewPlan(Networking{DNSDomain: "cluster.local"}, 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ what, got, want string }{
		{"machine", joinPrefixes(p.Machine()), "198.18.3.1/24"},
		{"first node", joinPrefixes(p.Node(0)), "198.18.3.2/24"},
		{"second node", joinAddrs(p.NodeIPs(1)), "198.18.3.3"},
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

// TestPlanFamilies: what follows from the family, and who is first.
func TestPlanFamilies(t *testing.T) {
	for _, c := range []struct {
		name                                           string
		n                                              Networking
		underlay, node, pods, services, lb, server, ns string
	}{
		{"IPv6", Networking{IPFamily: IPv6},
			"2001:2:0:3::/64", "2001:2:0:3::2", "2001:2:0:8000::/56", "2001:2:0:9000::/112", "2001:2:0:103::/112", "https://[2001:2:0:3::2]:6443", "2001:2:0:9000::a"},
		{"both", Networking{IPFamily: Dual},
			"198.18.3.0/24,2001:2:0:3::/64", "198.18.3.2,2001:2:0:3::2", "198.18.128.0/17,2001:2:0:8000::/56", "198.19.0.0/16,2001:2:0:9000::/112", "198.18.19.0/24,2001:2:0:103::/112",
			"https://198.18.3.2:6443", "198.19.0.10"},
		{"both, IPv6 first", Networking{Services: []string{"fd00::/112", "10.96.0.0/16"}, PodSubnets: []string{"10.0.0.0/16"}},
			"2001:2:0:3::/64,198.18.3.0/24", "2001:2:0:3::2,198.18.3.2", "2001:2:0:8000::/56,10.0.0.0/16", "fd00::/112,10.96.0.0/16", "2001:2:0:103::/112,198.18.19.0/24",
			"https://[2001:2:0:3::2]:6443", "fd00::a"},
		{"the family of the Services", Networking{Services: []string{"fd00::/112"}},
			"2001:2:0:3::/64", "2001:2:0:3::2", "2001:2:0:8000::/56", "fd00::/112", "2001:2:0:103::/112", "https://[2001:2:0:3::2]:6443", "fd00::a"},
	} {
		p, err := NewPlan(c.n, 3, maxNodes)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got := []string{joinPrefixes(p.Underlay), joinAddrs(p.NodeIPs(0)), joinPrefixes(p.Pods), joinPrefixes(p.Services), joinPrefixes(p.LoadBalancers), p.APIServer(), p.DNS().String()}
		if want := []string{c.underlay, c.node, c.pods, c.services, c.lb, c.server, c.ns}; !slices.Equal(got, want) {
			t.Errorf("%s:\n%q, want\n%q", c.name, got, want)
		}
	}
}

// TestPlanStaysInside: every default address of every cluster is in the
// ranges for benchmarks, and no two clusters share what the machine can see.
func TestPlanStaysInside(t *testing.T) {
	inside := []netip.Prefix{netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("2001:2::/48")}
	var seen []netip.Prefix
	for i := range maxClusters {
		p, err := NewPlan(Networking{IPFamily: Dual}, i, maxNodes)
		if err != nil {
			t.Fatalf("cluster %d: %v", i, err)
		}
		visible := slices.Concat(p.Underlay, p.LoadBalancers)
		for _, prefix := range append(visible, p.closed()...) {
			if !slices.ContainsFunc(inside, func(in netip.Prefix) bool { return in.Overlaps(prefix) && prefix.Bits() >= in.Bits() }) {
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
		{"no network", Networking{Underlay: List{"fairway"}}, 2, `networking.underlay[0]: "fairway" is not a network`},
		{"overlap", Networking{Services: []string{"198.18.192.0/20"}}, 2, "overlaps networking."},
		{"small underlay", Networking{Underlay: List{"198.18.0.0/30"}}, 2, "networking.underlay 198.18.0.0/30 has room for 1 nodes, not 2"},
		{"small pods", Networking{PodSubnets: []string{"198.18.128.0/28"}}, 2, "has no /28 for each of 2 nodes"},
		{"small services", Networking{Services: []string{"198.19.0.0/28"}}, 2, "networking.serviceSubnets 198.19.0.0/28 is too small"},
		{"small IPv6 underlay", Networking{IPFamily: IPv6, Underlay: List{"fd00::/127"}}, 2, "networking.underlay fd00::/127 has room for 0 nodes, not 2"},
		{"large services", Networking{Services: []string{"fd00::/64"}}, 2, "networking.serviceSubnets fd00::/64 is too large"},
		{"another family", Networking{Services: []string{"10.0.0.0/16"}, PodSubnets: []string{"fd00::/48"}}, 2, "networking.podSubnets: fd00::/48, but the cluster has no ipv6"},
		{"IPv6 pools only", Networking{LoadBalancers: []string{"fd00::/112"}}, 2, "networking.loadBalancerPools: fd00::/112, but the cluster has no ipv6"},
		{"two of a family", Networking{IPFamily: Dual, Underlay: List{"10.0.0.0/24", "10.0.1.0/24"}}, 2, "networking.underlay: two networks of ipv4, 10.0.0.0/24 and 10.0.1.0/24"},
		{"unknown family", Networking{IPFamily: "ipv5"}, 2, `ipFamily "ipv5" is not known`},
	} {
		_, err := NewPlan(c.n, 0, c.nodes)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

func TestNodeMask(t *testing.T) {
	for prefix, want := range map[string]int{"10.0.0.0/8": 24, "10.0.0.0/16": 24, "10.0.0.0/20": 24, "10.0.0.0/22": 26, "10.0.0.0/26": 28,
		"10.0.0.0/7": 23, "fd00::/48": 64, "fd00::/40": 56, "fd00::/64": 68, "fd00::/112": 116, "fd00::/118": 120} {
		if got := nodeMask(netip.MustParsePrefix(prefix)); got != want {
			t.Errorf("%s: /%d for a node, want /%d", prefix, got, want)
		}
	}
}
