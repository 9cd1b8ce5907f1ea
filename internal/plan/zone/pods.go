package zone

import (
	"net/netip"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// Pod is what DNS knows of a Pod. The zero value but for Name means: it has no
// address now.
type Pod struct {
	Name  model.Name
	Addrs []netip.Addr
	// Search: who asks from one of the addresses is this Pod, and its resolver
	// goes through the cluster's search path. False on a node's own address,
	// which is that of many.
	Search bool
}

// PlanPod returns what DNS knows of a Pod. One that has ended keeps its
// addresses in its status though others may get them; one that is being deleted
// is about to lose them.
func PlanPod(snap *state.Snapshot, name model.Name) Pod {
	p := Pod{Name: name}
	pod := snap.Pod(name)
	if pod == nil || pod.Done || pod.Deleting {
		return p
	}
	p.Addrs = pod.IPs
	p.Search = pod.Search && !pod.HostNetwork
	return p
}

// PodKeys returns the Pods that changes may affect, all of them at first.
func PodKeys(changes state.Changes, snap *state.Snapshot) (pods []model.Name) {
	if changes.All {
		for _, p := range snap.Pods.All() {
			pods = append(pods, p.Name)
		}
		return pods
	}
	for ch := range changes.Keys {
		if ch.Kind == model.KindPod {
			pods = append(pods, model.ParseName(ch.Key))
		}
	}
	return pods
}
