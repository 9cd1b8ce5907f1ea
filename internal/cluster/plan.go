package cluster

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/fairway-net/fairway/internal/cli"
)

// The default ranges lie in 198.18.0.0/15, which RFC 2544 reserves for
// benchmarks between devices: nobody's network and nobody's VPN.
const (
	maxClusters   = 16 // defaults for that many clusters at a time
	defaultPods   = "198.18.128.0/17"
	defaultSvc    = "198.19.0.0/16"
	nodePodBits   = 24 // what each node gets of an IPv4 pod range
	apiServerPort = 6443
)

// Plan is every address of a cluster, all of them consequences of its
// configuration and its index. Pod and Service ranges may be the same in
// several clusters, for nothing outside of a cluster ever reaches them.
type Plan struct {
	Underlay      netip.Prefix   // its first address is the machine's
	Pods          []netip.Prefix // kube-controller-manager gives each node a part
	Services      []netip.Prefix
	LoadBalancers []netip.Prefix
	Domain        string
}

// NewPlan plans the addresses of the cluster with that index.
func NewPlan(n Networking, index, nodes int) (*Plan, error) {
	p := &Plan{Domain: n.DNSDomain}
	or := func(list []string, def string) []string {
		if len(list) == 0 {
			return []string{def}
		}
		return list
	}
	underlay := n.Underlay
	if underlay == "" {
		underlay = fmt.Sprintf("198.18.%d.0/24", index)
	}
	u, err := prefixes("underlay", []string{underlay})
	if err != nil {
		return nil, err
	}
	p.Underlay = u[0]
	if p.Pods, err = prefixes("podSubnets", or(n.PodSubnets, defaultPods)); err != nil {
		return nil, err
	}
	if p.Services, err = prefixes("serviceSubnets", or(n.Services, defaultSvc)); err != nil {
		return nil, err
	}
	if p.LoadBalancers, err = prefixes("loadBalancerPools", or(n.LoadBalancers, fmt.Sprintf("198.18.%d.0/24", maxClusters+index))); err != nil {
		return nil, err
	}
	return p, p.check(nodes)
}

// check finds ranges that overlap or are too small.
func (p *Plan) check(nodes int) error {
	type named struct {
		field string
		p     netip.Prefix
	}
	var all []named
	for field, list := range map[string][]netip.Prefix{
		"networking.underlay":          {p.Underlay},
		"networking.podSubnets":        p.Pods,
		"networking.serviceSubnets":    p.Services,
		"networking.loadBalancerPools": p.LoadBalancers,
	} {
		for _, prefix := range list {
			if !prefix.Addr().Is4() {
				return cli.Hint(fmt.Errorf("%s: %s is not IPv4", field, prefix), "the embedded cluster is IPv4 only for now")
			}
			for _, other := range all {
				if prefix.Overlaps(other.p) {
					return cli.Hint(fmt.Errorf("%s %s overlaps %s %s", field, prefix, other.field, other.p), "change one of the two in the --config file")
				}
			}
			all = append(all, named{field, prefix})
		}
	}
	if size := 1<<(32-p.Underlay.Bits()) - 3; size < nodes { // network, machine, broadcast
		return cli.Hint(fmt.Errorf("networking.underlay %s has room for %d nodes, not %d", p.Underlay, max(size, 0), nodes), "use a larger network")
	}
	if bits := p.nodeMask() - p.Pods[0].Bits(); bits < 0 || 1<<bits < nodes {
		return cli.Hint(fmt.Errorf("networking.podSubnets %s has no /%d for each of %d nodes", p.Pods[0], p.nodeMask(), nodes), "use a larger network")
	}
	if p.Services[0].Bits() > 27 {
		return cli.Hint(fmt.Errorf("networking.serviceSubnets %s is too small", p.Services[0]), "use a /27 or larger")
	}
	return nil
}

// nodeMask is the prefix length of each node's pod range.
func (p *Plan) nodeMask() int {
	if bits := p.Pods[0].Bits(); bits > nodePodBits-4 {
		return min(bits+4, 28)
	}
	return nodePodBits
}

// Machine is the machine's address on the underlay.
func (p *Plan) Machine() netip.Prefix {
	return netip.PrefixFrom(nth(p.Underlay, 1), p.Underlay.Bits())
}

// Node is the address of the i-th node, counted from 0.
func (p *Plan) Node(i int) netip.Prefix {
	return netip.PrefixFrom(nth(p.Underlay, 2+i), p.Underlay.Bits())
}

// APIService is the cluster address of the Service "kubernetes", which the
// API server gives the first address of the range.
func (p *Plan) APIService() netip.Addr { return nth(p.Services[0], 1) }

// DNS is the cluster address of the DNS Service, by custom the tenth.
func (p *Plan) DNS() netip.Addr { return nth(p.Services[0], 10) }

// APIServer is the URL at which the machine and the nodes reach the API server.
func (p *Plan) APIServer() string {
	return fmt.Sprintf("https://%s", netip.AddrPortFrom(p.Node(0).Addr(), apiServerPort))
}

// closed lists the ranges that must never be looked for outside the cluster.
func (p *Plan) closed() []netip.Prefix {
	return append(append([]netip.Prefix(nil), p.Pods...), p.Services...)
}

// nth returns the n-th address of a network.
func nth(p netip.Prefix, n int) netip.Addr {
	b := p.Addr().As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	v += uint32(n)
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
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
