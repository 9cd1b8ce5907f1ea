package route

import (
	"slices"
	"strings"
)

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
