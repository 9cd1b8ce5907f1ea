package kube

import (
	"net/netip"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairway-net/fairway/internal/model"
)

const (
	labelExcludeLB  = corev1.LabelNodeExcludeBalancers
	taintAutoscaler = "ToBeDeletedByClusterAutoscaler"
)

func convertPod(o *corev1.Pod) *model.Pod {
	p := &model.Pod{
		Name: nameOf(&o.ObjectMeta), UID: string(o.UID), Node: o.Spec.NodeName, HostNetwork: o.Spec.HostNetwork,
		Labels: o.Labels, Annotations: ours(o.Annotations),
		Done:     o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed,
		Deleting: o.DeletionTimestamp != nil,
		Hostname: o.Spec.Hostname, Subdomain: o.Spec.Subdomain,
		Resolver: convertResolver(&o.Spec),
	}
	p.Search = p.Resolver == nil || p.Resolver.Policy == "" && len(p.Resolver.Search) == 0
	for _, ip := range o.Status.PodIPs {
		p.IPs = append(p.IPs, addrs(ip.IP)...)
	}
	for i := range o.Spec.InitContainers {
		c := &o.Spec.InitContainers[i]
		if deref(c.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways { // a sidecar (KEP-753) serves
			p.Ports = append(p.Ports, containerPorts(c)...)
		}
	}
	for i := range o.Spec.Containers {
		p.Ports = append(p.Ports, containerPorts(&o.Spec.Containers[i])...)
	}
	return p
}

func convertResolver(o *corev1.PodSpec) *model.Resolver {
	r := &model.Resolver{Ndots: -1}
	if o.DNSPolicy != corev1.DNSClusterFirst { // "": a manifest without the API server's default, which is that
		r.Policy = string(o.DNSPolicy)
	}
	if c := o.DNSConfig; c != nil {
		r.Search = c.Searches
		for _, option := range c.Options {
			if n, err := strconv.Atoi(deref(option.Value, "")); option.Name == "ndots" && err == nil {
				r.Ndots = n
			}
		}
	}
	if r.Policy == "" && len(r.Search) == 0 && r.Ndots < 0 {
		return nil
	}
	return r
}

func containerPorts(c *corev1.Container) []model.ContainerPort {
	var out []model.ContainerPort
	for i := range c.Ports {
		p := &c.Ports[i]
		hostIP, _ := netip.ParseAddr(p.HostIP)
		out = append(out, model.ContainerPort{
			Name: p.Name, Port: uint16(p.ContainerPort), Protocol: protocol(&p.Protocol), HostPort: uint16(p.HostPort), HostIP: hostIP.Unmap(),
		})
	}
	return out
}

func convertNode(o *corev1.Node) *model.Node {
	n := &model.Node{
		Name: o.Name, Labels: o.Labels, Zone: o.Labels[corev1.LabelTopologyZone],
		PodCIDRs: prefixes(o.Spec.PodCIDRs),
		Deleting: o.DeletionTimestamp != nil,
	}
	if len(n.PodCIDRs) == 0 {
		n.PodCIDRs = prefixes([]string{o.Spec.PodCIDR})
	}
	_, n.ExcludeLB = o.Labels[labelExcludeLB]
	have := map[model.Family]bool{}
	for _, a := range o.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		for _, ip := range addrs(a.Address) {
			if f := model.FamilyOf(ip); !have[f] {
				have[f] = true
				n.InternalIPs = append(n.InternalIPs, ip)
			}
		}
	}
	for i := range o.Status.Conditions {
		if c := &o.Status.Conditions[i]; c.Type == corev1.NodeReady {
			n.Ready = c.Status == corev1.ConditionTrue
		}
	}
	for i := range o.Spec.Taints {
		n.Deleting = n.Deleting || o.Spec.Taints[i].Key == taintAutoscaler
	}
	return n
}
