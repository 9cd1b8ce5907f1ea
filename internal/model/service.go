package model

import (
	"net/netip"
	"time"
)

// ServiceType is the effective kind of a Service.
type ServiceType uint8

// The four types of core/v1; a headless Service is a ClusterIP Service with Headless set.
const (
	ClusterIP ServiceType = iota
	NodePort
	LoadBalancer
	ExternalName
)

func (t ServiceType) String() string {
	return [...]string{"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"}[t]
}

// Service is core/v1 Service, cut down to what the network needs.
type Service struct {
	Name
	UID         string
	Created     time.Time
	Annotations map[string]string // only keys of a dialect that Fairway knows; usually nil
	Labels      map[string]string // only while a planner needs them; see source/kube

	Type         ServiceType
	Headless     bool         // clusterIP: None
	ClusterIPs   []netip.Addr // at most one of each family, primary first
	Families     []Family     // spec.ipFamilies
	ExternalName string       // as written, without a trailing dot
	Ports        []ServicePort

	ExternalIPs          []netip.Addr
	LoadBalancer         []LoadBalancerIngress // status.loadBalancer.ingress
	LoadBalancerClass    string                // "" when not set
	LoadBalancerIP       string                // deprecated spec.loadBalancerIP, as written
	SourceRanges         []netip.Prefix        // loadBalancerSourceRanges; nil: all
	HealthCheckNodePort  uint16
	InternalLocal        bool          // internalTrafficPolicy: Local
	ExternalLocal        bool          // externalTrafficPolicy: Local
	Affinity             time.Duration // sessionAffinity ClientIP with its timeout; 0: none
	PublishNotReady      bool          // publishNotReadyAddresses
	ForeignProxy         bool          // label service.kubernetes.io/service-proxy-name is present
	AllocateNodePortsOff bool          // allocateLoadBalancerNodePorts: false
	Deleting             bool          // deletionTimestamp is set
}

// ServicePort is one entry of spec.ports. Its identity inside a Service is
// (Name, Protocol): the same number may appear under TCP and UDP.
type ServicePort struct {
	Name        string // "" only where there is a single port
	Protocol    Protocol
	Port        uint16
	NodePort    uint16 // 0: none
	TargetPort  IntOrString
	AppProtocol string
}

// LoadBalancerIngress is one entry of status.loadBalancer.ingress.
type LoadBalancerIngress struct {
	IP       netip.Addr // invalid if the entry has only a hostname
	Hostname string
	Proxy    bool // ipMode: Proxy; the address must not be short-circuited (KEP-1860)
}

// EndpointSlice is discovery/v1 EndpointSlice.
type EndpointSlice struct {
	Name
	Service   string // label kubernetes.io/service-name; same namespace
	Family    Family
	Ports     []EndpointPort
	Endpoints []Endpoint
	Named     *NamedEndpoints // in place of Endpoints where only names are wanted: those that are ready
	Headless  bool            // label service.kubernetes.io/headless: proxies skip it, DNS does not

	// DomainNames are the addresses of a slice of type FQDN, which has neither
	// Family nor Endpoints: nobody uses them but to say so.
	DomainNames []string

	// Triggered is when the change happened that the slice follows from (its
	// controller's annotation); zero if it does not say.
	Triggered time.Time
}

// NamedEndpoints are what names are made of: there may be very many.
type NamedEndpoints struct {
	Addrs     []netip.Addr
	Hostnames []string // of each, "" if it has none; nil: none has
}

// Key is the slice's key in its state table: all slices of a Service share the
// prefix "namespace/service/".
func (s *EndpointSlice) Key() string { return s.Namespace + "/" + s.Service + "/" + s.Name.Name }

// EndpointPort is one port of a slice; Name joins it to a ServicePort.
type EndpointPort struct {
	Name        string
	Protocol    Protocol
	Port        uint16 // 0: all ports (only without a name); proxies ignore it
	AppProtocol string
}

// Endpoint is one endpoint of a slice. Conditions have the API's defaults
// applied: a nil ready is true, a nil serving is true, too, a nil terminating is false.
type Endpoint struct {
	Addr        netip.Addr // addresses[0]; the others are ignored as in KEP-752
	Ready       bool       // already true for publishNotReadyAddresses, even if Terminating
	Serving     bool
	Terminating bool
	Hostname    string // for DNS: pod hostname where subdomain = Service
	Node        string // "" if unknown
	Zone        string
	ZoneHints   []string
	NodeHints   []string
	Pod         string // targetRef of kind Pod, same namespace; "" for others
}
