package address

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/config"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// Class is the spec.loadBalancerClass that Fairway serves beside the empty one.
const Class = "fairway.dev/loadbalancer"

// The annotations by which a Service asks for an address or a pool; the names
// of MetalLB are understood so that its manifests work.
var (
	keysAddresses = []string{"fairway.dev/load-balancer-ips", "metallb.io/loadBalancerIPs", "metallb.universe.tf/loadBalancerIPs"}
	keysPool      = []string{"fairway.dev/address-pool", "metallb.io/address-pool", "metallb.universe.tf/address-pool"}
)

// Plan is what the statuses should say.
type Plan struct {
	// Addresses of each Service that Fairway is responsible for: one for each
	// of its families, or nil where none can be had. A Service that is no
	// longer of type LoadBalancer but still shows addresses of our pools is
	// here with nil: its status must be cleared.
	Addresses map[model.Name][]netip.Addr
	Rejected  []model.Rejected
}

// Ours says that Fairway gives s its addresses.
func Ours(s *model.Service) bool {
	return s.Type == model.LoadBalancer && (s.LoadBalancerClass == "" || s.LoadBalancerClass == Class) && !s.Deleting
}

// Make plans the addresses of all Services. Rules, in order: a Service keeps
// what its status shows while that is what it asks for; then those that ask for
// a certain address get it, the oldest first; then the others get the lowest
// free one of the first pool that has any. An address has one Service.
func Make(snap *state.Snapshot, pools []config.Pool) Plan {
	a := allocation{pools: pools, owner: map[netip.Addr]model.Name{}, plan: Plan{Addresses: map[model.Name][]netip.Addr{}}}
	var services []*model.Service
	for _, s := range snap.Services.All() {
		switch {
		case Ours(s):
			services = append(services, s)
		case s.Type != model.LoadBalancer && a.shows(s):
			a.plan.Addresses[s.Name] = nil
		}
	}
	slices.SortFunc(services, func(x, y *model.Service) int {
		if c := x.Created.Compare(y.Created); c != 0 {
			return c
		}
		return x.Name.Compare(y.Name)
	})
	for _, s := range services {
		a.keep(s)
	}
	for _, pass := range []bool{true, false} { // those that ask for an address first
		for _, s := range services {
			if (len(a.wish(s).addresses) > 0) == pass {
				a.assign(s)
			}
		}
	}
	slices.SortFunc(a.plan.Rejected, model.Rejected.Compare)
	return a.plan
}

type allocation struct {
	pools []config.Pool
	owner map[netip.Addr]model.Name
	plan  Plan
}

// wish is what a Service asks for. At most one field is set.
type wish struct {
	addresses []netip.Addr
	pool      string
	field     string // where it is written
	err       error
}

func (a *allocation) wish(s *model.Service) wish {
	for _, k := range keysAddresses {
		if v := s.Annotations[k]; v != "" {
			w := wish{field: "metadata.annotations[" + k + "]"}
			w.addresses, w.err = parseAddrs(v)
			return w
		}
	}
	if s.LoadBalancerIP != "" {
		w := wish{field: "spec.loadBalancerIP"}
		w.addresses, w.err = parseAddrs(s.LoadBalancerIP)
		return w
	}
	for _, k := range keysPool {
		if v := s.Annotations[k]; v != "" {
			return wish{pool: v, field: "metadata.annotations[" + k + "]"}
		}
	}
	return wish{}
}

func parseAddrs(text string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, f := range strings.Split(text, ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(f))
		if err != nil {
			return nil, fmt.Errorf("%q is not an IP address", strings.TrimSpace(f))
		}
		out = append(out, addr.Unmap())
	}
	return out, nil
}

// keep books the addresses in s's status that are still right.
func (a *allocation) keep(s *model.Service) {
	w := a.wish(s)
	for _, in := range s.LoadBalancer {
		if !in.IP.IsValid() || a.poolOf(in.IP) == "" {
			continue
		}
		_, taken := a.owner[in.IP]
		wanted := w.err == nil && (w.pool == "" || w.pool == a.poolOf(in.IP)) &&
			(len(w.addresses) == 0 || slices.Contains(w.addresses, in.IP))
		if !taken && wanted && slices.Contains(familiesOf(s), model.FamilyOf(in.IP)) && a.of(s, model.FamilyOf(in.IP)) == (netip.Addr{}) {
			a.give(s, in.IP)
		}
	}
}

// assign gives s what it still lacks, family by family.
func (a *allocation) assign(s *model.Service) {
	if _, ok := a.plan.Addresses[s.Name]; !ok {
		a.plan.Addresses[s.Name] = nil
	}
	w := a.wish(s)
	if w.err != nil {
		a.reject(s, w.field, "InvalidAddress", w.err.Error(), "write one address for each IP family, separated by a comma")
		return
	}
	if w.pool != "" && !slices.ContainsFunc(a.pools, func(p config.Pool) bool { return p.Name == w.pool }) {
		a.reject(s, w.field, "PoolNotFound", fmt.Sprintf("there is no address pool %q", w.pool), "the pools are: "+a.poolNames())
		return
	}
	for _, f := range familiesOf(s) {
		if a.of(s, f).IsValid() {
			continue
		}
		if wanted := model.CutFamily(w.addresses, f); len(wanted) > 0 {
			a.assignWanted(s, w, wanted[0])
		} else if len(w.addresses) == 0 {
			a.assignFree(s, w, f)
		}
	}
}

func (a *allocation) assignWanted(s *model.Service, w wish, addr netip.Addr) {
	owner, taken := a.owner[addr]
	switch {
	case a.poolOf(addr) == "":
		a.reject(s, w.field, "AddressNotInPool", fmt.Sprintf("%v is in no address pool", addr), "ask for an address of the pools "+a.poolNames()+", or add it to lbPools in ConfigMap fairway-system/fairway-config")
	case taken:
		a.reject(s, w.field, "AddressInUse", fmt.Sprintf("%v belongs to Service %v", addr, owner), "ask for another address, or for none to be given a free one")
	default:
		a.give(s, addr)
	}
}

func (a *allocation) assignFree(s *model.Service, w wish, f model.Family) {
	for _, p := range a.pools {
		if w.pool != "" && w.pool != p.Name {
			continue
		}
		for _, r := range p.Ranges {
			if model.FamilyOf(r.From) != f {
				continue
			}
			for addr := r.From; r.Contains(addr); addr = addr.Next() {
				if _, taken := a.owner[addr]; !taken && usable(addr, r) {
					a.give(s, addr)
					return
				}
			}
		}
	}
	field := w.field
	if field == "" {
		field = "spec.type"
	}
	a.reject(s, field, "PoolExhausted", fmt.Sprintf("no free IPv%d address in the pools %s", f, a.poolNames()), "delete a Service of type LoadBalancer, or add a range to lbPools in ConfigMap fairway-system/fairway-config")
}

// usable leaves out addresses that many devices take for a network's own or
// its broadcast address, unless they are all that the range has: in IPv6 the
// anycast address of a subnet's routers (RFC 4291, section 2.6.1).
func usable(addr netip.Addr, r config.Range) bool {
	if r.From == r.To {
		return true
	}
	b := addr.AsSlice()
	last := b[len(b)-1]
	if addr.Is6() {
		return last != 0 || b[len(b)-2] != 0
	}
	return last != 0 && last != 255
}

func (a *allocation) give(s *model.Service, addr netip.Addr) {
	a.owner[addr] = s.Name
	a.plan.Addresses[s.Name] = append(a.plan.Addresses[s.Name], addr)
}

// of returns the address of family f that s has been given.
func (a *allocation) of(s *model.Service, f model.Family) netip.Addr {
	for _, addr := range a.plan.Addresses[s.Name] {
		if model.FamilyOf(addr) == f {
			return addr
		}
	}
	return netip.Addr{}
}

func (a *allocation) reject(s *model.Service, field, reason, message, fix string) {
	a.plan.Rejected = append(a.plan.Rejected, model.Rejected{
		Ref: model.Ref{Kind: model.KindService, Name: s.Name, UID: s.UID}, Field: field, Reason: reason, Message: message, Fix: fix,
	})
}

// shows reports whether the status of s has an address of our pools.
func (a *allocation) shows(s *model.Service) bool {
	return slices.ContainsFunc(s.LoadBalancer, func(in model.LoadBalancerIngress) bool { return a.poolOf(in.IP) != "" })
}

func (a *allocation) poolOf(addr netip.Addr) string {
	for _, p := range a.pools {
		for _, r := range p.Ranges {
			if r.Contains(addr) {
				return p.Name
			}
		}
	}
	return ""
}

func (a *allocation) poolNames() string {
	var names []string
	for _, p := range a.pools {
		names = append(names, fmt.Sprintf("%s %v", p.Name, p.Ranges))
	}
	if names == nil {
		return "(none)"
	}
	return strings.Join(names, ", ")
}

// familiesOf returns spec.ipFamilies, or IPv4 for objects without.
func familiesOf(s *model.Service) []model.Family {
	if len(s.Families) > 0 {
		return s.Families
	}
	return []model.Family{model.IPv4}
}
