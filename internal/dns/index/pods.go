package index

import (
	"net/netip"
	"slices"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/zone"
)

// PodMode says which names there are below "pod" in the zone.
type PodMode uint32

// The modes, as CoreDNS calls them.
const (
	PodsInsecure PodMode = iota // every address in every namespace, as the specification has it
	PodsVerified                // only addresses of Pods, in their own namespace
	PodsDisabled                // none
)

var podModes = [...]string{"insecure", "verified", "disabled"}

func (m PodMode) String() string { return podModes[m] }

// ParsePodMode is the inverse of String.
func ParsePodMode(s string) (PodMode, bool) {
	i := slices.Index(podModes[:], s)
	return PodMode(max(i, 0)), i >= 0
}

// claim is a Pod that has an address.
type claim struct {
	pod    model.Name
	space  string // its namespace as a label in wire form
	search bool
}

// claims are all Pods that have one address: one, but for host networks and
// for the moment in which an address changes hands.
type claims []claim

// SetPodMode says which Pod names there are.
func (x *Index) SetPodMode(m PodMode) { x.podMode.Store(uint32(m)) }

// SetPodsSynced says whether SetPod has been called for all Pods that there
// are. Before, names that depend on it are answered by SERVFAIL.
func (x *Index) SetPodsSynced(yes bool) { x.podsSynced.Store(yes) }

// SetPod replaces what is known of one Pod.
func (x *Index) SetPod(p zone.Pod) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, a := range x.podAddrs[p.Name] {
		x.changeClaims(a, func(c claims) claims {
			return slices.DeleteFunc(c, func(c claim) bool { return c.pod == p.Name })
		})
	}
	delete(x.podAddrs, p.Name)
	for _, a := range p.Addrs {
		x.changeClaims(a, func(c claims) claims {
			return append(c, claim{p.Name, label(p.Name.Namespace), p.Search})
		})
	}
	if len(p.Addrs) > 0 {
		x.podAddrs[p.Name] = p.Addrs
	}
}

// ForgetPods removes all Pods.
func (x *Index) ForgetPods() {
	x.SetPodsSynced(false)
	x.mu.Lock()
	names := make([]model.Name, 0, len(x.podAddrs))
	for n := range x.podAddrs {
		names = append(names, n)
	}
	x.mu.Unlock()
	for _, n := range names {
		x.SetPod(zone.Pod{Name: n})
	}
}

// changeClaims gives readers a new list.
func (x *Index) changeClaims(a netip.Addr, change func(claims) claims) {
	k := a.As16()
	var list claims
	if old := x.pods.get(k[:]); old != nil {
		list = slices.Clone(*old)
	}
	if list = change(list); len(list) == 0 {
		x.pods.del(string(k[:]))
		return
	}
	x.pods.set(string(k[:]), &list)
}

// claimed reports whether a Pod of the namespace with that label has a.
func (x *Index) claimed(a netip.Addr, space []byte) bool {
	k := a.As16()
	list := x.pods.get(k[:])
	return list != nil && slices.ContainsFunc(*list, func(c claim) bool { return c.space == string(space) })
}

// searcher is the namespace, as a label in wire form, of the one Pod that has
// a and goes through the search path. "": nobody is known to.
func (x *Index) searcher(a netip.Addr) string {
	k := a.As16()
	list := x.pods.get(k[:])
	if list == nil || len(*list) != 1 || !(*list)[0].search {
		return ""
	}
	return (*list)[0].space
}
