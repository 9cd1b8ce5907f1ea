package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/plan/route"
)

func endpointsOf(n int) (out []*endpoint) {
	for i := range n {
		out = append(out, &endpoint{key: endpointKey{addr: netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:80", i+1))}, token: fmt.Sprint("t", i)})
	}
	return out
}

func poolOf(all []*endpoint) *pool {
	return &pool{backend: &poolBackend{}, endpoints: all, turn: new(atomic.Uint32), queue: &queue{}}
}

// TestHash: a key keeps its endpoint, all have their share, and when one leaves only
// its keys move.
func TestHash(t *testing.T) {
	all := endpointsOf(5)
	p, without := poolOf(all), poolOf(all[1:])
	share := map[*endpoint]int{}
	for i := range 10_000 {
		w := wish{balance: &route.Balance{}, key: fmt.Sprint("key ", i)}
		e := p.choose(nil, w, time.Now())
		if again := p.choose(nil, w, time.Now()); again != e {
			t.Fatalf("key %d moves", i)
		}
		share[e]++
		if after := without.choose(nil, w, time.Now()); e != all[0] && after != e {
			t.Fatalf("key %d moves from %s to %s", i, e.token, after.token)
		}
		if second := p.choose([]*endpoint{e}, w, time.Now()); second == e || second == nil {
			t.Fatalf("key %d: second choice %v", i, second)
		}
	}
	for _, e := range all {
		if n := share[e]; n < 1800 || n > 2200 {
			t.Errorf("%s has %d of 10,000", e.token, n)
		}
	}
	seen := map[*endpoint]bool{}
	for range 200 {
		seen[p.choose(nil, wish{balance: &route.Balance{Subset: 2}, key: "k"}, time.Now())] = true
	}
	if len(seen) != 2 {
		t.Errorf("a subset of 2 has %d", len(seen))
	}
}

// TestBetterOfTwo: a slow endpoint gets less, one that rests nothing, and if all rest they serve.
func TestBetterOfTwo(t *testing.T) {
	all := endpointsOf(3)
	p := poolOf(all)
	now := time.Now()
	all[0].observe(100*time.Millisecond, now)
	all[1].observe(time.Millisecond, now)
	all[2].observe(time.Millisecond, now)
	count := map[*endpoint]int{}
	for range 3000 {
		count[p.choose(nil, wish{balance: &route.Balance{EWMA: true}}, now)]++
	}
	if count[all[0]] > 500 || count[all[1]] < 800 || count[all[2]] < 800 {
		t.Errorf("%d %d %d", count[all[0]], count[all[1]], count[all[2]])
	}
	for range suspectAfter {
		all[1].suspect(now)
	}
	for range 100 {
		if p.choose(nil, wish{balance: &route.Balance{EWMA: true}}, now) == all[1] {
			t.Fatal("an endpoint that rests was chosen")
		}
	}
	all[0].failed(now)
	for range suspectAfter {
		all[2].suspect(now)
	}
	if p.choose(nil, wish{}, now) == nil {
		t.Error("all rest, and nobody serves")
	}
	all[1].succeeded()
	if all[1].resting(now) {
		t.Error("rests after a success")
	}
}

func TestBudget(t *testing.T) {
	var b budget
	for range 100 {
		b.request()
	}
	n := 0
	for b.retry() {
		n++
	}
	if n < 20+retriesPerSecond || n > 20+3*retriesPerSecond { // a second may have begun
		t.Errorf("%d retries for 100 requests", n)
	}
}

// TestPassthrough: TLS of a name goes to its endpoint unopened; of others, to us.
func TestPassthrough(t *testing.T) {
	t.Parallel()
	behind := newWorld(t)
	cert := secret(t, "c", "own.example")
	ing := ingress("i", "own.example", "/ a")
	behind.set(service("a"), slice("a", addrOf(behind.backend("inner"))), ing, cert)
	w := newWorld(t)
	pass := ingress("p", "own.example", "/ tls")
	pass.Annotations[nginx.Prefix+"ssl-passthrough"] = "true"
	w.set(service("tls"), slice("tls", addrPort(behind.server.Addr("https"))), pass,
		service("a"), slice("a", addrOf(w.backend("outer"))), ingress("i", "other.example", "/ a"))
	for host, want := range map[string]string{"own.example": "inner", "other.example": "outer"} {
		resp, _ := w.get("https://" + host + "/")
		if got := resp.Header.Get("X-Backend"); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
}

// TestUnwanted: a response that the rule does not want is another endpoint's to replace.
func TestUnwanted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bad := w.backendFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(503) })
	good := w.backendFunc(func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "good") })
	ing := ingress("i", "h", "/ a")
	ing.Annotations[nginx.Prefix+"proxy-next-upstream"] = "error http_503"
	w.set(service("a"), sliceNamed("a-0", "a", bad), sliceNamed("a-1", "a", good), ing)
	for range 4 {
		if resp, text := w.get("http://h/"); resp.StatusCode != 200 || text != "good" {
			t.Errorf("GET: %d %q", resp.StatusCode, text)
		}
	}
	w.turnOf(named("a"), bad)
	if resp, _ := w.request("POST", "http://h/", nil); resp.StatusCode != 503 {
		t.Errorf("POST: %d", resp.StatusCode)
	}
}
