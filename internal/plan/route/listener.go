package route

import (
	"reflect"
	"slices"
)

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
	changed := map[string]*Host{} // nil: gone
	for pattern := range d.hosts {
		old := p.hosts[pattern]
		keys := p.byHost[pattern]
		if len(keys) == 0 {
			delete(p.hosts, pattern)
			p.reject(unit{"host", pattern}, nil, d)
			if old != nil {
				changed[pattern] = nil
			}
			continue
		}
		h, rejected := mergeHost(pattern, p.sorted(keys), p.shared)
		p.reject(unit{"host", pattern}, rejected, d)
		if !h.Equal(old) {
			p.hosts[pattern], changed[pattern] = h, h
		}
	}
	before, fallback := (*Hosts)(nil), (*Rule)(nil)
	if next.Listeners != nil {
		before = next.Listeners[0].Hosts
		fallback = before.fallback
	}
	if _, ok := d.hosts[""]; ok || before == nil {
		fallback = p.fallback()
	}
	if before != nil && len(changed) == 0 && reflect.DeepEqual(before.fallback, fallback) {
		return false
	}
	p.listen(next, before.with(changed, fallback), nil)
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
		{Name: "http", Port: p.params.HTTP, Hosts: hosts, Certs: certs},
		{Name: "https", Port: p.params.HTTPS, TLS: true, Hosts: hosts, Certs: certs},
	}
}

// fallback is the default backend for what no host has: that of the oldest
// Ingress without rules, else of the oldest one, else that of the option.
func (p *Planner) fallback() *Rule {
	var best *fragment
	for _, f := range p.fallbacks {
		if f.isCanary() {
			continue
		}
		if best == nil || len(f.hosts) == 0 && len(best.hosts) > 0 ||
			(len(f.hosts) == 0) == (len(best.hosts) == 0) && compareAge(f, best) < 0 {
			best = f
		}
	}
	if best == nil {
		return p.defaultRule
	}
	return best.fallback
}
