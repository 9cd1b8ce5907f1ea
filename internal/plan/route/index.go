package route

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

func (p *Planner) link(key string, f *fragment, d *dirty) {
	p.fragments[key] = f
	p.touch(f, d)
	d.references[key] = struct{}{}
	for _, h := range f.patterns() {
		p.byHost.add(h, key)
	}
	for _, b := range f.backends {
		p.byService.add(b.key.Service.String(), key)
		p.mention(b.key, 1, d)
	}
	if f.fallback != nil {
		p.fallbacks[key] = f
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
		p.mention(b.key, -1, d)
	}
	delete(p.fallbacks, key)
	for _, c := range f.certs {
		p.bySecret.remove(c.secret.String(), key)
	}
	for _, n := range f.needs {
		if delete(p.byObject[n], key); len(p.byObject[n]) == 0 {
			delete(p.byObject, n)
		}
	}
}

// mention counts how often Ingresses, and ports for streams, name a backend.
func (p *Planner) mention(key BackendKey, n int, d *dirty) {
	service := key.Service.String()
	if p.keys[service] == nil {
		p.keys[service] = map[BackendKey]int{}
	}
	p.keys[service][key] += n
	d.backends[key] = struct{}{}
}
