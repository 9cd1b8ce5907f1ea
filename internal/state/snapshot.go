package state

import (
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
