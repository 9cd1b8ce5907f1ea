package route

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// Planner keeps a Plan up to date. Its units, each made anew only if something
// it depends on changed: a fragment per Ingress, a Host per pattern, a Backend
// per key, and the table of certificates. Not for concurrent use.
type Planner struct {
	params Params
	plan   *Plan

	fragments map[string]*fragment               // Ingress key -> what it contributes; claimed ones only
	byHost    index                              // pattern -> Ingress keys
	byService index                              // Service key -> Ingress keys
	bySecret  index                              // Secret key -> Ingress keys
	hosts     map[string]*Host                   // pattern -> host
	keys      map[string]map[BackendKey]struct{} // Service key -> its backends in the plan
	secrets   map[string]parsed                  // Secret key -> certificate
	byObject  map[dependency]map[string]struct{} // object that annotations name -> Ingress keys
	options   *nginx.Options
	rejected  map[unit][]model.Rejected
	expiry    time.Time // when the next certificate changes between valid and not; zero: never
}

// index maps a key to the keys of the Ingresses that mention it.
type index map[string]map[string]struct{}

func (x index) add(key, ingress string) {
	if x[key] == nil {
		x[key] = map[string]struct{}{}
	}
	x[key][ingress] = struct{}{}
}

func (x index) remove(key, ingress string) {
	delete(x[key], ingress)
	if len(x[key]) == 0 {
		delete(x, key)
	}
}

// unit names who rejected something: Ingress keys for all but hosts.
type unit struct {
	kind string // "class", "ingress", "host", "backend", "tls"
	key  string
}

type parsed struct {
	secret  *model.Secret
	cert    *Certificate
	problem *model.Rejected
}

// dirty is what an Update has to make anew.
type dirty struct {
	ingresses, hosts, services, references     map[string]struct{}
	renewed                                    map[string]struct{} // Ingresses to translate again though they are the same
	certs, rejected, claimed, options, passing bool
}

func (d *dirty) renew(ingress string) {
	if d.renewed == nil {
		d.renewed = map[string]struct{}{}
	}
	d.renewed[ingress] = struct{}{}
}

// New returns a Planner with an empty plan.
func New(params Params) *Planner {
	p := &Planner{params: params.withDefaults(), hosts: map[string]*Host{}, keys: map[string]map[BackendKey]struct{}{}}
	p.reset()
	return p
}

func (p *Planner) reset() {
	p.fragments = map[string]*fragment{}
	p.byHost, p.byService, p.bySecret = index{}, index{}, index{}
	p.byObject = map[dependency]map[string]struct{}{}
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
	if d.claimed {
		if names := p.claimed(); !slices.Equal(names, next.Claimed) {
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

// survey translates changed objects into units to make anew.
func (p *Planner) survey(snap *state.Snapshot, changes state.Changes, now time.Time) *dirty {
	d := &dirty{ingresses: map[string]struct{}{}, hosts: map[string]struct{}{}, services: map[string]struct{}{}, references: map[string]struct{}{}}
	if p.plan == nil || changes.Kinds(model.KindIngressClass) || p.optionsChanged(changes) { // any Ingress may be ours now, or no longer, or mean something else
		var rejected []model.Rejected
		p.options, rejected = readOptions(snap, p.params.ConfigMaps)
		d.hosts[""] = struct{}{} // the fallback for all hosts may go
		for host := range p.hosts {
			d.hosts[host] = struct{}{}
		}
		for service := range p.keys {
			d.services[service] = struct{}{}
		}
		for key := range snap.Ingresses.All() {
			d.ingresses[key] = struct{}{}
		}
		d.certs, d.rejected, d.claimed, d.options, d.passing = true, true, true, true, true
		p.reset()
		if len(rejected) > 0 {
			p.rejected[unit{"options", ""}] = rejected
		}
		return d
	}
	for ch := range changes.Keys {
		for key := range p.byObject[dependency{ch.Kind, ch.Key}] {
			d.ingresses[key] = struct{}{}
			d.renew(key)
		}
		switch ch.Kind {
		case model.KindIngress:
			d.ingresses[ch.Key] = struct{}{}
		case model.KindService:
			d.services[ch.Key] = struct{}{}
			p.surveyReferences(ch.Key, d)
		case model.KindEndpointSlice: // "namespace/service/slice"
			d.services[ch.Key[:strings.LastIndexByte(ch.Key, '/')]] = struct{}{}
		case model.KindSecret:
			d.certs = d.certs || len(p.bySecret[ch.Key]) > 0
		}
	}
	if !p.expiry.IsZero() && now.After(p.expiry) {
		d.certs = true
	}
	return d
}

// surveyReferences marks the Ingresses whose mentions of backends must be
// checked again because a Service came, went or changed: those that name it, and
// those of its namespace that name one in vain, for it may be the one they meant.
func (p *Planner) surveyReferences(service string, d *dirty) {
	for key := range p.byService[service] {
		d.references[key] = struct{}{}
	}
	namespace := model.ParseName(service).Namespace + "/"
	for u := range p.rejected {
		if u.kind == "backend" && strings.HasPrefix(u.key, namespace) {
			d.references[u.key] = struct{}{}
		}
	}
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
	d.claimed = d.claimed || (old != nil) != (mine == claimed)
	if mine != claimed {
		p.reject(unit{"ingress", key}, nil, d)
		p.reject(unit{"backend", key}, nil, d)
		return
	}
	f := translate(ing, &reading{snap: snap, options: p.options})
	p.link(key, f, d)
	p.reject(unit{"ingress", key}, f.rejected, d)
}

func (p *Planner) link(key string, f *fragment, d *dirty) {
	p.fragments[key] = f
	p.touch(f, d)
	d.references[key] = struct{}{}
	for _, h := range f.patterns() {
		p.byHost.add(h, key)
	}
	for _, b := range f.backends {
		p.byService.add(b.key.Service.String(), key)
	}
	for _, c := range f.certs {
		p.bySecret.add(c.secret.String(), key)
	}
	for _, n := range f.needs {
		if p.byObject[n] == nil {
			p.byObject[n] = map[string]struct{}{}
		}
		p.byObject[n][key] = struct{}{}
	}
}

func (p *Planner) unlink(key string, f *fragment, d *dirty) {
	delete(p.fragments, key)
	p.touch(f, d)
	for _, h := range f.patterns() {
		p.byHost.remove(h, key)
	}
	for _, b := range f.backends {
		p.byService.remove(b.key.Service.String(), key)
	}
	for _, c := range f.certs {
		p.bySecret.remove(c.secret.String(), key)
	}
	for _, n := range f.needs {
		if delete(p.byObject[n], key); len(p.byObject[n]) == 0 {
			delete(p.byObject, n)
		}
	}
}

// optionsChanged says that one of the ConfigMaps with options did.
func (p *Planner) optionsChanged(changes state.Changes) bool {
	return slices.ContainsFunc(p.params.ConfigMaps, func(n model.Name) bool {
		_, ok := changes.Keys[state.Change{Kind: model.KindConfigMap, Key: n.String()}]
		return ok
	})
}

// touch marks all that f contributes to.
func (p *Planner) touch(f *fragment, d *dirty) {
	for _, h := range f.patterns() {
		d.hosts[h] = struct{}{}
	}
	if f.fallback != nil {
		d.hosts[""] = struct{}{} // the fallback for all hosts may be another one now
	}
	for _, b := range f.backends {
		d.services[b.key.Service.String()] = struct{}{}
	}
	d.certs = d.certs || len(f.certs) > 0
	d.passing = d.passing || f.settings.Passthrough
}

// passthrough collects the hosts whose TLS goes to pods; of two Ingresses the older wins.
// As in ingress-nginx it is the backend of the path "/" that gets it.
func (p *Planner) passthrough() *Passthrough {
	out := &Passthrough{hosts: map[string]BackendKey{}}
	var all []*fragment
	for _, f := range p.fragments {
		if f.settings.Passthrough {
			all = append(all, f)
		}
	}
	slices.SortFunc(all, compareAge)
	for _, f := range all {
		for i := range f.drafts {
			d := &f.drafts[i]
			if _, taken := out.hosts[d.host]; taken || d.host == "" || d.path != "/" || d.rule.Forward == nil {
				continue
			}
			out.hosts[d.host] = d.rule.Forward.Targets[0].Backend
		}
	}
	return out
}

// sorted returns the fragments of keys, the oldest first.
func (p *Planner) sorted(keys map[string]struct{}) []*fragment {
	out := make([]*fragment, 0, len(keys))
	for key := range keys {
		out = append(out, p.fragments[key])
	}
	slices.SortFunc(out, compareAge)
	return out
}

// updateHosts rebuilds the hosts in d and, if any of them is different now, the
// listeners.
func (p *Planner) updateHosts(next *Plan, d *dirty) bool {
	if len(d.hosts) == 0 && next.Listeners != nil {
		return false
	}
	changed := false
	for pattern := range d.hosts {
		old := p.hosts[pattern]
		keys := p.byHost[pattern]
		if len(keys) == 0 {
			delete(p.hosts, pattern)
			p.reject(unit{"host", pattern}, nil, d)
			changed = changed || old != nil
			continue
		}
		h, rejected := mergeHost(pattern, p.sorted(keys))
		p.reject(unit{"host", pattern}, rejected, d)
		if !h.Equal(old) {
			p.hosts[pattern] = h
			changed = true
		}
	}
	fallback := p.fallback()
	if next.Listeners != nil && !changed && reflect.DeepEqual(next.Listeners[0].Hosts.fallback, fallback) {
		return false
	}
	p.listen(next, newHosts(p.hosts, fallback), nil)
	return true
}

// listen replaces the listeners; nil keeps what they have.
func (p *Planner) listen(next *Plan, hosts *Hosts, certs *Certificates) {
	if next.Listeners != nil {
		if hosts == nil {
			hosts = next.Listeners[0].Hosts
		}
		if certs == nil {
			certs = next.Listeners[0].Certs
		}
	}
	next.Listeners = []Listener{
		{Name: "http", Port: 80, Hosts: hosts, Certs: certs},
		{Name: "https", Port: 443, TLS: true, Hosts: hosts, Certs: certs},
	}
}

// fallback is the default backend for what no host has: that of the oldest
// Ingress without rules, else of the oldest one.
func (p *Planner) fallback() *Rule {
	var best *fragment
	for _, f := range p.fragments {
		if f.fallback == nil || f.isCanary() {
			continue
		}
		if best == nil || len(f.hosts) == 0 && len(best.hosts) > 0 ||
			(len(f.hosts) == 0) == (len(best.hosts) == 0) && compareAge(f, best) < 0 {
			best = f
		}
	}
	if best == nil {
		return nil
	}
	return best.fallback
}

// updateBackends resolves the backends of the Services in d.
func (p *Planner) updateBackends(snap *state.Snapshot, next *Plan, d *dirty) bool {
	var edit *Edit[*Backend] // once there is something to change
	begin := func() *Edit[*Backend] {
		if edit == nil {
			edit = next.Backends.Edit()
		}
		return edit
	}
	for service := range d.services {
		keys := p.keysOf(service)
		for key := range keys {
			b, _ := resolve(snap, key, p.options.ExternalNames)
			if old := next.Backends.Get(key); old == nil || !old.Equal(b) {
				begin().Set(key, b)
			}
		}
		for key := range p.keys[service] {
			if _, still := keys[key]; !still {
				begin().Delete(key)
			}
		}
		if p.keys[service] = keys; len(keys) == 0 {
			delete(p.keys, service)
		}
	}
	if edit == nil {
		return false
	}
	next.Backends = edit.Table()
	return true
}

// keysOf returns the backends of a Service that some Ingress mentions.
func (p *Planner) keysOf(service string) map[BackendKey]struct{} {
	keys := map[BackendKey]struct{}{}
	for ingress := range p.byService[service] {
		for _, b := range p.fragments[ingress].backends {
			if b.key.Service.String() == service {
				keys[b.key] = struct{}{}
			}
		}
	}
	return keys
}

// updateReferences rejects mentions of Services and ports that do not exist.
func (p *Planner) updateReferences(snap *state.Snapshot, d *dirty) {
	for key := range d.references {
		f := p.fragments[key]
		if f == nil {
			continue
		}
		var rejected []model.Rejected
		for _, b := range f.backends {
			if _, problem := resolve(snap, b.key, p.options.ExternalNames); problem != nil {
				problem.Ref, problem.Field = refOf(f.ing), b.field+fieldOf(problem.Reason, b.key.Port)
				rejected = append(rejected, *problem)
			}
		}
		p.reject(unit{"backend", key}, rejected, d)
	}
}

func fieldOf(reason string, port model.IntOrString) string {
	switch {
	case reason != "ServicePortNotFound":
		return ".service.name"
	case port.Str != "":
		return ".service.port.name"
	}
	return ".service.port.number"
}

func (p *Planner) claimed() []model.Name {
	names := make([]model.Name, 0, len(p.fragments))
	for _, f := range p.fragments {
		names = append(names, f.ing.Name)
	}
	slices.SortFunc(names, model.Name.Compare)
	return names
}
