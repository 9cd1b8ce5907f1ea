package proxy

import (
	"fmt"
	"testing"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/route"
)

// TestRoutesGoOn: the figures of a path go on through changes of its Ingress, and end with
// the path; what is there of old plans is bounded.
func TestRoutesGoOn(t *testing.T) {
	w := newWorld(t)
	w.set(service("a"), slice("a", addrOf(w.backend("a"))))
	r := w.server.metrics.routes
	count := func(path string) uint64 {
		w.server.metrics.forget(w.server.live.Load().plan)
		r.mu.RLock()
		defer r.mu.RUnlock()
		if f := r.byKey[routeKey{named("i"), "h.example", path}]; f != nil {
			return f.status[2].Load()
		}
		return 0
	}
	const rounds = 40
	for i := range rounds {
		w.set(annotate(ingress("i", "h.example", "/ a", "/x a"), "proxy-read-timeout", fmt.Sprint(i+1)))
		w.get("http://h.example/")
		w.get("http://h.example/x")
	}
	eventually(t, func() bool { return count("/") == rounds && count("/x") == rounds }, "each request counted on its path")
	w.set(ingress("i", "h.example", "/ a"))
	if count("/") != rounds || count("/x") != 0 {
		t.Errorf("after /x was removed: %d, %d", count("/"), count("/x"))
	}
	w.set(ingress("i", "other.example", "/ a"))
	if count("/") != 0 {
		t.Error("the host is gone, and its figures are there")
	}
}

// TestRoutesBound: beyond a number of paths those of an Ingress are one, and rules of old
// plans are forgotten.
func TestRoutesBound(t *testing.T) {
	r := newRoutes()
	host := &route.Host{Pattern: "h"}
	ask := func(path string) {
		rule := &route.Rule{Source: route.Source{Ref: model.Ref{Kind: model.KindIngress, Name: named("i")}}, Match: route.Match{Path: path}}
		host.Rules = []*route.Rule{rule}
		r.of(&exchange{site: host, rule: rule}).status[2].Add(1)
	}
	for i := range mostRoutes + 100 {
		ask(fmt.Sprint("/", i))
	}
	if rest := r.byKey[routeKey{ingress: named("i")}]; len(r.byKey) != mostRoutes+1 || rest == nil || rest.status[2].Load() != 100 {
		t.Errorf("%d paths, of which the rest has %v", len(r.byKey), rest)
	}
	r = newRoutes()
	for range 10_000 {
		ask("/")
		if len(r.byRule) > 1003 {
			t.Fatalf("%d rules are remembered", len(r.byRule))
		}
	}
	if n := r.byKey[routeKey{named("i"), "h", "/"}].status[2].Load(); n != 10_000 {
		t.Errorf("%d requests are counted", n)
	}
}
