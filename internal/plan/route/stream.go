package route

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// Stream is a port whose connections, or datagrams, are passed on as they are. Its
// Backend is among those of the plan.
type Stream struct {
	Port    uint16
	UDP     bool
	Backend BackendKey
	// ReadProxy says that connections begin with a header of the PROXY protocol;
	// SendProxy, 1 or 2, which version of it endpoints get. 0: none.
	ReadProxy     bool
	SendProxy     int
	nginx.Streams // the options
}

// DefaultStreamMaps are the ConfigMaps with ports for TCP and for UDP, in the format
// of ingress-nginx's --tcp-services-configmap; those of later ones win. The first are
// where its manifests and its chart put them.
var DefaultStreamMaps = StreamMaps{
	TCP: []model.Name{{Namespace: "ingress-nginx", Name: "tcp-services"}, {Namespace: "ingress-nginx", Name: "ingress-nginx-tcp"}, {Namespace: "fairway-system", Name: "tcp-services"}},
	UDP: []model.Name{{Namespace: "ingress-nginx", Name: "udp-services"}, {Namespace: "ingress-nginx", Name: "ingress-nginx-udp"}, {Namespace: "fairway-system", Name: "udp-services"}},
}

// StreamMaps name ConfigMaps with ports.
type StreamMaps struct{ TCP, UDP []model.Name }

// DefaultReserved are the ports that the gateway has for itself.
var DefaultReserved = []uint16{80, 443, 8080, 8081, 8443}

// streamDraft is one entry of a ConfigMap, before it is known whether the Service has the port.
type streamDraft struct {
	Stream
	ref   model.Ref
	field string
}

// readStreams reads the ConfigMaps that there are.
func readStreams(snap *state.Snapshot, p *Params) (out []streamDraft, rejected []model.Rejected) {
	for _, udp := range []bool{false, true} {
		names := p.Streams.TCP
		if udp {
			names = p.Streams.UDP
		}
		byPort := map[uint16]streamDraft{}
		for _, name := range names {
			m, ok := snap.ConfigMaps.Get(name.String())
			if !ok {
				continue
			}
			for _, key := range slices.Sorted(maps.Keys(m.Data)) {
				d := streamDraft{ref: model.Ref{Kind: model.KindConfigMap, Name: name}, field: "data[" + key + "]"}
				d.UDP = udp
				if r := d.parse(key, m.Data[key], p); r != nil {
					r.Ref, r.Field = d.ref, d.field
					rejected = append(rejected, *r)
					continue
				}
				byPort[d.Port] = d
			}
		}
		for _, port := range slices.Sorted(maps.Keys(byPort)) {
			out = append(out, byPort[port])
		}
	}
	return out, rejected
}

// parse reads an entry: the port, and "namespace/name:port[:PROXY[:PROXY]]", where the
// first PROXY is that of clients and the second that for endpoints.
func (d *streamDraft) parse(key, value string, p *Params) *model.Rejected {
	n, err := strconv.ParseUint(key, 10, 16)
	if err != nil || n == 0 || key != strconv.FormatUint(n, 10) {
		return &model.Rejected{Reason: "PortInvalid", Message: fmt.Sprintf("%q is not the number of a port", key), Fix: "write the port to open as the key, from 1 to 65535"}
	}
	d.Port = uint16(n)
	if reserved := map[bool][]uint16{false: p.Reserved, true: p.ReservedUDP}[d.UDP]; slices.Contains(reserved, d.Port) {
		return &model.Rejected{Reason: "PortReserved", Message: fmt.Sprintf("port %d is the gateway's own", n), Fix: "choose another port"}
	}
	const form = `write "namespace/name:port", and behind it ":PROXY" where clients send the PROXY protocol and another ":PROXY" where the Service wants it`
	parts := strings.Split(strings.TrimSpace(value), ":")
	name := model.ParseName(parts[0])
	if len(parts) < 2 || len(parts) > 4 || name.Namespace == "" || name.Name == "" || parts[1] == "" {
		return &model.Rejected{Reason: "StreamInvalid", Message: fmt.Sprintf("%q names no port of a Service", value), Fix: form}
	}
	for i, word := range parts[2:] {
		switch {
		case word == "":
		case !strings.EqualFold(word, "PROXY"):
			return &model.Rejected{Reason: "StreamInvalid", Message: fmt.Sprintf("%q is not understood in %q", word, value), Fix: form}
		case d.UDP:
			return &model.Rejected{Reason: "StreamInvalid", Message: fmt.Sprintf("%q asks for the PROXY protocol, which UDP does not have here", value), Fix: "leave :PROXY out"}
		case i == 0:
			d.ReadProxy = true
		default:
			d.SendProxy = 1
		}
	}
	d.Backend = BackendKey{Service: name, Port: model.IntOrString{Str: parts[1]}, UDP: d.UDP}
	if port, err := strconv.ParseUint(parts[1], 10, 16); err == nil {
		d.Backend.Port = model.IntOrString{Int: uint16(port)}
	}
	return nil
}

// streamsChanged says that one of the ConfigMaps with ports did.
func (p *Planner) streamsChanged(ch state.Change) bool {
	return ch.Kind == model.KindConfigMap && slices.ContainsFunc(slices.Concat(p.params.Streams.TCP, p.params.Streams.UDP),
		func(n model.Name) bool { return n.String() == ch.Key })
}

// surveyStreams reads the ConfigMaps again, and marks the backends that were and are named.
func (p *Planner) surveyStreams(snap *state.Snapshot, d *dirty) {
	d.streams = true
	for _, s := range p.streams {
		p.mention(s.Backend, -1, d)
	}
	var rejected []model.Rejected
	p.streams, rejected = readStreams(snap, &p.params)
	for _, s := range p.streams {
		p.mention(s.Backend, 1, d)
	}
	p.reject(unit{"streams", ""}, rejected, d)
}

// updateStreams lists the ports to open: those whose Service has the port, whether it
// has endpoints or not.
func (p *Planner) updateStreams(snap *state.Snapshot, next *Plan, d *dirty) bool {
	if !d.streams && !slices.ContainsFunc(p.streams, func(s streamDraft) bool {
		_, ok := d.services[s.Backend.Service.String()]
		return ok
	}) {
		return false
	}
	var streams []Stream
	var rejected []model.Rejected
	for _, s := range p.streams {
		if _, problem := resolve(snap, s.Backend, p.at, p.options.ExternalNames); problem != nil {
			if problem.Ref, problem.Field = s.ref, s.field; problem.Reason == "ServiceNotFound" {
				problem.Fix = "create it, or correct the name; the port is closed until then"
			}
			rejected = append(rejected, *problem)
			continue
		}
		s.Streams = p.options.Streams
		streams = append(streams, s.Stream)
	}
	p.reject(unit{"streams", "services"}, rejected, d)
	if slices.Equal(streams, next.Streams) {
		return false
	}
	next.Streams = streams
	return true
}

// String is one line of a dump.
func (s Stream) String() string {
	text := fmt.Sprintf("TCP %d -> %v", s.Port, s.Backend)
	if s.UDP {
		text = fmt.Sprintf("UDP %d -> %v", s.Port, s.Backend)
	}
	if s.ReadProxy {
		text += " reads PROXY"
	}
	if s.SendProxy > 0 {
		text += fmt.Sprintf(" sends PROXY v%d", s.SendProxy)
	}
	return text
}
