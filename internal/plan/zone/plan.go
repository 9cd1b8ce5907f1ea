package zone

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// Kinds are the kinds that the zone is planned from.
func Kinds() []model.Kind {
	return []model.Kind{model.KindService, model.KindEndpointSlice, model.KindNamespace}
}

// Trim empties what names are not made of: at 50,000 endpoints that is most of
// what they take.
func Trim(v any) {
	switch v := v.(type) {
	case *model.Service:
		*v = model.Service{Name: v.Name, Type: v.Type, Headless: v.Headless, ClusterIPs: v.ClusterIPs, ExternalName: v.ExternalName, Ports: v.Ports}
		for i := range v.Ports {
			p := &v.Ports[i]
			*p = model.ServicePort{Name: p.Name, Protocol: p.Protocol, Port: p.Port}
		}
	case *model.EndpointSlice:
		v.Triggered = time.Time{}
		v.Named, v.Endpoints = named(v), nil
	case *model.Pod:
		*v = model.Pod{Name: v.Name, Node: v.Node, IPs: v.IPs, HostNetwork: v.HostNetwork, Done: v.Done, Deleting: v.Deleting, Search: v.Search}
	case *model.Namespace:
		*v = model.Namespace{Name: v.Name}
	}
}

// named are the ready endpoints of a slice. Ready is the right condition: the
// endpoints controller already makes it true where the Service publishes
// addresses that are not ready.
func named(slice *model.EndpointSlice) *model.NamedEndpoints {
	if slice.Named != nil {
		return slice.Named
	}
	out := &model.NamedEndpoints{Addrs: make([]netip.Addr, 0, len(slice.Endpoints))}
	hostnames := make([]string, 0, len(slice.Endpoints))
	for i := range slice.Endpoints {
		if e := &slice.Endpoints[i]; e.Ready {
			out.Addrs, hostnames = append(out.Addrs, e.Addr), append(hostnames, e.Hostname)
		}
	}
	if slices.ContainsFunc(hostnames, func(h string) bool { return h != "" }) {
		out.Hostnames = hostnames
	}
	return out
}

// Keys returns the Services and the namespaces that changes may affect. The
// first delivery of a watch (All) affects everything that snap holds.
func Keys(changes state.Changes, snap *state.Snapshot) (services []model.Name, namespaces []string) {
	if changes.All {
		for _, s := range snap.Services.All() {
			services = append(services, s.Name)
		}
		for name := range snap.Namespaces.All() {
			namespaces = append(namespaces, name)
		}
		return services, namespaces
	}
	seen := map[model.Name]bool{}
	for ch := range changes.Keys {
		switch ch.Kind {
		case model.KindService, model.KindEndpointSlice:
			// A slice's key is "namespace/service/slice".
			n := model.ParseName(ch.Key)
			n.Name, _, _ = strings.Cut(n.Name, "/")
			if !seen[n] {
				seen[n] = true
				services = append(services, n)
			}
		case model.KindNamespace:
			namespaces = append(namespaces, ch.Key)
		}
	}
	slices.SortFunc(services, model.Name.Compare)
	slices.Sort(namespaces)
	return services, namespaces
}

// Plan returns the records of one Service; they are Empty if it does not exist
// or has no names yet.
func Plan(snap *state.Snapshot, name model.Name) Records {
	r := Records{Name: name}
	svc := snap.Service(name)
	switch {
	case svc == nil:
	case svc.Type == model.ExternalName:
		// An address is not a name to point to. CoreDNS has no such record either.
		if _, err := netip.ParseAddr(svc.ExternalName); err != nil {
			r.Alias = strings.ToLower(svc.ExternalName)
		}
	case svc.Headless:
		r.Hosts = hosts(snap, name)
	case len(svc.ClusterIPs) > 0:
		r.Addrs = svc.ClusterIPs
		for _, p := range svc.Ports {
			r.Ports = append(r.Ports, Port{p.Name, p.Protocol, p.Port})
		}
	}
	return r
}

// hosts joins the ready endpoints of all slices of a headless Service.
func hosts(snap *state.Snapshot, name model.Name) []Host {
	var out []Host
	at := map[string]int{} // label -> index in out
	for _, slice := range snap.SlicesOf(name) {
		ports := slicePorts(slice)
		endpoints := named(slice)
		for i, addr := range endpoints.Addrs {
			label := ""
			if endpoints.Hostnames != nil {
				label = strings.ToLower(endpoints.Hostnames[i])
			}
			if label == "" || len(label) > 63 {
				label = Dashed(addr)
			}
			j, ok := at[label]
			if !ok {
				at[label] = len(out)
				out = append(out, Host{Label: label, Addrs: []netip.Addr{addr}, Ports: ports})
				continue
			}
			out[j].Addrs = insert(out[j].Addrs, addr)
			out[j].Ports = union(out[j].Ports, ports)
		}
	}
	slices.SortFunc(out, func(a, b Host) int { return strings.Compare(a.Label, b.Label) })
	return out
}

// slicePorts leaves out port 0: it says "all ports" and names none.
func slicePorts(slice *model.EndpointSlice) []Port {
	var out []Port
	for _, p := range slice.Ports {
		if p.Port != 0 {
			out = append(out, Port{p.Name, p.Protocol, p.Port})
		}
	}
	return out
}

func insert(addrs []netip.Addr, a netip.Addr) []netip.Addr {
	i, found := slices.BinarySearchFunc(addrs, a, netip.Addr.Compare)
	if found {
		return addrs
	}
	return slices.Insert(addrs, i, a)
}

// union leaves its arguments alone: hosts of one slice share their list.
func union(a, b []Port) []Port {
	out := a
	for _, p := range b {
		if !slices.Contains(out, p) {
			out = append(slices.Clip(out), p)
		}
	}
	return out
}
