package model

import (
	"net/netip"
	"time"
)

// Pod is core/v1 Pod.
type Pod struct {
	Name
	UID         string
	Node        string
	IPs         []netip.Addr
	HostNetwork bool
	Labels      map[string]string
	Annotations map[string]string // only fairway.dev/*
	Ports       []ContainerPort
	Done        bool // phase Succeeded or Failed: its addresses are free again
	Deleting    bool
	Hostname    string
	Subdomain   string
	// Search: its resolv.conf has the cluster's search domains and no others
	// but the node's (dnsPolicy ClusterFirst without searches of its own).
	Search bool
	// Resolver is what its resolv.conf has otherwise; nil: what kubelet writes
	// for dnsPolicy ClusterFirst.
	Resolver *Resolver
}

// Resolver is what differs in a pod's resolv.conf (spec.dnsPolicy and spec.dnsConfig).
type Resolver struct {
	Policy string   // dnsPolicy, if it is not ClusterFirst: "ClusterFirstWithHostNet", "Default", "None"
	Search []string // dnsConfig.searches: after the policy's
	Ndots  int      // dnsConfig.options; -1: not set
}

// ContainerPort is a declared port of a container, restartable init containers included.
type ContainerPort struct {
	Name     string
	Port     uint16
	Protocol Protocol
	HostPort uint16 // 0: none
	HostIP   netip.Addr
}

// Namespace is core/v1 Namespace.
type Namespace struct {
	Name        string
	Labels      map[string]string
	Annotations map[string]string // only fairway.dev/*
}

// Node is core/v1 Node.
type Node struct {
	Name        string
	InternalIPs []netip.Addr // one per family, as the node prefers them
	PodCIDRs    []netip.Prefix
	Zone        string // label topology.kubernetes.io/zone
	Labels      map[string]string
	Ready       bool
	ExcludeLB   bool // label node.kubernetes.io/exclude-from-external-load-balancers
	Deleting    bool // deletionTimestamp or taint ToBeDeletedByClusterAutoscaler
}

// ServiceCIDR is networking/v1 ServiceCIDR: ranges that ClusterIPs are taken from.
type ServiceCIDR struct {
	Name  string
	CIDRs []netip.Prefix // at most one of each family
}

// NetworkPolicy is networking/v1 NetworkPolicy with defaults applied: Ingress
// and Egress say which directions it isolates.
type NetworkPolicy struct {
	Name
	UID          string
	Pods         Selector
	Ingress      bool
	Egress       bool
	IngressRules []PolicyRule
	EgressRules  []PolicyRule
}

// PolicyRule allows Peers × Ports. No Peers: any peer. No Ports: any port of any protocol.
type PolicyRule struct {
	Peers []PolicyPeer
	Ports []PolicyPort
}

// PolicyPeer is one item of from/to: either Block, or selectors. With both
// selectors they must both match; PodSelector alone means the policy's own namespace.
type PolicyPeer struct {
	Pods       *Selector // nil: not given (differs from empty, which selects all)
	Namespaces *Selector
	Block      *IPBlock
}

// IPBlock is a CIDR without its exceptions.
type IPBlock struct {
	CIDR   netip.Prefix
	Except []netip.Prefix
}

// PolicyPort is one item of ports. Port zero: all ports of Protocol. EndPort 0: only Port.
type PolicyPort struct {
	Protocol Protocol
	Port     IntOrString
	EndPort  uint16
}

// Selector is meta/v1 LabelSelector. The zero value selects everything.
type Selector struct {
	MatchLabels      map[string]string
	MatchExpressions []Requirement
}

// Requirement is one matchExpressions item.
type Requirement struct {
	Key      string
	Operator string // In, NotIn, Exists, DoesNotExist
	Values   []string
}

// Ingress is networking/v1 Ingress.
type Ingress struct {
	Name
	UID             string
	Created         time.Time
	Generation      int64
	ClassName       string // spec.ingressClassName; "" when not set
	ClassAnnotation string // kubernetes.io/ingress.class, the older way
	Annotations     map[string]string
	Default         *IngressBackend
	Rules           []IngressRule
	TLS             []IngressTLS
	Status          []LoadBalancerIngress
}

// IngressRule is one host with its paths. Host "": all hosts.
type IngressRule struct {
	Host  string
	Paths []IngressPath // nil where the rule has no http part
}

// IngressPath is one path of a rule.
type IngressPath struct {
	Path    string // "" is "/"
	Type    PathType
	Backend IngressBackend
}

// PathType is networking/v1 PathType.
type PathType uint8

// The three path types.
const (
	ImplementationSpecific PathType = iota
	Exact
	Prefix
)

func (t PathType) String() string {
	return [...]string{"ImplementationSpecific", "Exact", "Prefix"}[t]
}

// IngressBackend is a Service port, or a Resource that we may not know.
type IngressBackend struct {
	Service  string // same namespace as the Ingress
	Port     IntOrString
	Resource string // "Kind/name" of backend.resource; excludes Service
}

// IngressTLS names the Secret for Hosts. Empty Secret: the default certificate.
type IngressTLS struct {
	Hosts  []string
	Secret string
}

// IngressClass is networking/v1 IngressClass.
type IngressClass struct {
	Name       string
	Controller string
	Default    bool // annotation ingressclass.kubernetes.io/is-default-class
	Created    time.Time
}

// Secret holds the data of a Secret that somebody refers to. Only the gateway's
// and the controller's sources ever read Secrets.
type Secret struct {
	Name
	Type string // "kubernetes.io/tls", …
	Data map[string][]byte
}

// ConfigMap holds the data of a ConfigMap that somebody refers to.
type ConfigMap struct {
	Name
	Data map[string]string
}
