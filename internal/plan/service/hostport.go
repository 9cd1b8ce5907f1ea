package service

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

func hasHostPort(pod *model.Pod) bool {
	if pod.HostNetwork || pod.Done {
		return false // on the host network the port is the pod's own
	}
	return slices.ContainsFunc(pod.Ports, func(p model.ContainerPort) bool { return p.HostPort != 0 })
}

// forPod plans the hostPorts of a pod: each is a frontend at the node's address
// with this one backend.
func forPod(snap *state.Snapshot, p Params, key Key) Plan {
	plan := Plan{Key: key}
	pod := snap.Pod(key.Name)
	if pod == nil || pod.Node != p.Node || !hasHostPort(pod) {
		return plan
	}
	for _, ip := range pod.IPs {
		family := model.FamilyOf(ip)
		for _, cp := range pod.Ports {
			host := cp.HostIP
			if !host.IsValid() || host.IsUnspecified() {
				host = anyAddr(family)
			}
			if cp.HostPort == 0 || model.FamilyOf(host) != family {
				continue
			}
			target := netip.AddrPortFrom(ip.Unmap(), cp.Port)
			plan.Ports = append(plan.Ports, Port{
				Family: family, Name: fmt.Sprintf("hostPort-%d-%v", cp.HostPort, host), Protocol: cp.Protocol,
				Frontends: []Frontend{{Addr: host, Port: cp.HostPort, Kind: HostPort}},
				Sets:      []Set{{Backends: []Backend{{target, true}}}},
				Serving:   []netip.AddrPort{target},
			})
		}
	}
	slices.SortFunc(plan.Ports, comparePorts)
	plan.Ports = slices.CompactFunc(plan.Ports, func(a, b Port) bool { return comparePorts(a, b) == 0 })
	return plan
}
