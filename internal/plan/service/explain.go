package service

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// Explanation is why a Service's Plan is what it is.
type Explanation struct {
	Plan     Plan
	Type     string // as in spec.type
	Skipped  string // why proxies have nothing to do with the Service; "": they have
	NotTaken []NotTaken
	Ports    []ExplainedPort // those of Plan.Ports, in that order
}

// NotTaken is an address of a Service that no node answers.
type NotTaken struct {
	Address string
	Why     string
}

// ExplainedPort is one port of a Service in one family.
type ExplainedPort struct {
	Port      uint16 // spec.ports[].port
	Policies  []FrontendPolicies
	Endpoints []Endpoint // sorted by address, those that are not looked at last
}

// FrontendPolicies are the traffic policies that count at the frontend of the
// same index, for clients of this node and for all others.
type FrontendPolicies struct{ Internal, External TrafficPolicy }

// Endpoint is an entry of an EndpointSlice, as one port of a Service sees it.
type Endpoint struct {
	Addr       netip.AddrPort // not valid with a DomainName
	DomainName string
	Slice      string
	Pod        string // "" if it is none
	Node, Zone string

	Ready, Serving, Terminating bool
	OnThisNode                  bool
	NodeHints, ZoneHints        []string

	Cluster, Local Verdict // by traffic policy
}

// Explain is For with the reasons: what it says follows from the same functions.
// It returns nil for a Service that is not there.
func Explain(snap *state.Snapshot, p Params, name model.Name) *Explanation {
	svc := snap.Service(name)
	if svc == nil {
		return nil
	}
	x := &Explanation{Plan: For(snap, p, Key{model.KindService, name}), Type: svc.Type.String(), Skipped: skipped(svc)}
	if x.Skipped != "" {
		return x
	}
	x.NotTaken = notTaken(svc)
	self := nodeOf(snap, p)
	for i := range x.Plan.Ports {
		port := &x.Plan.Ports[i]
		sp := &svc.Ports[slices.IndexFunc(svc.Ports, func(sp model.ServicePort) bool { return sp.Name == port.Name && sp.Protocol == port.Protocol })]
		out := ExplainedPort{Port: sp.Port, Endpoints: explainEndpoints(snap, svc, port, self)}
		for _, f := range port.Frontends {
			internal, external := policies(svc, f.Kind)
			out.Policies = append(out.Policies, FrontendPolicies{internal, external})
		}
		x.Ports = append(x.Ports, out)
	}
	return x
}

// explainEndpoints judges all endpoints that there are for a port, and first
// whether the planner looks at them at all.
func explainEndpoints(snap *state.Snapshot, svc *model.Service, port *Port, self node) []Endpoint {
	name := portName{port.Name, port.Protocol}
	eps := endpointsOf(snap, svc, port.Family, self)[name]
	cluster, local := byCluster(eps, self), byLocal(eps)
	var out []Endpoint
	seen := map[netip.AddrPort]bool{}
	for _, slice := range snap.SlicesOf(svc.Name) {
		joined := joins(slice, port.Family)
		if joined == OtherFamily && joins(slice, families(svc)...) == Chosen {
			continue // the port of that family shows it
		}
		for _, d := range slice.DomainNames {
			out = append(out, Endpoint{DomainName: d, Slice: slice.Name.Name, Cluster: joined, Local: joined})
		}
		number := uint16(0)
		for _, sp := range slice.Ports {
			if sp.Name == name.name && sp.Protocol == name.protocol {
				number = sp.Port
			}
		}
		if joined == Chosen && number == 0 {
			joined = NoPort
		}
		for i := range slice.Endpoints {
			from := &slice.Endpoints[i]
			e := convert(from, number, self)
			x := Endpoint{
				Addr: e.addr, Slice: slice.Name.Name, Pod: from.Pod, Node: from.Node, Zone: from.Zone,
				Ready: e.ready, Serving: e.serving, Terminating: e.terminating, OnThisNode: e.local, NodeHints: e.nodeHints, ZoneHints: e.zoneHints,
				Cluster: joined, Local: joined,
			}
			if joined == Chosen {
				x.Cluster, x.Local = Duplicate, Duplicate
				counts := slices.ContainsFunc(eps, func(o endpoint) bool { return reflect.DeepEqual(o, e) })
				if counts && !seen[e.addr] { // of equal entries the first stands for all
					x.Cluster, x.Local, seen[e.addr] = cluster(&e), local(&e), true
				}
			}
			out = append(out, x)
		}
	}
	slices.SortStableFunc(out, func(a, b Endpoint) int {
		unseen := func(v Verdict) int { return max(0, int(v)-int(NotLocal)) }
		return cmp.Or(cmp.Compare(unseen(a.Cluster), unseen(b.Cluster)), a.Addr.Compare(b.Addr), cmp.Compare(a.DomainName, b.DomainName))
	})
	return out
}

// skipped says why proxies have nothing to do with svc (ShouldSkipService of
// kube-proxy): an ExternalName is DNS only even if a clusterIP lingers.
func skipped(svc *model.Service) string {
	switch {
	case svc.Type == model.ExternalName:
		return "it is an alias in DNS (type ExternalName)"
	case svc.Headless:
		return "it is headless (clusterIP None): clients get the pods' addresses from DNS"
	case svc.ForeignProxy:
		return "its label service.kubernetes.io/service-proxy-name leaves it to another proxy"
	case len(svc.ClusterIPs) == 0:
		return "it has no clusterIP yet"
	}
	return ""
}

// notTaken lists the addresses of a LoadBalancer that are left to others.
func notTaken(svc *model.Service) []NotTaken {
	var out []NotTaken
	if svc.Type != model.LoadBalancer {
		return nil
	}
	for _, in := range svc.LoadBalancer {
		switch {
		case !in.IP.IsValid():
			out = append(out, NotTaken{in.Hostname, "the balancer has a name only"})
		case in.Proxy:
			out = append(out, NotTaken{in.IP.String(), "ipMode Proxy: clients have to go through the balancer"})
		case !slices.Contains(families(svc), model.FamilyOf(in.IP)):
			out = append(out, NotTaken{in.IP.String(), "the Service has no clusterIP of its family"})
		}
	}
	return out
}
