package route

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/dialect/fairway"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// BackendKey names a backend as an Ingress writes it. The same port given by
// number and by name are two keys.
type BackendKey struct {
	Service   model.Name
	Port      model.IntOrString
	ClusterIP bool // the Service's address is the only endpoint
	UDP       bool // the port is one of UDP; else TCP
}

func (k BackendKey) String() string {
	s := k.Service.String() + ":" + k.Port.String()
	if k.ClusterIP {
		s += " (ClusterIP)"
	}
	if k.UDP {
		s += "/UDP"
	}
	return s
}

// Compare orders by Service, then port.
func (k BackendKey) Compare(o BackendKey) int {
	return cmp.Or(k.Service.Compare(o.Service), cmp.Compare(k.Port.Int, o.Port.Int), strings.Compare(k.Port.Str, o.Port.Str), compareBool(k.ClusterIP, o.ClusterIP), compareBool(k.UDP, o.UDP))
}

func (k BackendKey) protocol() model.Protocol {
	if k.UDP {
		return model.UDP
	}
	return model.TCP
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// Protocol is what is spoken with endpoints.
type Protocol string

// The protocols.
const (
	HTTP1 Protocol = "http"  // HTTP/1.1
	H2C   Protocol = "h2c"   // HTTP/2 without TLS, by prior knowledge; what gRPC speaks
	HTTPS Protocol = "https" // HTTP/1.1 or 2 over TLS; the certificate is not verified
	H2    Protocol = "h2"    // HTTP/2 over TLS; the certificate is not verified

	FastCGI Protocol = "fcgi" // by Forward.Script
)

// Multiplexed reports whether it is HTTP/2, whose requests and responses may go on side by
// side, as those of gRPC do.
func (p Protocol) Multiplexed() bool { return p == H2C || p == H2 }

// Backend is one port of a Service with the endpoints that take requests now.
type Backend struct {
	Key       BackendKey
	Protocol  Protocol
	Endpoints []Endpoint // sorted by address, each once
	Problem   string     // why Endpoints is empty: what a client gets to read; "" otherwise
	External  string     // a name of the DNS that stands for the endpoints; "": none
	Port      uint16     // of External
	Upstream  fairway.Settings
}

// Endpoint is one address that a backend is served at.
type Endpoint struct {
	Addr netip.AddrPort
	Pod  string // "" if it is none
	Node string
	Zone string
	Near bool // comes first, as long as enough of those that do are well
}

// Equal reports whether requests are served the same way by b and o.
func (b *Backend) Equal(o *Backend) bool {
	return b.Key == o.Key && b.Protocol == o.Protocol && b.Problem == o.Problem && b.External == o.External && b.Port == o.Port && b.Upstream == o.Upstream && slices.Equal(b.Endpoints, o.Endpoints)
}

// resolve looks a backend up. problem is nil if the Service has the port; the
// other fields of a problem (Ref, Field) are the caller's.
func resolve(snap *state.Snapshot, key BackendKey, at place, externalNames bool) (b *Backend, problem *model.Rejected) {
	b = &Backend{Key: key, Protocol: HTTP1, Upstream: fairway.Defaults()}
	svc := snap.Service(key.Service)
	if svc != nil {
		b.Upstream, _ = fairway.ParseService(svc)
	}
	if svc == nil {
		problem = noService(snap, key)
	} else if svc.Type == model.ExternalName && externalNames {
		b.External, b.Port = strings.ToLower(svc.ExternalName), key.Port.Int
		if port := portOf(svc, key); port != nil {
			b.Port, b.Protocol = port.Port, protocolOf(port.AppProtocol)
		}
		b.Problem = fmt.Sprintf("the name %s of Service %s has no address", b.External, key.Service)
		if b.Port != 0 {
			return b, nil
		}
		problem = noPort(svc, key)
	} else if svc.Type == model.ExternalName {
		problem = &model.Rejected{Reason: "ExternalNameRefused",
			Message: fmt.Sprintf("Service %s is of type ExternalName, which could lead requests anywhere", key.Service),
			Fix:     "use a Service without selector and an EndpointSlice with the addresses, or ask for the option allow-external-names"}
	} else if port := portOf(svc, key); port == nil {
		problem = noPort(svc, key)
	} else {
		b.Protocol = protocolOf(port.AppProtocol)
		if key.ClusterIP && !svc.Headless && len(svc.ClusterIPs) > 0 {
			b.Endpoints = []Endpoint{{Addr: netip.AddrPortFrom(svc.ClusterIPs[0], port.Port)}}
			return b, nil
		}
		b.Endpoints = endpoints(snap, svc, port, at, b.Upstream.Zones)
		if len(b.Endpoints) == 0 {
			b.Problem = fmt.Sprintf("Service %s has no endpoint that is ready", key.Service)
		}
		return b, nil
	}
	b.Problem = problem.Message
	return b, problem
}

// portOf finds a port by number or name.
func portOf(svc *model.Service, key BackendKey) *model.ServicePort {
	want := key.Port
	for i := range svc.Ports {
		p := &svc.Ports[i]
		if p.Protocol == key.protocol() && (want.Str != "" && p.Name == want.Str || want.Str == "" && p.Port == want.Int) {
			return p
		}
	}
	return nil
}

// protocolOf knows the application protocols of KEP-3726 and those that users
// write for gRPC and TLS.
func protocolOf(appProtocol string) Protocol {
	switch strings.ToLower(appProtocol) {
	case "kubernetes.io/h2c", "h2c", "grpc":
		return H2C
	case "https", "kubernetes.io/wss":
		return HTTPS
	case "grpcs":
		return H2
	}
	return HTTP1
}

// endpoints returns the ready endpoints of a port; if there are none, those
// that are terminating but still serve, as kube-proxy does (KEP-1669), so that
// the last pod of a Deployment answers until it is gone. The number of the port
// comes from each slice: a named target port may differ from pod to pod.
func endpoints(snap *state.Snapshot, svc *model.Service, port *model.ServicePort, at place, zones fairway.Zones) []Endpoint {
	family := model.Family(0)
	if len(svc.Families) > 0 {
		family = svc.Families[0]
	}
	ready, leaving := collect(snap, svc.Name, port, family)
	if len(ready)+len(leaving) == 0 && family != 0 {
		ready, leaving = collect(snap, svc.Name, port, 0)
	}
	if len(ready) == 0 {
		ready = leaving
	}
	slices.SortFunc(ready, func(a, b hinted) int { return a.Addr.Compare(b.Addr) })
	return at.mark(slices.CompactFunc(ready, func(a, b hinted) bool { return a.Addr == b.Addr }), zones)
}

// collect gathers the endpoints of one family; 0 is all.
func collect(snap *state.Snapshot, service model.Name, port *model.ServicePort, family model.Family) (ready, leaving []hinted) {
	for _, slice := range snap.SlicesOf(service) {
		if family != 0 && slice.Family != family {
			continue
		}
		number := numberOf(slice, port)
		if number == 0 {
			continue
		}
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			out := hinted{Endpoint{Addr: netip.AddrPortFrom(e.Addr, number), Pod: e.Pod, Node: e.Node, Zone: e.Zone}, e.ZoneHints, e.NodeHints}
			switch {
			case e.Ready:
				ready = append(ready, out)
			case e.Serving && e.Terminating:
				leaving = append(leaving, out)
			}
		}
	}
	return ready, leaving
}

func numberOf(slice *model.EndpointSlice, port *model.ServicePort) uint16 {
	for _, p := range slice.Ports {
		if p.Name == port.Name && p.Protocol == port.Protocol {
			return p.Port
		}
	}
	return 0
}

func noService(snap *state.Snapshot, key BackendKey) *model.Rejected {
	r := &model.Rejected{Reason: "ServiceNotFound", Message: fmt.Sprintf("Service %s does not exist", key.Service)}
	var names []string
	for _, s := range snap.Services.Prefix(key.Service.Namespace + "/") {
		names = append(names, s.Name.Name)
	}
	if near, ok := dialect.Nearest(key.Service.Name, names); ok {
		r.Fix = fmt.Sprintf("did you mean %q?", near)
	} else {
		r.Fix = fmt.Sprintf("create it in namespace %s: an Ingress can only name Services of its own namespace", key.Service.Namespace)
	}
	return r
}

// noPort explains which port was meant. The most common mistake is to write
// the port of the pods.
func noPort(svc *model.Service, key BackendKey) *model.Rejected {
	want, protocol := key.Port, key.protocol()
	r := &model.Rejected{Reason: "ServicePortNotFound", Message: fmt.Sprintf("Service %s has no port %s", svc.Name, want)}
	if want.IsZero() {
		r.Message = "neither port.number nor port.name is given"
	}
	for i := range svc.Ports {
		switch p := &svc.Ports[i]; {
		case p.Protocol != protocol && (p.Port == want.Int && want.Str == "" || p.Name == want.Str && want.Str != ""):
			r.Fix = fmt.Sprintf("its port %s is a %v port, which cannot be used here; add a %v port", describe(p), p.Protocol, protocol)
		case p.TargetPort == want && !want.IsZero():
			r.Fix = fmt.Sprintf("%s is the target port, that of the pods; what counts is the Service's port: write %s", want, write(p))
		case p.NodePort == want.Int && want.Int != 0:
			r.Fix = fmt.Sprintf("%s is the node port; what counts is the Service's port: write %s", want, write(p))
		default:
			continue
		}
		return r
	}
	var ports, names []string
	for i := range svc.Ports {
		if p := &svc.Ports[i]; p.Protocol == protocol {
			ports = append(ports, describe(p))
			names = append(names, p.Name)
		}
	}
	if near, ok := dialect.Nearest(want.Str, names); ok && want.Str != "" {
		r.Fix = fmt.Sprintf("did you mean port.name: %s?", near)
	} else if len(ports) == 0 {
		r.Fix = fmt.Sprintf("it has no %v port at all", protocol)
	} else {
		r.Fix = "its ports are: " + strings.Join(ports, ", ")
	}
	return r
}

func describe(p *model.ServicePort) string {
	if p.Name == "" {
		return fmt.Sprint(p.Port)
	}
	return fmt.Sprintf("%d (%s)", p.Port, p.Name)
}

func write(p *model.ServicePort) string {
	if p.Name == "" {
		return fmt.Sprintf("port.number: %d", p.Port)
	}
	return fmt.Sprintf("port.number: %d or port.name: %s", p.Port, p.Name)
}
