package report

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/service"
	"github.com/fairway-net/fairway/internal/state"
)

// Service is one Service as a node sees it, and whether the kernels agree.
type Service struct {
	Namespace    string          `json:"namespace"`
	Name         string          `json:"name"`
	Type         string          `json:"type"`
	SeenFrom     string          `json:"seenFrom"`          // the node for which frontends and backends are listed
	Skipped      string          `json:"skipped,omitempty"` // why no node answers for it
	Affinity     int             `json:"affinitySeconds,omitempty"`
	SourceRanges []netip.Prefix  `json:"sourceRanges,omitempty"`
	NotAnswered  []NotAnswered   `json:"notAnswered,omitempty"`
	HealthCheck  *HealthCheck    `json:"healthCheck,omitempty"`
	Rejected     []string        `json:"rejected,omitempty"`
	Ports        []Port          `json:"ports,omitempty"`
	Kernel       []KernelVerdict `json:"kernel"`
}

// NotAnswered is an address of the Service that no node answers.
type NotAnswered struct {
	Address string `json:"address"`
	Why     string `json:"why"`
}

// HealthCheck is the Service's healthCheckNodePort on the node.
type HealthCheck struct {
	Port       uint16 `json:"port"`
	LocalReady int    `json:"localReady"`
}

// Port is one port in one family.
type Port struct {
	Name      string     `json:"name,omitempty"`
	Port      uint16     `json:"port"`
	Protocol  string     `json:"protocol"`
	Family    string     `json:"family"`
	Eligible  int        `json:"eligible"` // backends that are looked at
	Frontends []Frontend `json:"frontends"`
	Backends  []Backend  `json:"backends"`
}

// Frontend is an address that the node answers.
type Frontend struct {
	Address    string `json:"address"`
	Kind       string `json:"kind"`
	Restricted bool   `json:"restricted,omitempty"` // to SourceRanges
	Internal   Choice `json:"internal"`             // for clients on the node
	External   Choice `json:"external"`             // for all others
}

// Choice is what happens to a new connection.
type Choice struct {
	Policy string           `json:"policy"`           // the traffic policy that counts
	Chosen []netip.AddrPort `json:"chosen,omitempty"` // one of these gets it
	None   string           `json:"none,omitempty"`   // without any: "refuse" or "drop"
}

// Backend is an endpoint, and why it gets connections or none.
type Backend struct {
	Address string `json:"address"`
	Pod     string `json:"pod,omitempty"`
	Node    string `json:"node,omitempty"`
	Zone    string `json:"zone,omitempty"`
	Slice   string `json:"slice"`
	State   string `json:"state"` // "ready", "not ready", "terminating", "terminating, serving"
	// By traffic policy, of those that some frontend of the port has.
	Policies []PolicyVerdict `json:"policies"`
}

// PolicyVerdict is what a traffic policy makes of a backend.
type PolicyVerdict struct {
	Policy  string          `json:"policy"`
	In      bool            `json:"in"`
	Verdict service.Verdict `json:"verdict"`
	Why     string          `json:"why,omitempty"`
}

// KernelVerdict is whether the kernel of a node does what is planned for it.
type KernelVerdict struct {
	Node        string       `json:"node"`
	Error       string       `json:"error,omitempty"` // its agent could not be asked
	Differences []Difference `json:"differences,omitempty"`
}

// Agrees reports whether the node was asked and does as planned.
func (k *KernelVerdict) Agrees() bool { return k.Error == "" && len(k.Differences) == 0 }

// Services reports on all Services of snap that match, by name, as seenFrom
// sees them, against the kernels of nodes.
func Services(snap *state.Snapshot, seenFrom string, nodes []Node, match func(model.Name) bool) []Service {
	out := []Service{}
	for _, svc := range snap.Services.All() {
		if !match(svc.Name) {
			continue
		}
		s := describe(snap, svc.Name, seenFrom)
		for i := range nodes {
			n := &nodes[i]
			v := KernelVerdict{Node: n.Node, Error: n.Error}
			if n.Error == "" {
				plan := service.For(snap, service.Params{Node: n.Node}, service.Key{Kind: model.KindService, Name: svc.Name})
				v.Differences = n.compare(&plan)
			}
			s.Kernel = append(s.Kernel, v)
		}
		out = append(out, s)
	}
	return out
}

// Stale reports what the kernels hold for no Service of snap.
func Stale(snap *state.Snapshot, nodes []Node) []KernelVerdict {
	var out []KernelVerdict
	for i := range nodes {
		if d := nodes[i].stale(func(n model.Name) bool { return snap.Service(n) != nil }); len(d) > 0 {
			out = append(out, KernelVerdict{Node: nodes[i].Node, Differences: d})
		}
	}
	return out
}

// describe says everything but what the kernels do.
func describe(snap *state.Snapshot, name model.Name, seenFrom string) Service {
	x := service.Explain(snap, service.Params{Node: seenFrom}, name)
	s := Service{Namespace: name.Namespace, Name: name.Name, Type: x.Type, SeenFrom: seenFrom, Skipped: x.Skipped}
	for _, n := range x.NotTaken {
		s.NotAnswered = append(s.NotAnswered, NotAnswered{n.Address, n.Why})
	}
	if x.Plan.HealthCheckPort != 0 {
		s.HealthCheck = &HealthCheck{x.Plan.HealthCheckPort, x.Plan.LocalReady}
	}
	for _, r := range x.Plan.Rejected {
		s.Rejected = append(s.Rejected, r.String())
	}
	zone := ""
	if n := snap.Node(seenFrom); n != nil {
		zone = n.Zone
	}
	for i := range x.Ports {
		p := &x.Plan.Ports[i]
		s.Affinity = int(p.Affinity / time.Second)
		if p.SourceRanges != nil {
			s.SourceRanges = append(s.SourceRanges, p.SourceRanges...)
		}
		s.Ports = append(s.Ports, describePort(p, &x.Ports[i], here{seenFrom, zone}))
	}
	slices.SortFunc(s.SourceRanges, netip.Prefix.Compare)
	s.SourceRanges = slices.Compact(s.SourceRanges)
	return s
}

// here is the node that a report is seen from.
type here struct{ node, zone string }

func describePort(p *service.Port, x *service.ExplainedPort, at here) Port {
	out := Port{Name: p.Name, Port: x.Port, Protocol: p.Protocol.String(), Family: fmt.Sprintf("IPv%d", p.Family), Frontends: []Frontend{}, Backends: []Backend{}}
	used := map[service.TrafficPolicy]bool{}
	for i, f := range p.Frontends {
		by := x.Policies[i]
		used[by.Internal], used[by.External] = true, true
		out.Frontends = append(out.Frontends, Frontend{
			Address: addressText(netip.AddrPortFrom(f.Addr, f.Port)), Kind: f.Kind.String(), Restricted: f.Restricted,
			Internal: choice(by.Internal, p.Sets[f.Internal]), External: choice(by.External, p.Sets[f.External]),
		})
	}
	for i := range x.Endpoints {
		e := &x.Endpoints[i]
		b := Backend{Address: e.Addr.String(), Pod: e.Pod, Node: e.Node, Zone: e.Zone, Slice: e.Slice, State: stateOf(e)}
		if e.Cluster <= service.NotLocal {
			out.Eligible++
		}
		if e.DomainName != "" {
			b.Address, b.State = e.DomainName, "-"
		}
		if e.Addr.Port() == 0 && e.DomainName == "" {
			b.Address = e.Addr.Addr().String()
		}
		for _, by := range []service.TrafficPolicy{service.Cluster, service.Local} {
			if used[by] {
				v := e.Cluster
				if by == service.Local {
					v = e.Local
				}
				b.Policies = append(b.Policies, PolicyVerdict{Policy: by.String(), In: v.In(), Verdict: v, Why: why(v, e, p, at)})
			}
		}
		out.Backends = append(out.Backends, b)
	}
	return out
}

func choice(by service.TrafficPolicy, s service.Set) Choice {
	c := Choice{Policy: by.String(), Chosen: addresses(s)}
	if len(c.Chosen) == 0 {
		c.None = s.String()
	}
	return c
}

func stateOf(e *service.Endpoint) string {
	switch {
	case e.Ready && e.Terminating:
		return "ready, terminating"
	case e.Ready:
		return "ready"
	case e.Terminating && e.Serving:
		return "terminating, serving"
	case e.Terminating:
		return "terminating"
	}
	return "not ready"
}
