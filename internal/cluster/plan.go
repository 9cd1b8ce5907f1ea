package cluster

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/fairway-net/fairway/internal/cli"
)

// The default ranges are nobody's network and nobody's VPN: IPv4 in
// 198.18.0.0/15 (RFC 2544) and IPv6 in 2001:2::/48 (RFC 5180), which are
// reserved for benchmarks between devices and routed nowhere. A ULA would do
// for packets, but RFC 6724 has programs prefer IPv4 to it, so that IPv6 would
// not be used by a cluster that has both.
const (
	maxClusters   = 16 // defaults for that many clusters at a time
	apiServerPort = 6443
)

// defaults of one address family, for the cluster of an index.
type defaults struct{ underlay, pods, services, loadBalancers string }

func (f IPFamily) defaults(index int) defaults {
	if f == IPv6 {
		return defaults{fmt.Sprintf("2001:2:0:%x::/64", index), "2001:2:0:8000::/56", "2001:2:0:9000::/112", fmt.Sprintf("2001:2:0:%x::/112", 0x100+index)}
	}
	return defaults{fmt.Sprintf("198.18.%d.0/24", index), "198.18.128.0/17", "198.19.0.0/16", fmt.Sprintf("198.18.%d.0/24", maxClusters+index)}
}

// Plan is every address of a cluster, all of them consequences of its
// configuration and its index. Pod and Service ranges may be the same in
// several clusters, for nothing outside of a cluster ever reaches them.
//
// Underlay, Pods and Services have one range of each family of the cluster, the
// primary family first: that of the API server and of a Service which does not
// ask for another.
type Plan struct {
	Underlay      []netip.Prefix // the first address of each is the machine's
	Pods          []netip.Prefix // kube-controller-manager gives each node a part
	Services      []netip.Prefix
	LoadBalancers []netip.Prefix
	Domain        string
}

// NewPlan plans the addresses of the cluster with that index.
func NewPlan(n Networking, index, nodes int) (*Plan, error) {
	families, err := n.families()
	if err != nil {
		return nil, err
	}
	p := &Plan{Domain: n.DNSDomain}
	for _, r := range []struct {
		field string
		given []string
		def   func(defaults) string
		into  *[]netip.Prefix
	}{
		{"underlay", n.Underlay, func(d defaults) string { return d.underlay }, &p.Underlay},
		{"podSubnets", n.PodSubnets, func(d defaults) string { return d.pods }, &p.Pods},
		{"serviceSubnets", n.Services, func(d defaults) string { return d.services }, &p.Services},
		{"loadBalancerPools", n.LoadBalancers, func(d defaults) string { return d.loadBalancers }, &p.LoadBalancers},
	} {
		given, err := prefixes(r.field, r.given)
		if err != nil {
			return nil, err
		}
		for _, f := range families {
			have := f.of(given)
			if len(have) == 0 {
				have = []netip.Prefix{netip.MustParsePrefix(r.def(f.defaults(index)))}
			}
			*r.into = append(*r.into, have...)
		}
		for _, f := range []IPFamily{IPv4, IPv6} {
			if list := f.of(given); len(list) > 0 && !slices.Contains(families, f) {
				return nil, cli.Hint(fmt.Errorf("networking.%s: %s, but the cluster has no %s", r.field, list[0], f), "set networking.ipFamily to dual, or leave the network out")
			} else if len(list) > 1 && r.field != "loadBalancerPools" {
				return nil, cli.Hint(fmt.Errorf("networking.%s: two networks of %s, %s and %s", r.field, f, list[0], list[1]), "give one for each family")
			}
		}
	}
	return p, p.check(nodes)
}

// check finds ranges that overlap or have the wrong size.
func (p *Plan) check(nodes int) error {
	type named struct {
		field string
		p     netip.Prefix
	}
	var all []named
	for field, list := range map[string][]netip.Prefix{
		"networking.underlay":          p.Underlay,
		"networking.podSubnets":        p.Pods,
		"networking.serviceSubnets":    p.Services,
		"networking.loadBalancerPools": p.LoadBalancers,
	} {
		for _, prefix := range list {
			for _, other := range all {
				if prefix.Overlaps(other.p) {
					return cli.Hint(fmt.Errorf("%s %s overlaps %s %s", field, prefix, other.field, other.p), "change one of the two in the --config file")
				}
			}
			all = append(all, named{field, prefix})
		}
	}
	for _, u := range p.Underlay {
		if size := room(u); size < nodes {
			return cli.Hint(fmt.Errorf("networking.underlay %s has room for %d nodes, not %d", u, size, nodes), "use a larger network")
		}
	}
	for _, pods := range p.Pods {
		if bits := nodeMask(pods) - pods.Bits(); bits < 0 || 1<<bits < nodes {
			return cli.Hint(fmt.Errorf("networking.podSubnets %s has no /%d for each of %d nodes", pods, nodeMask(pods), nodes), "use a larger network")
		}
	}
	for _, s := range p.Services {
		// kube-apiserver takes no more than 20 bits of them.
		switch bits := s.Addr().BitLen() - s.Bits(); {
		case bits < 5:
			return cli.Hint(fmt.Errorf("networking.serviceSubnets %s is too small", s), fmt.Sprintf("use a /%d or larger", s.Addr().BitLen()-5))
		case bits > 20:
			return cli.Hint(fmt.Errorf("networking.serviceSubnets %s is too large", s), fmt.Sprintf("use a /%d or smaller", s.Addr().BitLen()-20))
		}
	}
	return nil
}

// room is how many nodes fit into an underlay beside the machine: not the
// network's own address, nor the last one of IPv4.
func room(p netip.Prefix) int {
	bits := p.Addr().BitLen() - p.Bits()
	if bits > 16 {
		return 1 << 16
	}
	reserved := 2
	if p.Addr().Is4() {
		reserved = 3
	}
	return max(1<<bits-reserved, 0)
}

// nodeMask is the prefix length of each node's part of a pod range: a /24 or a
// /64, or what gives sixteen parts of a smaller range, and the most that
// kube-controller-manager divides of a larger one.
func nodeMask(pods netip.Prefix) int {
	usual, smallest := 24, 28
	if pods.Addr().Is6() {
		usual, smallest = 64, 120
	}
	bits := pods.Bits()
	if bits > usual-4 {
		return min(bits+4, smallest)
	}
	return min(usual, bits+16)
}

// Machine returns the machine's addresses on the underlay.
func (p *Plan) Machine() []netip.Prefix { return p.underlayAddrs(1) }

// Node returns the addresses of the i-th node, counted from 0, primary first.
func (p *Plan) Node(i int) []netip.Prefix { return p.underlayAddrs(2 + i) }

func (p *Plan) underlayAddrs(n int) []netip.Prefix {
	var out []netip.Prefix
	for _, u := range p.Underlay {
		out = append(out, netip.PrefixFrom(nth(u, n), u.Bits()))
	}
	return out
}

// NodeIPs is Node without the networks.
func (p *Plan) NodeIPs(i int) []netip.Addr {
	var out []netip.Addr
	for _, a := range p.Node(i) {
		out = append(out, a.Addr())
	}
	return out
}

// NodeIP is the i-th node's primary address.
func (p *Plan) NodeIP(i int) netip.Addr { return p.NodeIPs(i)[0] }

// APIService is the cluster address of the Service "kubernetes", which the
// API server gives the first address of the primary range.
func (p *Plan) APIService() netip.Addr { return nth(p.Services[0], 1) }

// DNS is the cluster address of the DNS Service, by custom the tenth.
func (p *Plan) DNS() netip.Addr { return nth(p.Services[0], 10) }

// APIServer is the URL at which the machine and the nodes reach the API server.
func (p *Plan) APIServer() string {
	return fmt.Sprintf("https://%s", netip.AddrPortFrom(p.NodeIP(0), apiServerPort))
}

// closed lists the ranges that must never be looked for outside the cluster.
func (p *Plan) closed() []netip.Prefix { return slices.Concat(p.Pods, p.Services) }

// anyAddr is where a server listens for clients of all families of the cluster.
func (p *Plan) anyAddr() string {
	if p.has6() {
		return "::" // IPv4 clients come to it as ::ffff:…
	}
	return "0.0.0.0"
}

// has6 reports whether the cluster has IPv6.
func (p *Plan) has6() bool { return len(IPv6.of(p.Underlay)) > 0 }

// nth returns the n-th address of a network.
func nth(p netip.Prefix, n int) netip.Addr {
	b := p.Addr().AsSlice()
	for i := len(b) - 1; i >= 0 && n > 0; i-- {
		n += int(b[i])
		b[i] = byte(n)
		n >>= 8
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// prefixOf converts what netlink speaks; a nil or odd address is the zero value.
func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	addr, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones)
}
