package proxy

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/fairway-net/fairway/internal/dialect/fairway"
	"github.com/fairway-net/fairway/internal/plan/route"
)

// TestHealthChecks: a pod that says that it is not well is left alone until it is again;
// if all say so they are asked nevertheless.
func TestHealthChecks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newPods(w, 2)
	w.set(append(p.slices(), settled("a", "health-check", "/healthz", "health-check-interval", "100ms", "health-check-failures", "2", "health-check-successes", "2"), ingress("i", "h", "/ a"))...)
	of := func(i int) *endpoint {
		w.server.mu.Lock()
		defer w.server.mu.Unlock()
		return w.server.endpoints[endpointKey{named("a"), p.addrs[i]}]
	}
	p.sick[0].Store(true)
	eventually(t, func() bool { return of(0).sick.Load() }, "pod 0 is found not to be well")
	p.reset()
	for range 20 {
		if resp, _ := w.get("http://h/"); resp.StatusCode != 200 {
			t.Fatal(resp.StatusCode)
		}
	}
	if n := p.counts[0].Load(); n != 0 {
		t.Errorf("the pod that is not well got %d requests", n)
	}
	p.sick[1].Store(true)
	eventually(t, func() bool { return of(1).sick.Load() }, "pod 1 is found not to be well")
	if resp, _ := w.get("http://h/"); resp.StatusCode != 200 {
		t.Errorf("where no pod is well: %d", resp.StatusCode)
	}
	p.sick[0].Store(false)
	eventually(t, func() bool { return !of(0).sick.Load() }, "pod 0 is well again")
	// Without the annotation nobody is asked, and nothing is held against a pod.
	w.set(service("a"))
	if of(1).sick.Load() || of(1).check != nil {
		t.Error("a pod is still examined")
	}
}

// TestHealthCheckKinds: a connection is enough if that is said, and HTTP/2 and TLS are
// spoken where requests are.
func TestHealthCheckKinds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	plain := w.backendFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Host != "check.example" || r.UserAgent() != "fairway-health-check" {
			rw.WriteHeader(400)
		}
	})
	c := fairway.Defaults().Check
	c.Host, c.Path = "check.example", "/x"
	for _, k := range []struct {
		protocol route.Protocol
		addr     string
		path     string
		well     bool
	}{
		{route.HTTP1, plain.String(), "/x", true}, {route.HTTP1, plain.String(), "tcp", true}, {route.H2C, plain.String(), "/x", false},
		{route.HTTP1, "127.0.0.1:1", "tcp", false}, {route.HTTP1, "127.0.0.1:1", "/x", false}, {route.HTTPS, plain.String(), "/x", false},
		// Another gateway speaks all of them, and has 404 for everybody.
		{route.HTTPS, addrPort(w.server.Addr("https")).String(), "tcp", true}, {route.HTTPS, addrPort(w.server.Addr("https")).String(), "/x", false},
	} {
		c.Path = k.path
		if err := asks(k.addr, c, k.protocol, 0)(t.Context()); (err == nil) != k.well {
			t.Errorf("%s %s %s: %v", k.protocol, k.addr, k.path, err)
		}
	}
	w.set(service("a"), slice("a", plain), ingress("i", "check.example", "/ a"))
	for protocol, listener := range map[route.Protocol]string{route.HTTPS: "https", route.H2: "https", route.H2C: "http"} {
		c.Path = "/x"
		if err := asks(addrPort(w.server.Addr(listener)).String(), c, protocol, 0)(t.Context()); err != nil {
			t.Errorf("%s: %v", protocol, err)
		}
	}
}

// TestPassiveEjection: a pod that breaks requests is left alone for a while.
func TestPassiveEjection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := w.backendFunc(func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "good") })
	var asked atomic.Int64
	bad := w.backendFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1); panic(http.ErrAbortHandler) })
	w.set(service("a"), sliceNamed("a-0", "a", bad), sliceNamed("a-1", "a", good), ingress("i", "h", "/ a"))
	for range 60 {
		if _, text := w.get("http://h/"); text != "good" {
			t.Fatalf("%q", text)
		}
	}
	if n := asked.Load(); n > 2*suspectAfter {
		t.Errorf("the pod that breaks requests got %d", n)
	}
}
