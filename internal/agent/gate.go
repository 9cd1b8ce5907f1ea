package agent

import (
	"context"
	"fmt"
	"sync"
)

// gates are the steps to readiness, each passed once.
type gates struct {
	order []string
	ch    map[string]chan struct{} // closed when passed

	mu    sync.Mutex
	notes map[string]error // why one is not passed yet
}

func newGates(names ...string) *gates {
	g := &gates{order: names, ch: map[string]chan struct{}{}, notes: map[string]error{}}
	for _, n := range names {
		g.ch[n] = make(chan struct{})
	}
	return g
}

// open passes a gate; again it changes nothing.
func (g *gates) open(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.passed(name) {
		close(g.ch[name])
	}
}

// opener returns open for one name.
func (g *gates) opener(name string) func() { return func() { g.open(name) } }

// note remembers why a gate is not passed.
func (g *gates) note(name string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.notes[name] = err
}

func (g *gates) passed(name string) bool {
	select {
	case <-g.ch[name]:
		return true
	default:
		return false
	}
}

// await waits for names, or for the end of ctx.
func (g *gates) await(ctx context.Context, names ...string) error {
	for _, n := range names {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-g.ch[n]:
		}
	}
	return nil
}

// check returns nil when all gates are passed, else the first that is not.
func (g *gates) check() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range g.order {
		if g.passed(n) {
			continue
		}
		if err := g.notes[n]; err != nil {
			return fmt.Errorf("not ready: %s: %w", n, err)
		}
		return fmt.Errorf("not ready: %s is not done yet", n)
	}
	return nil
}
