package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/fairway-net/fairway/internal/plan/route"
)

// externals puts addresses into the backends that are names of the DNS, before a
// plan is served, and again when the names have other addresses.
type externals struct {
	lookup func(ctx context.Context, name string) ([]netip.Addr, error)
	apply  func(*route.Plan)
	log    *slog.Logger

	mu    sync.Mutex
	plan  *route.Plan
	known map[string][]netip.Addr
}

// The times of names: how often they are asked for, and how long an answer may take.
const (
	externalEvery = 10 * time.Second
	externalTime  = 2 * time.Second
)

// Apply serves a plan.
func (e *externals) Apply(ctx context.Context, p *route.Plan) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.plan = p
	for name := range names(p) {
		if _, ok := e.known[name]; !ok {
			e.ask(ctx, name)
		}
	}
	e.apply(e.filled())
}

// Run asks again until ctx ends.
func (e *externals) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(externalEvery):
		}
		e.refresh(ctx)
	}
}

func (e *externals) refresh(ctx context.Context) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.plan == nil {
		return
	}
	wanted, changed := names(e.plan), false
	for name := range e.known {
		if !wanted[name] {
			delete(e.known, name)
		}
	}
	for name := range wanted {
		changed = e.ask(ctx, name) || changed
	}
	if changed {
		e.apply(e.filled())
	}
}

// ask says whether the addresses of a name have changed. Without an answer they stay.
func (e *externals) ask(ctx context.Context, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, externalTime)
	defer cancel()
	addrs, err := e.lookup(ctx, name)
	if err != nil {
		e.log.Warn("look up external name", "name", name, "err", err)
		if _, ok := e.known[name]; ok {
			return false
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	changed := !slices.Equal(addrs, e.known[name])
	e.known[name] = addrs
	return changed
}

func names(p *route.Plan) map[string]bool {
	out := map[string]bool{}
	for _, key := range p.External {
		out[p.Backends.Get(key).External] = true
	}
	return out
}

// filled is the plan with addresses.
func (e *externals) filled() *route.Plan {
	var edit *route.Edit[route.BackendKey, *route.Backend]
	for _, key := range e.plan.External {
		b := e.plan.Backends.Get(key)
		addrs := e.known[b.External]
		if len(addrs) == 0 {
			continue
		}
		if edit == nil {
			edit = e.plan.Backends.Edit()
		}
		with := *b
		with.Problem, with.Endpoints = "", nil
		for _, a := range addrs {
			with.Endpoints = append(with.Endpoints, route.Endpoint{Addr: netip.AddrPortFrom(a.Unmap(), b.Port)})
		}
		edit.Set(key, &with)
	}
	if edit == nil {
		return e.plan
	}
	out := *e.plan
	out.Backends = edit.Table()
	return &out
}
