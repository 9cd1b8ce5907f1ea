package route

import (
	"slices"
	"time"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// Params is what an operator decides. The zero value has the defaults.
type Params struct {
	// Controllers are the IngressClass controllers whose classes are ours.
	// Nil: DefaultControllers.
	Controllers []string
	// Names are classes that are ours even if no IngressClass object of that
	// name exists, as the older annotation allowed. Nil: DefaultNames.
	Names []string
	// ConfigMaps have options, in the manner of ingress-nginx; later ones win.
	// Nil: DefaultConfigMaps.
	ConfigMaps []model.Name
	// Streams are the ConfigMaps with ports for TCP and UDP. A nil list: that of
	// DefaultStreamMaps.
	Streams StreamMaps
	// HTTP and HTTPS are the ports that clients connect to. 0: 80 and 443, those of the
	// Service in front of the gateway.
	HTTP, HTTPS uint16
	// Node is the name of the node that the gateway runs on, which makes some endpoints
	// nearer than others. "": none is.
	Node string
	// Reserved are ports that cannot be opened for TCP, as the gateway has them
	// itself, and ReservedUDP for UDP. Nil: DefaultReserved, and none.
	Reserved, ReservedUDP []uint16
}

// The classes that Fairway serves unless told otherwise.
var (
	DefaultControllers = []string{"fairway.dev/ingress", "k8s.io/ingress-nginx"}
	DefaultNames       = []string{"fairway", "nginx"}
)

func (p Params) withDefaults() Params {
	if p.Controllers == nil {
		p.Controllers = DefaultControllers
	}
	if p.Names == nil {
		p.Names = DefaultNames
	}
	if p.ConfigMaps == nil {
		p.ConfigMaps = DefaultConfigMaps
	}
	if p.Streams.TCP == nil {
		p.Streams.TCP = DefaultStreamMaps.TCP
	}
	if p.Streams.UDP == nil {
		p.Streams.UDP = DefaultStreamMaps.UDP
	}
	if p.HTTP == 0 {
		p.HTTP = 80
	}
	if p.HTTPS == 0 {
		p.HTTPS = 443
	}
	if p.Reserved == nil {
		p.Reserved = DefaultReserved
	}
	return p
}

// Kinds are the kinds of objects that a plan is made of. Their tables must be
// synced before it is acted upon.
func Kinds() []model.Kind {
	return []model.Kind{model.KindIngress, model.KindIngressClass, model.KindService, model.KindEndpointSlice, model.KindSecret, model.KindConfigMap}
}

// Plan is what a gateway serves.
type Plan struct {
	Listeners []Listener // in the order of their ports
	Backends  Table[BackendKey, *Backend]
	External  []BackendKey // the backends that are names of the DNS, sorted
	Streams   []Stream     // ports that are passed on as they are
	Claimed   []model.Name // the Ingresses that we serve, sorted: their status shows our address
	Rejected  []model.Rejected
	Options   *Options
	// Passthrough says which backend gets TLS connections for a name as they are.
	Passthrough *Passthrough
}

// Serves reports whether an Ingress is among those that we serve.
func (p *Plan) Serves(ingress model.Name) bool {
	_, found := slices.BinarySearchFunc(p.Claimed, ingress, model.Name.Compare)
	return found
}

// Make plans snap from nothing. now decides only whether a certificate is
// rejected as expired; it is served in any case.
func Make(snap *state.Snapshot, params Params, now time.Time) *Plan {
	return New(params).Update(snap, state.Changes{All: true}, now)
}

// sortRejected orders and removes what was said twice.
func sortRejected(all []model.Rejected) []model.Rejected {
	slices.SortFunc(all, model.Rejected.Compare)
	return slices.Compact(all)
}
