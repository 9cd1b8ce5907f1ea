package route

import (
	"maps"
	"slices"
	"time"

	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// Planner keeps a Plan up to date. Its units, each made anew only if something
// it depends on changed: a fragment per Ingress, a Host per pattern, a Backend
// per key, and the table of certificates. What goes through all Ingresses, or all
// that name a Service, is done only where that is what changed. Not for concurrent use.
type Planner struct {
	params Params
	plan   *Plan

	fragments   map[string]*fragment // Ingress key -> what it contributes; claimed ones only
	byHost      index                // pattern -> Ingress keys
	byService   index                // Service key -> Ingress keys
	bySecret    index                // Secret key -> Ingress keys
	hosts       map[string]*Host     // pattern -> host
	shared      *shared
	keys        map[string]map[BackendKey]int      // Service key -> its backends in the plan -> how often they are mentioned
	fallbacks   map[string]*fragment               // Ingress key -> those that have a default backend
	secrets     map[string]parsed                  // Secret key -> certificate
	byObject    map[dependency]map[string]struct{} // object that annotations name -> Ingress keys
	options     *nginx.Options
	defaultKey  BackendKey // of the option default-backend-service; zero: none
	defaultRule *Rule
	streams     []streamDraft // ports of ConfigMaps
	at          place
	rejected    map[unit][]model.Rejected
	expiry      time.Time // when the next certificate changes between valid and not; zero: never
}

// unit names who rejected something: Ingress keys for all but hosts, streams and services.
type unit struct {
	kind string // "class", "ingress", "host", "backend", "tls", "streams", "service", "default"
	key  string
}

type parsed struct {
	secret  *model.Secret
	cert    *Certificate
	problem *model.Rejected
}

// New returns a Planner with an empty plan.
func New(params Params) *Planner {
	p := &Planner{params: params.withDefaults(), hosts: map[string]*Host{}, shared: newShared(), keys: map[string]map[BackendKey]int{}}
	p.reset()
	return p
}

func (p *Planner) reset() {
	p.fragments = map[string]*fragment{}
	p.byHost, p.byService, p.bySecret = index{}, index{}, index{}
	p.fallbacks = map[string]*fragment{}
	p.byObject = map[dependency]map[string]struct{}{}
	p.defaultKey, p.defaultRule = BackendKey{}, nil
	p.rejected = map[unit][]model.Rejected{}
}

// Update returns the plan for snap. changes must hold all that differs from
// the snapshot of the last call; now is as in Make. If nothing that matters
// has changed, the same Plan is returned.
func (p *Planner) Update(snap *state.Snapshot, changes state.Changes, now time.Time) *Plan {
	d := p.survey(snap, changes, now)
	for key := range d.ingresses {
		p.updateIngress(snap, key, d)
	}
	next := &Plan{}
	if p.plan != nil {
		*next = *p.plan
	}
	changed := p.plan == nil
	if p.updateHosts(next, d) {
		changed = true
	}
	if p.updateBackends(snap, next, d) {
		changed = true
	}
	if p.updateStreams(snap, next, d) {
		changed = true
	}
	p.updateReferences(snap, d)
	if d.certs {
		p.updateCerts(snap, next, d, now)
		changed = true
	}
	if d.options {
		next.Options, changed = newOptions(p.options), true
	}
	if d.passing {
		next.Passthrough, changed = p.passthrough(), true
	}
	if d.claimed || len(d.owners) > 0 {
		if names := p.claimed(next.Claimed, d); !slices.Equal(names, next.Claimed) {
			next.Claimed, changed = names, true
		}
	}
	if d.rejected {
		all := sortRejected(slices.Concat(slices.Collect(maps.Values(p.rejected))...))
		if !slices.Equal(all, next.Rejected) {
			next.Rejected, changed = all, true
		}
	}
	if changed {
		p.plan = next
	}
	return p.plan
}

func (p *Planner) reject(u unit, list []model.Rejected, d *dirty) {
	if len(list) == 0 && len(p.rejected[u]) == 0 {
		return
	}
	d.rejected = true
	if len(list) == 0 {
		delete(p.rejected, u)
	} else {
		p.rejected[u] = list
	}
}

// updateIngress replaces the fragment under key.
func (p *Planner) updateIngress(snap *state.Snapshot, key string, d *dirty) {
	old := p.fragments[key]
	ing, exists := snap.Ingresses.Get(key)
	if _, again := d.renewed[key]; old != nil && exists && old.ing == ing && !again {
		return
	}
	if old != nil {
		p.unlink(key, old, d)
	}
	var mine verdict
	var rejected []model.Rejected
	if exists {
		mine, rejected = classify(snap, &p.params, ing)
	}
	p.reject(unit{"class", key}, rejected, d)
	if (old != nil) != (mine == claimed) {
		d.owners[model.ParseName(key)] = struct{}{}
	}
	if mine != claimed {
		d.certs = d.certs || !sameCerts(old, nil)
		p.reject(unit{"ingress", key}, nil, d)
		p.reject(unit{"backend", key}, nil, d)
		return
	}
	f := translate(ing, &reading{snap: snap, options: p.options})
	p.link(key, f, d)
	d.certs = d.certs || !sameCerts(old, f)
	p.reject(unit{"ingress", key}, f.rejected, d)
}

// claimed returns the names of the Ingresses that are ours. A few that came or went
// are put into, or taken out of, a copy of what was before.
func (p *Planner) claimed(before []model.Name, d *dirty) []model.Name {
	if d.claimed || len(d.owners) > 64 {
		names := make([]model.Name, 0, len(p.fragments))
		for _, f := range p.fragments {
			names = append(names, f.ing.Name)
		}
		slices.SortFunc(names, model.Name.Compare)
		return names
	}
	names := slices.Clone(before)
	for name := range d.owners {
		i, found := slices.BinarySearchFunc(names, name, model.Name.Compare)
		switch _, mine := p.fragments[name.String()]; {
		case mine && !found:
			names = slices.Insert(names, i, name)
		case !mine && found:
			names = slices.Delete(names, i, i+1)
		}
	}
	return names
}
