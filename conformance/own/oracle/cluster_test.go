package oracle

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// choices turns bytes into decisions, so that a fuzzer's mutation of a byte
// changes one of them. After the last byte all are 0.
type choices []byte

func (c *choices) of(n int) int {
	if len(*c) == 0 {
		return 0
	}
	b := (*c)[0]
	*c = (*c)[1:]
	return int(b) % n
}

// oneIn is true about once in n; at the end of the bytes it is false.
func (c *choices) oneIn(n int) bool { return c.of(n) == n-1 }

// world is all that a proxy on the node "here" looks at for one Service.
type world struct {
	service *corev1.Service
	slices  []*discoveryv1.EndpointSlice
	node    *corev1.Node
}

var (
	nodes = []string{"here", "there", "beyond"}
	zones = []string{"z1", "z2", "z3"}
)

func (c *choices) world() world {
	w := world{
		service: c.service(),
		node: &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "here", Labels: map[string]string{}},
			Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}}},
		},
	}
	if !c.oneIn(4) {
		w.node.Labels[corev1.LabelTopologyZone] = zones[c.of(len(zones))]
	}
	pods := map[string]*pods{}
	for i := range c.of(5) {
		w.slices = append(w.slices, c.slice(i, pods))
	}
	return w
}

func (c *choices) service() *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", Labels: map[string]string{}}}
	s.Spec.ClusterIPs = [][]string{{"10.96.0.1"}, {"10.96.0.1", "fd00::1"}, {"fd00::1"}, {"fd00::1", "10.96.0.1"}, {corev1.ClusterIPNone}}[c.of(5)]
	s.Spec.ClusterIP = s.Spec.ClusterIPs[0]
	for _, ip := range s.Spec.ClusterIPs {
		family := corev1.IPv4Protocol
		if strings.Contains(ip, ":") {
			family = corev1.IPv6Protocol
		}
		s.Spec.IPFamilies = append(s.Spec.IPFamilies, family)
	}
	s.Spec.Type = []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName}[c.of(4)]
	external := s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer
	names := []struct {
		name     string
		protocol corev1.Protocol
	}{{"http", corev1.ProtocolTCP}, {"dns", corev1.ProtocolUDP}, {"dns-tcp", corev1.ProtocolTCP}}
	for i, p := range names[:1+c.of(3)] {
		port := corev1.ServicePort{Name: p.name, Protocol: p.protocol, Port: int32(80 + i)}
		if external && !c.oneIn(3) {
			port.NodePort = int32(30000 + i)
		}
		s.Spec.Ports = append(s.Spec.Ports, port)
	}
	internal := []corev1.ServiceInternalTrafficPolicy{corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal}[c.of(2)]
	s.Spec.InternalTrafficPolicy = &internal
	if c.oneIn(3) {
		s.Spec.ExternalIPs = []string{"203.0.113.1", "2001:db8::1"}[:1+c.of(2)]
	}
	if external || len(s.Spec.ExternalIPs) > 0 {
		s.Spec.ExternalTrafficPolicy = []corev1.ServiceExternalTrafficPolicy{corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal}[c.of(2)]
	}
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		if s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
			s.Spec.HealthCheckNodePort = 32000
		}
		vip, proxy := corev1.LoadBalancerIPModeVIP, corev1.LoadBalancerIPModeProxy
		ingress := []corev1.LoadBalancerIngress{{IP: "198.51.100.1", IPMode: &vip}, {IP: "2001:db8::2"}, {IP: "198.51.100.2", IPMode: &proxy}, {Hostname: "lb.example"}}
		at := c.of(len(ingress))
		s.Status.LoadBalancer.Ingress = ingress[at : at+c.of(len(ingress)-at+1)]
		ranges := []string{"10.0.0.0/8", " 192.0.2.0/24", "0.0.0.0/0", "2001:db8::/32", "::/0"}
		at = c.of(len(ranges))
		s.Spec.LoadBalancerSourceRanges = ranges[at : at+c.of(len(ranges)-at+1)]
	}
	if c.oneIn(4) {
		seconds := int32(1 + c.of(100))
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
	}
	if c.oneIn(20) {
		s.Labels["service.kubernetes.io/service-proxy-name"] = "other"
	}
	return s
}

// pods are those that have the same address: at most one that is not
// terminating, and any number of copies of one that is, for kube-proxy calls
// the outcome of everything else undefined.
type pods struct {
	running     bool
	terminating *discoveryv1.Endpoint
}

func (c *choices) slice(i int, byAddress map[string]*pods) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: fmt.Sprintf("web-%d", i), Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
	}
	s.AddressType = []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN}[c.of(20)%11%3]
	if c.oneIn(20) {
		s.Labels[corev1.IsHeadlessService] = ""
	}
	protocols := []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolTCP}
	for j, name := range []string{"http", "dns", "dns-tcp"} {
		if c.oneIn(4) {
			continue
		}
		p := discoveryv1.EndpointPort{Name: &name, Protocol: &protocols[j]}
		if !c.oneIn(10) {
			number := int32(8000 + j + 10*c.of(2))
			p.Port = &number
		}
		s.Ports = append(s.Ports, p)
	}
	format := map[discoveryv1.AddressType]string{discoveryv1.AddressTypeIPv4: "10.1.0.%d", discoveryv1.AddressTypeIPv6: "fd01::%d", discoveryv1.AddressTypeFQDN: "pod%d.example"}[s.AddressType]
	for range c.of(5) {
		address := fmt.Sprintf(format, 1+c.of(6))
		if byAddress[address] == nil {
			byAddress[address] = &pods{}
		}
		s.Endpoints = append(s.Endpoints, *c.endpoint(address, byAddress[address]))
	}
	return s
}

func (c *choices) endpoint(address string, known *pods) *discoveryv1.Endpoint {
	e := &discoveryv1.Endpoint{Addresses: []string{address}}
	e.Conditions = discoveryv1.EndpointConditions{Ready: c.condition(), Serving: c.condition(), Terminating: c.condition()}
	if !c.oneIn(8) {
		e.NodeName = &nodes[c.of(len(nodes))]
	}
	e.Hints = c.hints()
	if known.running {
		yes := true
		e.Conditions.Terminating = &yes
	}
	if t := e.Conditions.Terminating; t == nil || !*t {
		known.running = true
		return e
	}
	if known.terminating == nil {
		known.terminating = e
	}
	return known.terminating
}

func (c *choices) condition() *bool {
	yes, no := true, false
	return []*bool{&yes, &yes, &yes, &no, nil}[c.of(5)]
}

func (c *choices) hints() *discoveryv1.EndpointHints {
	if c.oneIn(6) {
		return nil
	}
	h := &discoveryv1.EndpointHints{}
	for range c.of(3) {
		h.ForZones = append(h.ForZones, discoveryv1.ForZone{Name: zones[c.of(len(zones))]})
	}
	for range c.of(3) {
		h.ForNodes = append(h.ForNodes, discoveryv1.ForNode{Name: nodes[c.of(len(nodes))]})
	}
	return h
}
