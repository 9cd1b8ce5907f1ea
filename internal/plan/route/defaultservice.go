package route

import (
	"fmt"

	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// firstPort is the port of a Service that is meant where none is named: its first one
// of TCP; 80 if there is none.
func firstPort(svc *model.Service) model.IntOrString {
	if svc != nil {
		for i := range svc.Ports {
			if svc.Ports[i].Protocol == model.TCP {
				return model.IntOrString{Int: svc.Ports[i].Port}
			}
		}
	}
	return model.IntOrString{Int: 80}
}

// useDefault brings the rule for what no Ingress wants, which the option
// default-backend-service asks for, in line with the Service.
func (p *Planner) useDefault(snap *state.Snapshot, d *dirty) {
	name := p.options.DefaultBackend
	key, source := BackendKey{}, p.optionSource(snap, nginx.DefaultBackendOption)
	var rejected []model.Rejected
	if name.Name != "" {
		svc := snap.Service(name)
		key = BackendKey{Service: name, Port: firstPort(svc)}
		if svc == nil {
			rejected = append(rejected, model.Rejected{Ref: source.Ref, Field: source.Field, Reason: "ServiceNotFound",
				Message: fmt.Sprintf("Service %s does not exist", name), Fix: "create it, or remove the option; until then requests without a rule get 404"})
		}
	}
	p.reject(unit{"default", ""}, rejected, d)
	if key == p.defaultKey {
		return
	}
	if p.defaultKey.Service.Name != "" {
		p.mention(p.defaultKey, -1, d)
	}
	p.defaultKey, p.defaultRule = key, nil
	if name.Name != "" {
		p.mention(key, 1, d)
		// As ingress-nginx has it: the options of proxying hold, and no redirect to TLS and no
		// authentication; without a ready pod it is as if there were no Service.
		f := &fragment{ing: &model.Ingress{}, options: p.options, settings: p.options.Base}
		p.defaultRule = &Rule{Source: source, MaxBody: f.settings.BodySize,
			Trace: trace(&f.settings.Trace), Unlogged: !p.options.LogDefault || !f.settings.AccessLog, Match: Match{Kind: Prefix, Path: "/"}, Forward: f.toBackend(key)}
		p.defaultRule.Forward.Optional = true
	}
	d.hosts[""] = struct{}{} // who falls back to nothing falls back to it
}
