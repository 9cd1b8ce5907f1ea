package explain

import (
	"net/netip"

	"github.com/fairway-net/fairway/internal/plan/policy"
	"github.com/fairway-net/fairway/internal/plan/service"
	"github.com/fairway-net/fairway/internal/state"
)

// Gather makes the facts of a node from a snapshot. podCIDRs and serviceCIDRs are
// those of the cluster's configuration, beside what the API says.
func Gather(snap *state.Snapshot, node string, podCIDRs, serviceCIDRs []netip.Prefix) Facts {
	f := Facts{Cluster: append([]netip.Prefix{}, podCIDRs...), ServiceCIDRs: serviceCIDRs, Policy: policy.For(snap, node)}
	for _, n := range snap.Nodes.All() {
		f.Cluster = append(f.Cluster, n.PodCIDRs...)
		for _, a := range n.InternalIPs {
			f.Cluster = append(f.Cluster, netip.PrefixFrom(a, a.BitLen()))
		}
		if n.Name == node {
			f.Addrs = n.InternalIPs
		}
	}
	for _, p := range snap.Pods.All() {
		if p.Node == node && policy.HasNetwork(p) {
			f.Pods = append(f.Pods, p.IPs...)
		}
	}
	params := service.Params{Node: node}
	for _, key := range service.All(snap, params) {
		f.Services = append(f.Services, service.For(snap, params, key))
	}
	return f
}
