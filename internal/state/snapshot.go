package state

import (
	"fmt"
	"iter"

	"github.com/fairway-net/fairway/internal/model"
)

// Snapshot is everything known at one moment. Keys are Name.String(), but for
// slices (EndpointSlice.Key, so that a Service's slices share a prefix).
type Snapshot struct {
	Revision uint64 // grows with every change

	Services       Table[*model.Service]
	Slices         Table[*model.EndpointSlice]
	Pods           Table[*model.Pod]
	Namespaces     Table[*model.Namespace]
	Nodes          Table[*model.Node]
	Policies       Table[*model.NetworkPolicy]
	Ingresses      Table[*model.Ingress]
	IngressClasses Table[*model.IngressClass]
	Secrets        Table[*model.Secret]
	ConfigMaps     Table[*model.ConfigMap]
	ServiceCIDRs   Table[*model.ServiceCIDR]

	synced uint32 // bit per model.Kind
}

// Synced reports whether the sources of all kinds have delivered their first
// complete list.
func (s *Snapshot) Synced(kinds ...model.Kind) bool {
	for _, k := range kinds {
		if s.synced&(1<<k) == 0 {
			return false
		}
	}
	return true
}

// SlicesOf yields the EndpointSlices of a Service.
func (s *Snapshot) SlicesOf(service model.Name) iter.Seq2[string, *model.EndpointSlice] {
	return s.Slices.Prefix(service.String() + "/")
}

// Service, Pod, Namespace and Node return nil where there is none.
func (s *Snapshot) Service(n model.Name) *model.Service { v, _ := s.Services.Get(n.String()); return v }

// Pod returns the Pod called n, or nil.
func (s *Snapshot) Pod(n model.Name) *model.Pod { v, _ := s.Pods.Get(n.String()); return v }

// Namespace returns the Namespace, or nil.
func (s *Snapshot) Namespace(name string) *model.Namespace {
	v, _ := s.Namespaces.Get(name)
	return v
}

// Node returns the Node, or nil.
func (s *Snapshot) Node(name string) *model.Node { v, _ := s.Nodes.Get(name); return v }

// Get returns the object under a key of its kind's table.
func (s *Snapshot) Get(kind model.Kind, key string) (any, bool) { return s.table(kind).get(key) }

// table returns the table of a kind; only the transaction that owns s writes to it.
func (s *Snapshot) table(k model.Kind) interface {
	get(key string) (any, bool)
	set(key string, v any, revision uint64)
	del(key string, revision uint64)
} {
	switch k {
	case model.KindService:
		return &s.Services
	case model.KindEndpointSlice:
		return &s.Slices
	case model.KindPod:
		return &s.Pods
	case model.KindNamespace:
		return &s.Namespaces
	case model.KindNode:
		return &s.Nodes
	case model.KindNetworkPolicy:
		return &s.Policies
	case model.KindIngress:
		return &s.Ingresses
	case model.KindIngressClass:
		return &s.IngressClasses
	case model.KindSecret:
		return &s.Secrets
	case model.KindConfigMap:
		return &s.ConfigMaps
	case model.KindServiceCIDR:
		return &s.ServiceCIDRs
	}
	panic(fmt.Sprintf("state: no table for %v", k))
}

// ChangeOf names an object of the model: its kind, and its key in the kind's table.
func ChangeOf(v any) Change {
	switch v := v.(type) {
	case *model.Service:
		return Change{model.KindService, v.String()}
	case *model.EndpointSlice:
		return Change{model.KindEndpointSlice, v.Key()}
	case *model.Pod:
		return Change{model.KindPod, v.String()}
	case *model.Namespace:
		return Change{model.KindNamespace, v.Name}
	case *model.Node:
		return Change{model.KindNode, v.Name}
	case *model.NetworkPolicy:
		return Change{model.KindNetworkPolicy, v.String()}
	case *model.Ingress:
		return Change{model.KindIngress, v.String()}
	case *model.IngressClass:
		return Change{model.KindIngressClass, v.Name}
	case *model.Secret:
		return Change{model.KindSecret, v.String()}
	case *model.ConfigMap:
		return Change{model.KindConfigMap, v.String()}
	case *model.ServiceCIDR:
		return Change{model.KindServiceCIDR, v.Name}
	}
	panic(fmt.Sprintf("state: no table for %T", v))
}
