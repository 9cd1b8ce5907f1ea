package kube

import (
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-net/fairway/internal/model"
)

// Convert turns an API object into its model value and the key of its table.
// The value is nil for an object that Fairway has no use for. Values that the
// API server would have refused (an address that does not parse) are left out.
func Convert(obj any) (key string, v any) {
	switch o := obj.(type) {
	case *corev1.Service:
		m := convertService(o)
		return m.String(), m
	case *discoveryv1.EndpointSlice:
		m := convertSlice(o)
		if m == nil {
			return "", nil
		}
		return m.Key(), m
	case *corev1.Pod:
		m := convertPod(o)
		return m.String(), m
	case *corev1.Namespace:
		return o.Name, &model.Namespace{Name: o.Name, Labels: o.Labels, Annotations: ours(o.Annotations)}
	case *corev1.Node:
		return o.Name, convertNode(o)
	case *networkingv1.NetworkPolicy:
		m := convertPolicy(o)
		return m.String(), m
	case *networkingv1.Ingress:
		m := convertIngress(o)
		return m.String(), m
	case *networkingv1.IngressClass:
		return o.Name, &model.IngressClass{Name: o.Name, Controller: o.Spec.Controller, Created: o.CreationTimestamp.Time,
			Default: o.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true"}
	case *corev1.Secret:
		m := &model.Secret{Name: nameOf(&o.ObjectMeta), Type: string(o.Type), Data: o.Data}
		return m.String(), m
	case *corev1.ConfigMap:
		m := &model.ConfigMap{Name: nameOf(&o.ObjectMeta), Data: o.Data}
		return m.String(), m
	case *networkingv1.ServiceCIDR:
		return o.Name, &model.ServiceCIDR{Name: o.Name, CIDRs: prefixes(o.Spec.CIDRs)}
	}
	return "", nil
}

func nameOf(m *metav1.ObjectMeta) model.Name { return model.Name{Namespace: m.Namespace, Name: m.Name} }

// dialectPrefixes are the annotation domains of Services that a planner reads.
var dialectPrefixes = []string{"fairway.dev/", "metallb.io/", "metallb.universe.tf/"}

// ours keeps the annotations that begin with one of the dialects' prefixes.
func ours(annotations map[string]string) map[string]string {
	var out map[string]string
	for k, v := range annotations {
		for _, p := range dialectPrefixes {
			if strings.HasPrefix(k, p) {
				if out == nil {
					out = map[string]string{}
				}
				out[k] = v
			}
		}
	}
	return out
}

func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range texts {
		if a, err := netip.ParseAddr(strings.TrimSpace(s)); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}

func prefixes(texts []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range texts {
		if p, err := netip.ParsePrefix(strings.TrimSpace(s)); err == nil {
			out = append(out, p.Masked())
		}
	}
	return out
}

func protocol(p *corev1.Protocol) model.Protocol {
	if p == nil {
		return model.TCP
	}
	proto, _ := model.ParseProtocol(string(*p))
	return proto
}

// deref returns *p, or def where p is nil.
func deref[T any](p *T, def T) T {
	if p == nil {
		return def
	}
	return *p
}
