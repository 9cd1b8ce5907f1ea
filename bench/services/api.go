package main

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	perService = 5
	apiAddr    = "127.0.0.1:8001"
	nodeName   = "node"
	port       = 8080 // of all endpoints
	nodePorts  = 30000
	media      = "application/vnd.kubernetes.protobuf"
)

// api is what a proxy follows of an API server of 1.36: lists and watches in
// protobuf, also lists that arrive as a watch (KEP-3157). All that it says at
// first is encoded before anybody asks, so that it costs the subject nothing.
// One thing changes: the endpoint of the first Service.
type api struct {
	initial map[string][]byte // watch frames by resource, as they go over the wire
	lists   map[string]func() runtime.Object

	mu      sync.Mutex
	version int
	first   *discoveryv1.EndpointSlice
	watches map[http.ResponseWriter]bool // of EndpointSlices, which are told of changes
}

func newAPI(n int) *api {
	a := &api{initial: map[string][]byte{}, watches: map[http.ResponseWriter]bool{}, version: 1, first: sliceObject(0, 1, 0)}
	for i := range n {
		a.note("services", serviceObject(i))
		if i > 0 {
			a.note("endpointslices", sliceObject(i, 1, 0))
		}
	}
	a.note("nodes", nodeObject())
	a.lists = map[string]func() runtime.Object{ // made when somebody asks: to keep them would be work for the collector
		"services": func() runtime.Object {
			l := &corev1.ServiceList{ListMeta: a.listMeta()}
			for i := range n {
				l.Items = append(l.Items, *serviceObject(i))
			}
			return l
		},
		"endpointslices": func() runtime.Object {
			a.mu.Lock()
			l := &discoveryv1.EndpointSliceList{Items: []discoveryv1.EndpointSlice{*a.first}}
			a.mu.Unlock()
			l.ListMeta = a.listMeta()
			for i := 1; i < n; i++ {
				l.Items = append(l.Items, *sliceObject(i, 1, 0))
			}
			return l
		},
		"nodes": func() runtime.Object {
			return &corev1.NodeList{ListMeta: a.listMeta(), Items: []corev1.Node{*nodeObject()}}
		},
		"pods":         func() runtime.Object { return &corev1.PodList{ListMeta: a.listMeta()} },
		"servicecidrs": func() runtime.Object { return &networkingv1.ServiceCIDRList{ListMeta: a.listMeta()} },
	}
	return a
}

func (a *api) note(resource string, o runtime.Object) {
	a.initial[resource] = append(a.initial[resource], frame("ADDED", o)...)
}

func (a *api) listMeta() metav1.ListMeta {
	a.mu.Lock()
	defer a.mu.Unlock()
	return metav1.ListMeta{ResourceVersion: strconv.Itoa(a.version)}
}

// change gives the first Service another endpoint, and only that one. It returns
// when the API server began to tell of it: the event is encoded before, and goes
// out from the caller's own thread.
func (a *api) change(endpoint int) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	a.first = sliceObject(0, a.version, endpoint)
	event := frame("MODIFIED", a.first)
	start := time.Now()
	for w := range a.watches {
		send(w, event)
	}
	return start
}

// send writes to a watch. One that fails has ended, and its handler sees it.
func send(w http.ResponseWriter, b []byte) {
	w.Write(b)
	w.(http.Flusher).Flush()
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	resource, q := parts[len(parts)-1], r.URL.Query()
	list := a.lists[resource]
	switch {
	case r.Method != http.MethodGet || !strings.Contains(r.Header.Get("Accept"), media):
		http.Error(w, "{}", http.StatusNotFound)
	case resource == nodeName:
		w.Header().Set("Content-Type", media)
		w.Write(encode(nodeObject()))
	case list == nil:
		http.Error(w, "{}", http.StatusNotFound)
	case q.Get("watch") != "":
		a.watch(w, r, resource)
	default:
		w.Header().Set("Content-Type", media)
		w.Write(encode(list()))
	}
}

// watch sends what there is, if it is asked to; change sends the rest.
func (a *api) watch(w http.ResponseWriter, r *http.Request, resource string) {
	w.Header().Set("Content-Type", media+";stream=watch")
	q := r.URL.Query()
	seen, _ := strconv.Atoi(q.Get("resourceVersion"))
	slices := resource == "endpointslices"
	if q.Get("sendInitialEvents") == "true" {
		a.mu.Lock()
		seen = a.version
		first := frame("ADDED", a.first)
		a.mu.Unlock()
		if slices {
			w.Write(first)
		}
		w.Write(a.initial[resource])
		w.Write(frame("BOOKMARK", endOf(resource, seen)))
	}
	a.mu.Lock()
	if slices && a.version > seen {
		w.Write(frame("MODIFIED", a.first))
	}
	if slices {
		a.watches[w] = true
	}
	send(w, nil)
	a.mu.Unlock()
	<-r.Context().Done()
	a.mu.Lock()
	delete(a.watches, w)
	a.mu.Unlock()
}

// endOf is the object that ends the initial events of a watch.
func endOf(resource string, version int) runtime.Object {
	m := metav1.ObjectMeta{ResourceVersion: strconv.Itoa(version), Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}
	switch resource {
	case "services":
		return &corev1.Service{ObjectMeta: m}
	case "endpointslices":
		return &discoveryv1.EndpointSlice{ObjectMeta: m}
	case "nodes":
		return &corev1.Node{ObjectMeta: m}
	case "pods":
		return &corev1.Pod{ObjectMeta: m}
	}
	return &networkingv1.ServiceCIDR{ObjectMeta: m}
}

var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme, networkingv1.AddToScheme} {
		if err := add(s); err != nil {
			panic(err)
		}
	}
	return s
}()

// encode is o in protobuf with the envelope that names its kind.
func encode(o runtime.Object) []byte {
	kinds, _, err := scheme.ObjectKinds(o)
	if err != nil {
		panic(err)
	}
	o.GetObjectKind().SetGroupVersionKind(kinds[0])
	b, err := runtime.Encode(protobuf.NewSerializer(scheme, scheme), o)
	if err != nil {
		panic(err) // objects of our own
	}
	return b
}

// frame is an event of a watch, with its length before it.
func frame(event string, o runtime.Object) []byte {
	e := metav1.WatchEvent{Type: event, Object: runtime.RawExtension{Raw: encode(o)}}
	b, err := e.Marshal()
	if err != nil {
		panic(err)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

func offset(base string, by int) netip.Addr {
	b := netip.MustParseAddr(base).As4()
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(b[:])+uint32(by))))
}

func clusterIP(i int) netip.Addr { return offset("10.96.1.0", i) }

// remote says where the endpoints of Service i are: those of every other one
// are on this node.
func remote(i int) bool { return i%2 == 1 }

func endpoint(i, k int) netip.Addr {
	if remote(i) {
		return offset("10.192.1.0", i*perService+k)
	}
	return offset("10.128.1.0", i*perService+k)
}

func meta(name string, version int) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID("00000000-0000-0000-0000-" + name), ResourceVersion: strconv.Itoa(version)}
}

func serviceName(i int) string { return fmt.Sprintf("service-%05d", i) }

// nodePortOf is the port of the two Services that have one: the third, whose
// endpoints are here, and the fourth, whose endpoints are elsewhere.
func nodePortOf(i int) int32 {
	if i == 2 || i == 3 {
		return nodePorts + int32(i)
	}
	return 0
}

func serviceObject(i int) *corev1.Service {
	ip, cluster, single := clusterIP(i).String(), corev1.ServiceInternalTrafficPolicyCluster, corev1.IPFamilyPolicySingleStack
	s := &corev1.Service{ObjectMeta: meta(serviceName(i), 1), Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, ClusterIP: ip, ClusterIPs: []string{ip}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, IPFamilyPolicy: &single,
		InternalTrafficPolicy: &cluster, SessionAffinity: corev1.ServiceAffinityNone, Selector: map[string]string{"app": serviceName(i)},
		Ports: []corev1.ServicePort{
			{Name: "web", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(port)},
		},
	}}
	if i == 4 || i == 5 { // and these two have UDP
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 80, TargetPort: intstr.FromInt32(port)})
	}
	if np := nodePortOf(i); np != 0 {
		s.Spec.Type, s.Spec.Ports[0].NodePort, s.Spec.ExternalTrafficPolicy = corev1.ServiceTypeNodePort, np, corev1.ServiceExternalTrafficPolicyCluster
	}
	return s
}

// sliceObject holds the endpoints of a Service; of the first one only the one given.
func sliceObject(i, version, only int) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: meta(serviceName(i)+"-x7k2p", version), AddressType: discoveryv1.AddressTypeIPv4}
	s.Labels = map[string]string{discoveryv1.LabelServiceName: serviceName(i), discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io"}
	number, web, tcp := int32(port), "web", corev1.ProtocolTCP
	s.Ports = []discoveryv1.EndpointPort{{Name: &web, Protocol: &tcp, Port: &number}}
	if i == 4 || i == 5 {
		dns, udp := "dns", corev1.ProtocolUDP
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &dns, Protocol: &udp, Port: &number})
	}
	yes, no, node, zone := true, false, nodeName, "zone-a"
	if remote(i) {
		node = "other"
	}
	for k := range perService {
		if i == 0 && k != only {
			continue
		}
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{endpoint(i, k).String()}, NodeName: &node, Zone: &zone,
			Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: fmt.Sprintf("%s-6d4cf56db6-%05d", serviceName(i), k), UID: "00000000-0000-0000-0000-000000000000"},
		})
	}
	return s
}

func nodeObject() *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName, UID: nodeName, ResourceVersion: "1", Labels: map[string]string{corev1.LabelTopologyZone: "zone-a"}}}
	n.Spec.PodCIDR, n.Spec.PodCIDRs = podCIDR, []string{podCIDR}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: nodeIP}}
	return n
}
