package route

import (
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

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

// keysOf returns the backends of a Service that some Ingress, or a port for streams, mentions.
func (p *Planner) keysOf(service string) map[BackendKey]struct{} {
	keys := map[BackendKey]struct{}{}
	for ingress := range p.byService[service] {
		for _, b := range p.fragments[ingress].backends {
			if b.key.Service.String() == service {
				keys[b.key] = struct{}{}
			}
		}
	}
	for _, s := range p.streams {
		if s.Backend.Service.String() == service {
			keys[s.Backend] = struct{}{}
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
