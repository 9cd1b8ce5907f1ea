package model

import (
	"cmp"
	"fmt"
	"strings"
)

// Name names a namespaced object. Cluster-scoped objects have an empty Namespace.
type Name struct {
	Namespace, Name string
}

// String is "namespace/name", or "name" for a cluster-scoped object. It is also
// the object's key in a state table.
func (n Name) String() string {
	if n.Namespace == "" {
		return n.Name
	}
	return n.Namespace + "/" + n.Name
}

// Compare orders by namespace, then name.
func (n Name) Compare(m Name) int {
	return cmp.Or(strings.Compare(n.Namespace, m.Namespace), strings.Compare(n.Name, m.Name))
}

// ParseName is the inverse of String.
func ParseName(s string) Name {
	if ns, name, ok := strings.Cut(s, "/"); ok {
		return Name{ns, name}
	}
	return Name{Name: s}
}

// Kind is a kind of object that Fairway watches.
type Kind uint8

// The kinds; each has one table in the state.
const (
	KindService Kind = iota
	KindEndpointSlice
	KindPod
	KindNamespace
	KindNode
	KindNetworkPolicy
	KindIngress
	KindIngressClass
	KindSecret
	KindConfigMap
	KindServiceCIDR
	NumKinds int = iota
)

var kindNames = [NumKinds]string{"Service", "EndpointSlice", "Pod", "Namespace", "Node", "NetworkPolicy", "Ingress", "IngressClass", "Secret", "ConfigMap", "ServiceCIDR"}

// String is the kind as Kubernetes writes it.
func (k Kind) String() string {
	if int(k) < NumKinds {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Ref points at an API object: what an Event or a message is about.
type Ref struct {
	Kind Kind
	Name
	UID string // may be empty
}

// String is "Kind namespace/name".
func (r Ref) String() string { return r.Kind.String() + " " + r.Name.String() }

// Rejected is a planner's way to say that part of an object cannot be done as
// written. The rest of the object and all other objects are not affected.
type Rejected struct {
	Ref     Ref
	Field   string // path of the field, "spec.rules[0].http.paths[1].backend.service.port.number"
	Reason  string // CamelCase, stable, as in an Event's reason: "PortNotFound"
	Message string // what is wrong, with the values: one sentence
	Fix     string // what to write instead: one sentence
}

// String is the message as an Event or a terminal shows it.
func (r Rejected) String() string {
	s := r.Message
	if r.Field != "" {
		s = r.Field + ": " + s
	}
	if r.Fix != "" {
		s += "; " + r.Fix
	}
	return s
}

// Compare orders rejections by object, field and reason, so that plans are deterministic.
func (r Rejected) Compare(o Rejected) int {
	return cmp.Or(cmp.Compare(r.Ref.Kind, o.Ref.Kind), r.Ref.Name.Compare(o.Ref.Name),
		strings.Compare(r.Field, o.Field), strings.Compare(r.Reason, o.Reason), strings.Compare(r.Message, o.Message))
}
