package kube

import (
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairway-net/fairway/internal/model"
)

const labelProxyName = "service.kubernetes.io/service-proxy-name"

func convertService(o *corev1.Service) *model.Service {
	spec := &o.Spec
	s := &model.Service{
		Name: nameOf(&o.ObjectMeta), UID: string(o.UID), Created: o.CreationTimestamp.Time,
		Annotations:          ours(o.Annotations),
		Headless:             spec.ClusterIP == corev1.ClusterIPNone,
		ExternalName:         strings.TrimSuffix(spec.ExternalName, "."),
		ExternalIPs:          addrs(spec.ExternalIPs...),
		LoadBalancer:         convertLBStatus(o.Status.LoadBalancer.Ingress),
		LoadBalancerClass:    deref(spec.LoadBalancerClass, ""),
		LoadBalancerIP:       spec.LoadBalancerIP,
		SourceRanges:         prefixes(spec.LoadBalancerSourceRanges),
		HealthCheckNodePort:  uint16(spec.HealthCheckNodePort),
		InternalLocal:        deref(spec.InternalTrafficPolicy, "") == corev1.ServiceInternalTrafficPolicyLocal,
		ExternalLocal:        spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		PublishNotReady:      spec.PublishNotReadyAddresses,
		AllocateNodePortsOff: !deref(spec.AllocateLoadBalancerNodePorts, true),
		Deleting:             o.DeletionTimestamp != nil,
	}
	_, s.ForeignProxy = o.Labels[labelProxyName]
	switch spec.Type {
	case corev1.ServiceTypeNodePort:
		s.Type = model.NodePort
	case corev1.ServiceTypeLoadBalancer:
		s.Type = model.LoadBalancer
	case corev1.ServiceTypeExternalName:
		s.Type = model.ExternalName
	}
	if !s.Headless {
		s.ClusterIPs = addrs(spec.ClusterIPs...)
		if len(s.ClusterIPs) == 0 {
			s.ClusterIPs = addrs(spec.ClusterIP)
		}
	}
	for _, f := range spec.IPFamilies {
		if f == corev1.IPv6Protocol {
			s.Families = append(s.Families, model.IPv6)
		} else {
			s.Families = append(s.Families, model.IPv4)
		}
	}
	if spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		s.Affinity = time.Duration(corev1.DefaultClientIPServiceAffinitySeconds) * time.Second
		if c := spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
			s.Affinity = time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
		}
	}
	for i := range spec.Ports {
		p := &spec.Ports[i]
		s.Ports = append(s.Ports, model.ServicePort{
			Name: p.Name, Protocol: protocol(&p.Protocol), Port: uint16(p.Port), NodePort: uint16(p.NodePort),
			TargetPort: intOrString(p.TargetPort), AppProtocol: deref(p.AppProtocol, ""),
		})
	}
	return s
}

func convertLBStatus(in []corev1.LoadBalancerIngress) []model.LoadBalancerIngress {
	var out []model.LoadBalancerIngress
	for _, e := range in {
		ip, _ := netip.ParseAddr(e.IP)
		out = append(out, model.LoadBalancerIngress{
			IP: ip.Unmap(), Hostname: e.Hostname,
			Proxy: deref(e.IPMode, corev1.LoadBalancerIPModeVIP) == corev1.LoadBalancerIPModeProxy,
		})
	}
	return out
}

func intOrString(v intstr.IntOrString) model.IntOrString {
	if v.Type == intstr.String {
		return model.IntOrString{Str: v.StrVal}
	}
	return model.IntOrString{Int: uint16(v.IntVal)}
}

// convertSlice returns nil for slices that belong to no Service.
func convertSlice(o *discoveryv1.EndpointSlice) *model.EndpointSlice {
	s := &model.EndpointSlice{Name: nameOf(&o.ObjectMeta), Service: o.Labels[discoveryv1.LabelServiceName]}
	switch o.AddressType {
	case discoveryv1.AddressTypeIPv4:
		s.Family = model.IPv4
	case discoveryv1.AddressTypeIPv6:
		s.Family = model.IPv6
	case discoveryv1.AddressTypeFQDN:
		s.DomainNames = domainNames(o)
	default:
		return nil
	}
	if s.Service == "" {
		return nil
	}
	// The API does not check annotations; what is no time says nothing.
	s.Triggered, _ = time.Parse(time.RFC3339Nano, o.Annotations[corev1.EndpointsLastChangeTriggerTime])
	_, s.Headless = o.Labels[corev1.IsHeadlessService]
	s.Ports = make([]model.EndpointPort, 0, len(o.Ports))
	for i := range o.Ports {
		p := &o.Ports[i]
		s.Ports = append(s.Ports, model.EndpointPort{
			Name: deref(p.Name, ""), Protocol: protocol(p.Protocol), Port: uint16(deref(p.Port, 0)), AppProtocol: deref(p.AppProtocol, ""),
		})
	}
	if s.DomainNames != nil {
		return s
	}
	s.Endpoints = make([]model.Endpoint, 0, len(o.Endpoints))
	for i := range o.Endpoints {
		if e, ok := convertEndpoint(&o.Endpoints[i]); ok {
			s.Endpoints = append(s.Endpoints, e)
		}
	}
	return s
}

func domainNames(o *discoveryv1.EndpointSlice) []string {
	names := []string{}
	for i := range o.Endpoints {
		names = append(names, o.Endpoints[i].Addresses...)
	}
	return names
}

func convertEndpoint(o *discoveryv1.Endpoint) (model.Endpoint, bool) {
	if len(o.Addresses) == 0 {
		return model.Endpoint{}, false
	}
	addr, err := netip.ParseAddr(o.Addresses[0])
	if err != nil {
		return model.Endpoint{}, false
	}
	e := model.Endpoint{
		Addr: addr.Unmap(), Hostname: deref(o.Hostname, ""), Node: deref(o.NodeName, ""), Zone: deref(o.Zone, ""),
		Ready:       deref(o.Conditions.Ready, true),
		Terminating: deref(o.Conditions.Terminating, false),
	}
	e.Serving = deref(o.Conditions.Serving, true)
	if r := o.TargetRef; r != nil && r.Kind == "Pod" {
		e.Pod = r.Name
	}
	if h := o.Hints; h != nil {
		for _, z := range h.ForZones {
			e.ZoneHints = append(e.ZoneHints, z.Name)
		}
		for _, n := range h.ForNodes {
			e.NodeHints = append(e.NodeHints, n.Name)
		}
	}
	return e, true
}
