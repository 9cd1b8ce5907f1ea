package route

import "strings"

// shared has what many hosts have alike once, so that ten thousand of them fit into the
// processor's cache better: with few memory accesses per request, those that miss it are what a
// host among many costs more than one alone.
type shared struct {
	trees    map[string]*node
	forwards map[plainForward]*Forward
}

// mostShared bounds each map. Where more differ, sharing has no effect, and what hosts
// no longer use is forgotten.
const mostShared = 4096

func newShared() *shared {
	return &shared{trees: map[string]*node{}, forwards: map[plainForward]*Forward{}}
}

// tree returns the tree of rules, which are in the order in which they win.
func (s *shared) tree(rules []*Rule) *node {
	var b strings.Builder
	for _, r := range rules {
		b.WriteByte(byte(r.Match.Kind))
		if r.Match.When != nil {
			b.WriteByte('?') // where a path has its slash
		}
		b.WriteString(r.Match.Path)
		b.WriteByte(0) // of no canonical path
	}
	return take(s.trees, b.String(), func() *node { return newTree(rules) })
}

// plainForward is what a Forward has that is nothing but this.
type plainForward struct {
	backend  BackendKey
	weight   uint32
	protocol Protocol
	autoTLS  bool
	timeouts Timeouts
	tries    int
	host     string
	hold     int64
}

// forward returns a Forward that is equal to f, which may be nil.
func (s *shared) forward(f *Forward) *Forward {
	if f == nil || len(f.Targets) != 1 || f.Canary != nil || f.Affinity != nil || f.Balance != nil || f.Retry != nil || f.TLS != nil || f.Fallback != nil || f.Optional || f.Connect || f.Backlog != nil || f.Script != nil || len(f.Set)+len(f.Vars) > 0 {
		return f
	}
	t := &f.Targets[0]
	return take(s.forwards, plainForward{t.Backend, t.Weight, f.Protocol, f.AutoTLS, f.Timeouts, f.Tries, f.Host, f.Hold}, func() *Forward { return f })
}

func take[K comparable, V any](from map[K]V, key K, make func() V) V {
	if v, ok := from[key]; ok {
		return v
	}
	if len(from) >= mostShared {
		clear(from)
	}
	v := make()
	from[key] = v
	return v
}
