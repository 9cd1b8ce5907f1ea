package route

import (
	"slices"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// dirty is what an Update has to make anew.
type dirty struct {
	ingresses, hosts, services, references              map[string]struct{}
	renewed                                             map[string]struct{}     // Ingresses to translate again though they are the same
	backends                                            map[BackendKey]struct{} // whose mentions came or went
	owners                                              map[model.Name]struct{} // Ingresses that are claimed now and were not, or the other way round
	certs, rejected, claimed, options, passing, streams bool
}

func (d *dirty) renew(ingress string) {
	if d.renewed == nil {
		d.renewed = map[string]struct{}{}
	}
	d.renewed[ingress] = struct{}{}
}

// survey translates changed objects into units to make anew.
func (p *Planner) survey(snap *state.Snapshot, changes state.Changes, now time.Time) *dirty {
	d := &dirty{ingresses: map[string]struct{}{}, hosts: map[string]struct{}{}, services: map[string]struct{}{}, references: map[string]struct{}{},
		backends: map[BackendKey]struct{}{}, owners: map[model.Name]struct{}{}}
	// Any Ingress may be ours now, or no longer, or mean something else.
	if p.plan == nil || changes.Kinds(model.KindIngressClass) || p.optionsChanged(changes) {
		p.surveyAll(snap, d)
		return d
	}
	for ch := range changes.Keys {
		p.surveyChange(snap, ch, d)
	}
	if !p.expiry.IsZero() && now.After(p.expiry) {
		d.certs = true
	}
	return d
}

// surveyAll has everything made anew, with the options as they are now.
func (p *Planner) surveyAll(snap *state.Snapshot, d *dirty) {
	var rejected []model.Rejected
	p.options, rejected = readOptions(snap, p.params.ConfigMaps)
	d.hosts[""] = struct{}{} // the fallback for all hosts may go
	for host := range p.hosts {
		d.hosts[host] = struct{}{}
	}
	for service, keys := range p.keys {
		d.services[service] = struct{}{}
		for key := range keys {
			keys[key] = 0
			d.backends[key] = struct{}{}
		}
	}
	p.streams = nil
	for key := range snap.Ingresses.All() {
		d.ingresses[key] = struct{}{}
	}
	d.certs, d.rejected, d.claimed, d.options, d.passing = true, true, true, true, true
	p.reset()
	if len(rejected) > 0 {
		p.rejected[unit{"options", ""}] = rejected
	}
	p.at = placeOf(snap, p.params.Node)
	p.surveyStreams(snap, d)
	p.useDefault(snap, d)
}

// surveyChange has made anew what depends on one object.
func (p *Planner) surveyChange(snap *state.Snapshot, ch state.Change, d *dirty) {
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
		if ch.Key == p.options.DefaultBackend.String() {
			p.useDefault(snap, d)
		}
	case model.KindEndpointSlice: // "namespace/service/slice"
		d.services[ch.Key[:strings.LastIndexByte(ch.Key, '/')]] = struct{}{}
	case model.KindSecret:
		d.certs = d.certs || len(p.bySecret[ch.Key]) > 0 || ch.Key == p.options.DefaultCertificate.String()
	}
	if p.moved(snap, ch) {
		for service := range p.keys {
			d.services[service] = struct{}{}
		}
	}
	if !d.streams && p.streamsChanged(ch) {
		p.surveyStreams(snap, d)
	}
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
	d.passing = d.passing || f.settings.Passthrough
}
