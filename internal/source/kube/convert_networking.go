package kube

import (
	"maps"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-net/fairway/internal/model"
)

// annotationClass is how an Ingress named its class before spec.ingressClassName.
const annotationClass = "kubernetes.io/ingress.class"

func convertPolicy(o *networkingv1.NetworkPolicy) *model.NetworkPolicy {
	p := &model.NetworkPolicy{Name: nameOf(&o.ObjectMeta), UID: string(o.UID), Pods: *selector(&o.Spec.PodSelector)}
	for _, t := range o.Spec.PolicyTypes {
		p.Ingress = p.Ingress || t == networkingv1.PolicyTypeIngress
		p.Egress = p.Egress || t == networkingv1.PolicyTypeEgress
	}
	if len(o.Spec.PolicyTypes) == 0 { // the API's default, for objects that were not defaulted
		p.Ingress, p.Egress = true, len(o.Spec.Egress) > 0
	}
	for i := range o.Spec.Ingress {
		r := &o.Spec.Ingress[i]
		p.IngressRules = append(p.IngressRules, model.PolicyRule{Peers: peers(r.From), Ports: policyPorts(r.Ports)})
	}
	for i := range o.Spec.Egress {
		r := &o.Spec.Egress[i]
		p.EgressRules = append(p.EgressRules, model.PolicyRule{Peers: peers(r.To), Ports: policyPorts(r.Ports)})
	}
	return p
}

func peers(in []networkingv1.NetworkPolicyPeer) []model.PolicyPeer {
	var out []model.PolicyPeer
	for i := range in {
		peer := model.PolicyPeer{Pods: selector(in[i].PodSelector), Namespaces: selector(in[i].NamespaceSelector)}
		if b := in[i].IPBlock; b != nil {
			// A CIDR that does not parse selects nothing: fail closed.
			cidr, _ := netip.ParsePrefix(b.CIDR)
			peer.Block = &model.IPBlock{CIDR: cidr.Masked(), Except: prefixes(b.Except)}
		}
		out = append(out, peer)
	}
	return out
}

func policyPorts(in []networkingv1.NetworkPolicyPort) []model.PolicyPort {
	var out []model.PolicyPort
	for i := range in {
		p := model.PolicyPort{Protocol: protocol(in[i].Protocol), EndPort: uint16(deref(in[i].EndPort, 0))}
		if in[i].Port != nil {
			p.Port = intOrString(*in[i].Port)
		}
		out = append(out, p)
	}
	return out
}

func selector(in *metav1.LabelSelector) *model.Selector {
	if in == nil {
		return nil
	}
	s := &model.Selector{MatchLabels: in.MatchLabels}
	for i := range in.MatchExpressions {
		e := &in.MatchExpressions[i]
		s.MatchExpressions = append(s.MatchExpressions, model.Requirement{Key: e.Key, Operator: string(e.Operator), Values: e.Values})
	}
	return s
}

func convertIngress(o *networkingv1.Ingress) *model.Ingress {
	m := &model.Ingress{
		Name: nameOf(&o.ObjectMeta), UID: string(o.UID), Created: o.CreationTimestamp.Time, Generation: o.Generation,
		ClassName: deref(o.Spec.IngressClassName, ""), ClassAnnotation: o.Annotations[annotationClass],
		Annotations: withoutApplied(o.Annotations),
	}
	if b := o.Spec.DefaultBackend; b != nil {
		backend := ingressBackend(b)
		m.Default = &backend
	}
	for i := range o.Spec.Rules {
		r := &o.Spec.Rules[i]
		rule := model.IngressRule{Host: r.Host}
		if r.HTTP != nil {
			for j := range r.HTTP.Paths {
				p := &r.HTTP.Paths[j]
				rule.Paths = append(rule.Paths, model.IngressPath{Path: p.Path, Type: pathType(p.PathType), Backend: ingressBackend(&p.Backend)})
			}
		}
		m.Rules = append(m.Rules, rule)
	}
	for i := range o.Spec.TLS {
		m.TLS = append(m.TLS, model.IngressTLS{Hosts: o.Spec.TLS[i].Hosts, Secret: o.Spec.TLS[i].SecretName})
	}
	for _, e := range o.Status.LoadBalancer.Ingress {
		ip, _ := netip.ParseAddr(e.IP)
		m.Status = append(m.Status, model.LoadBalancerIngress{IP: ip.Unmap(), Hostname: e.Hostname})
	}
	return m
}

// withoutApplied drops kubectl's copy of the whole object.
func withoutApplied(annotations map[string]string) map[string]string {
	if _, ok := annotations[corev1.LastAppliedConfigAnnotation]; !ok {
		return annotations
	}
	out := maps.Clone(annotations)
	delete(out, corev1.LastAppliedConfigAnnotation)
	return out
}

func pathType(t *networkingv1.PathType) model.PathType {
	switch deref(t, networkingv1.PathTypeImplementationSpecific) {
	case networkingv1.PathTypeExact:
		return model.Exact
	case networkingv1.PathTypePrefix:
		return model.Prefix
	}
	return model.ImplementationSpecific
}

func ingressBackend(b *networkingv1.IngressBackend) model.IngressBackend {
	var out model.IngressBackend
	if s := b.Service; s != nil {
		out.Service = s.Name
		out.Port = model.IntOrString{Int: uint16(s.Port.Number), Str: s.Port.Name}
	}
	if r := b.Resource; r != nil {
		out.Resource = r.Kind + "/" + r.Name
	}
	return out
}
