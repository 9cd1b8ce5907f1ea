package route

import (
	"slices"
	"strings"
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
	Backends  Table[*Backend]
	Streams   []Stream     // ports that are passed on as they are
	Claimed   []model.Name // the Ingresses that we serve, sorted: their status shows our address
	Rejected  []model.Rejected
	Options   *Options
	// Passthrough says which backend gets TLS connections for a name as they are.
	Passthrough *Passthrough
}

// Passthrough maps names to backends.
type Passthrough struct{ hosts map[string]BackendKey }

// Lookup returns the backend for a canonical name (SNI).
func (p *Passthrough) Lookup(name string) (BackendKey, bool) {
	if p == nil {
		return BackendKey{}, false
	}
	if key, ok := p.hosts[name]; ok {
		return key, true
	}
	if i := strings.IndexByte(name, '.'); i > 0 {
		key, ok := p.hosts["*"+name[i:]]
		return key, ok
	}
	return BackendKey{}, false
}

// Len is the number of names.
func (p *Passthrough) Len() int {
	if p == nil {
		return 0
	}
	return len(p.hosts)
}

// Listener is one port that clients connect to. The port is the public one,
// that of the Service in front of the gateway.
type Listener struct {
	Name  string // "http", "https"
	Port  uint16
	TLS   bool
	Hosts *Hosts
	Certs *Certificates // consulted by SNI if TLS; and by redirects to TLS in any case
}

// ClientCert says what is wanted of clients' certificates for a canonical name; nil: nothing.
func (l *Listener) ClientCert(name string) *ClientCert { return l.Hosts.Lookup(name).Client }

// Listener returns the listener called name, or nil.
func (p *Plan) Listener(name string) *Listener {
	for i := range p.Listeners {
		if p.Listeners[i].Name == name {
			return &p.Listeners[i]
		}
	}
	return nil
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
