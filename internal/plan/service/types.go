// Package service plans Services for one node: at which addresses the node
// answers (frontends) and which endpoints stand behind each (backend sets).
//
// The package is pure: no clock, no I/O, no log. It does not program the
// kernel (apply/bpf does), answer names (plan/zone) or choose LoadBalancer
// addresses (plan/address). It plans one Service at a time, so that the cost
// of a change is that of the Service it belongs to. Invariants:
//
//   - A Plan depends on nothing but the Service, its slices, the node's own
//     Node object and the parameters; equal input gives equal Plans.
//   - Every frontend points at two sets of its Port: one for clients of this
//     node (pods and the node itself), one for everybody else.
//   - A set without backends says whether the client is refused or left waiting.
//
// Sources of the rules: KEP-752 (EndpointSlice), KEP-1669 (terminating
// endpoints), KEP-1860 (ipMode), KEP-2086 (internal traffic policy), KEP-2433
// and KEP-4444 (hints), and CategorizeEndpoints of kube-proxy 1.36.
package service

import (
	"net/netip"
	"time"

	"github.com/fairway-net/fairway/internal/model"
)

// Key names what a Plan is made for: a Service, or a Pod with hostPorts.
type Key struct {
	Kind model.Kind // KindService or KindPod
	model.Name
}

// String is "Kind namespace/name".
func (k Key) String() string { return k.Kind.String() + " " + k.Name.String() }

// Params is what a node needs to know of itself.
type Params struct {
	Node   string // name of the Node object
	NoSCTP bool   // the kernel has no sockets of SCTP
}

// Plan is all that one node does for one Key. A Plan without Ports means that
// there is nothing: applying it removes what was there.
type Plan struct {
	Key   Key
	Ports []Port // sorted by Family, Name, Protocol

	// HealthCheckPort is healthCheckNodePort where one must be served, else 0;
	// LocalReady is the number of ready endpoints on this node that it reports.
	HealthCheckPort uint16
	LocalReady      int

	Rejected []model.Rejected
}

// Port is one port of a Service in one family. Frontends of a Port share its
// sets, its affinity and its identity.
type Port struct {
	Family   model.Family
	Name     string
	Protocol model.Protocol

	Affinity     time.Duration  // sessionAffinity ClientIP; 0: none
	SourceRanges []netip.Prefix // what Restricted frontends admit; sorted

	Frontends []Frontend // sorted by Addr, Port
	Sets      []Set      // what Frontends point at; no two equal

	// Serving are the endpoints that may keep the flows they have, though they
	// may get no new ones: all that serve, terminating or not. Sorted.
	Serving []netip.AddrPort
}

// FrontendKind says why a frontend exists.
type FrontendKind uint8

// The kinds of frontends.
const (
	ClusterIP FrontendKind = iota
	NodePort
	LoadBalancer
	ExternalIP
	HostPort
)

func (k FrontendKind) String() string {
	return [...]string{"ClusterIP", "NodePort", "LoadBalancer", "ExternalIP", "HostPort"}[k]
}

// TrafficPolicy is a Service's internalTrafficPolicy or externalTrafficPolicy.
type TrafficPolicy uint8

// The two policies.
const (
	Cluster TrafficPolicy = iota
	Local
)

func (p TrafficPolicy) String() string { return [...]string{"Cluster", "Local"}[p] }

// Frontend is one address and port that the node answers.
type Frontend struct {
	Addr       netip.Addr // unspecified (0.0.0.0, ::): the node's own addresses
	Port       uint16
	Kind       FrontendKind
	Internal   int  // index into Port.Sets: clients on this node
	External   int  // index into Port.Sets: clients elsewhere
	Restricted bool // only Port.SourceRanges are admitted
}

// Set is the endpoints among which new flows are spread.
type Set struct {
	Backends []Backend // sorted by Addr
	Drop     bool      // without backends: drop silently instead of refusing
}

// Backend is one endpoint of a Set.
type Backend struct {
	Addr  netip.AddrPort
	Local bool // on this node: the client's address is kept
}
