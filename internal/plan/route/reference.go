package route

import (
	"maps"
	"slices"

	"github.com/fairway-net/fairway/internal/dialect/fairway"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// updateBackends resolves the backends of the Services in d, and those that nothing
// named before.
func (p *Planner) updateBackends(snap *state.Snapshot, next *Plan, d *dirty) bool {
	var edit *Edit[BackendKey, *Backend] // once there is something to change
	begin := func() *Edit[BackendKey, *Backend] {
		if edit == nil {
			edit = next.Backends.Edit()
		}
		return edit
	}
	for service := range d.services {
		for key := range p.keys[service] {
			d.backends[key] = struct{}{}
		}
	}
	judged := map[string]struct{}{}
	for key := range d.backends {
		service := key.Service.String()
		if _, done := judged[service]; !done {
			judged[service] = struct{}{}
			p.reject(unit{"service", service}, p.judgeService(snap, key.Service), d)
		}
		old := next.Backends.Get(key)
		if p.keys[service][key] == 0 {
			if delete(p.keys[service], key); len(p.keys[service]) == 0 {
				delete(p.keys, service)
			}
			if old != nil {
				begin().Delete(key)
			}
			continue
		}
		if _, touched := d.services[service]; old != nil && !touched {
			continue
		}
		if b, _ := resolve(snap, key, p.at, p.options.ExternalNames); old == nil || !b.Equal(old) {
			begin().Set(key, b)
		}
	}
	if edit == nil {
		return false
	}
	before := next.Backends
	next.Backends = edit.Table()
	for key := range next.Backends.Changed(before) {
		next.External = withExternal(next.External, next.Backends.Get(key), key)
	}
	return true
}

// judgeService says what is wrong with the annotations of a Service that something names.
func (p *Planner) judgeService(snap *state.Snapshot, service model.Name) []model.Rejected {
	svc := snap.Service(service)
	named := slices.ContainsFunc(slices.Collect(maps.Values(p.keys[service.String()])), func(n int) bool { return n > 0 })
	if svc == nil || !named {
		return nil
	}
	_, rejected := fairway.ParseService(svc)
	return rejected
}

// withExternal returns keys with that of b, if b is a name of the DNS, else without it.
// What is given stays as it is.
func withExternal(keys []BackendKey, b *Backend, key BackendKey) []BackendKey {
	i, found := slices.BinarySearchFunc(keys, key, BackendKey.Compare)
	switch external := b != nil && b.External != ""; {
	case external && !found:
		return slices.Insert(slices.Clip(keys), i, key)
	case !external && found:
		return slices.Delete(slices.Clone(keys), i, i+1)
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
			if _, problem := resolve(snap, b.key, p.at, p.options.ExternalNames); problem != nil {
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
