package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// TestNodeHealth asks at the ports of kube-proxy, in the forms that upstream's
// "should check kube-proxy urls" and cloud providers expect.
func TestNodeHealth(t *testing.T) {
	eligible, ready := true, error(nil)
	n := &nodeHealth{eligible: func() bool { return eligible }, ready: func() error { return ready }, now: time.Now}
	addr := fmt.Sprint("127.0.0.1:", unusedPort(t))
	if err := n.serve(t.Context(), addr, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	type body struct {
		LastUpdated, CurrentTime time.Time
		NodeEligible             *bool
	}
	ask := func(path string) (int, body) {
		resp, err := http.Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var b body
		if err := json.NewDecoder(resp.Body).Decode(&b); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		return resp.StatusCode, b
	}
	ready = errors.New("starting")
	if code, b := ask("/healthz"); code != 503 || !b.LastUpdated.IsZero() {
		t.Errorf("before it is ready: %d %+v", code, b)
	}
	for _, c := range []struct {
		eligible       bool
		ready          error
		healthz, livez int
	}{{true, nil, 200, 200}, {false, nil, 503, 200}, {true, errors.New("broken"), 503, 503}} {
		eligible, ready = c.eligible, c.ready
		code, b := ask("/healthz")
		if code != c.healthz || b.NodeEligible == nil || *b.NodeEligible != c.eligible || b.LastUpdated.IsZero() {
			t.Errorf("%+v: healthz %d %+v", c, code, b)
		}
		if stale := b.LastUpdated.Before(b.CurrentTime); stale != (c.ready != nil) {
			t.Errorf("%+v: last updated %v at %v", c, b.LastUpdated, b.CurrentTime)
		}
		if code, b := ask("/livez"); code != c.livez || b.NodeEligible != nil {
			t.Errorf("%+v: livez %d %+v", c, code, b)
		}
	}
}

func TestProxyMode(t *testing.T) {
	addr := fmt.Sprint("127.0.0.1:", unusedPort(t))
	if err := serveProxyMode(t.Context(), addr, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get("http://" + addr + "/proxyMode")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 || string(b) != "ebpf" {
		t.Errorf("%d %q", resp.StatusCode, b)
	}
}

// TestProblems: a problem shows until it is over, and is logged once.
func TestProblems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProblems("here", slog.New(slog.DiscardHandler))
		r := troubleOf(errors.New("broken"))
		p.set("one", false, r)
		if err := p.severe(); err != nil || len(p.list()) != 1 || p.list()[0].Ref.String() != "Node here" {
			t.Errorf("%v, %+v", err, p.list())
		}
		<-p.changed
		p.set("one", false, r)
		select {
		case <-p.changed:
			t.Error("told twice")
		default:
		}
		p.set("two", true, r)
		if err := p.severe(); err == nil || err.Error() != "not ready: broken; see the agent's log" {
			t.Errorf("severe: %v", err)
		}
		p.clear("two")
		p.clear("one")
		p.clear("one")
		if err := p.severe(); err != nil || len(p.list()) != 0 {
			t.Errorf("after all is over: %v, %v", err, p.list())
		}
	})
}
