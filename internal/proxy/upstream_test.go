package proxy

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/dialect/fairway"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/route"
)

// settle is a Service with annotations of Fairway's.
func settled(name string, pairs ...string) *model.Service {
	s := service(name)
	s.Annotations = map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		s.Annotations[fairway.Prefix+pairs[i]] = pairs[i+1]
	}
	return s
}

// pods are endpoints of Service a that answer with their number, and hold requests for
// /hold until they are let go.
type pods struct {
	addrs  []netip.AddrPort
	counts []atomic.Int64
	held   atomic.Int64
	free   chan struct{}
	sick   []atomic.Bool
}

func newPods(w *world, n int) *pods {
	p := &pods{counts: make([]atomic.Int64, n), sick: make([]atomic.Bool, n), free: make(chan struct{})}
	for i := range n {
		p.addrs = append(p.addrs, w.backendFunc(func(rw http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/healthz":
				if p.sick[i].Load() {
					rw.WriteHeader(500)
				}
				return
			case "/hold":
				p.counts[i].Add(1)
				p.held.Add(1)
				<-p.free
			default:
				p.counts[i].Add(1)
			}
			fmt.Fprint(rw, i)
		}))
	}
	w.t.Cleanup(func() {
		select {
		case <-p.free:
		default:
			close(p.free)
		}
	})
	return p
}

func (p *pods) slices() (out []any) {
	for i, a := range p.addrs {
		out = append(out, sliceNamed(fmt.Sprint("a-", i), "a", a))
	}
	return out
}

func (p *pods) reset() {
	for i := range p.counts {
		p.counts[i].Store(0)
	}
}

// hold begins n requests that do not end before p.free is closed.
func (w *world) hold(p *pods, n int, done func(status int)) *sync.WaitGroup {
	var wg sync.WaitGroup
	for range n {
		c := w.client()
		wg.Go(func() {
			resp, _, err := w.try(c, "GET", "http://h/hold", nil)
			if err != nil {
				w.t.Error(err)
				return
			}
			done(resp.StatusCode)
		})
	}
	return &wg
}

func TestPolicies(t *testing.T) {
	now := time.Now()
	for _, policy := range []fairway.Policy{fairway.RoundRobin, fairway.LeastRequest, fairway.RandomTwo, fairway.EWMA} {
		all := endpointsOf(4)
		p := poolOf(all)
		p.backend.Upstream.Policy = policy
		all[0].active.Store(50)
		count := map[*endpoint]int{}
		for range 4000 {
			count[p.choose(nil, wish{}, now)]++
		}
		busy, want := count[all[0]], map[fairway.Policy][2]int{fairway.RoundRobin: {900, 1100}, fairway.LeastRequest: {0, 0}, fairway.RandomTwo: {100, 500}, fairway.EWMA: {100, 500}}[policy]
		if busy < want[0] || busy > want[1] {
			t.Errorf("%q: the busy one has %d of 4,000, want %v", policy, busy, want)
		}
		for _, e := range all[1:] {
			if count[e] < 900 || count[e] > 1500 {
				t.Errorf("%q: %s has %d of 4,000", policy, e.token, count[e])
			}
		}
	}
}

// TestLeastRequest: a pod that is slow to answer gets no more until the others have as many.
func TestLeastRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newPods(w, 3)
	w.set(append(p.slices(), settled("a", "balance", "least_request"), ingress("i", "h", "/ a"))...)
	wg := w.hold(p, 3, func(int) {})
	eventually(t, func() bool { return p.held.Load() == 3 }, "three requests are held")
	for i := range p.counts {
		if n := p.counts[i].Load(); n != 1 {
			t.Errorf("pod %d has %d requests", i, n)
		}
	}
	close(p.free)
	wg.Wait()
}

func TestSlowStart(t *testing.T) {
	now := time.Now()
	for _, policy := range []fairway.Policy{fairway.RoundRobin, fairway.LeastRequest, fairway.RandomTwo, fairway.EWMA} {
		all := endpointsOf(4)
		p := poolOf(all)
		p.backend.Upstream.Policy, p.backend.Upstream.SlowStart = policy, 100*time.Second
		var before int
		for i, age := range []time.Duration{0, 40 * time.Second, 100 * time.Second} {
			all[0].born.Store(now.Add(-age).UnixNano())
			count := map[*endpoint]int{}
			for range 4000 {
				e := p.choose(nil, wish{}, now)
				count[e]++
			}
			n := count[all[0]]
			// Least request without anything under way never takes one with a smaller share.
			low := map[fairway.Policy][]int{fairway.RoundRobin: {50, 300, 950}, fairway.LeastRequest: {0, 0, 850}, fairway.RandomTwo: {50, 300, 850}, fairway.EWMA: {50, 300, 850}}[policy][i]
			high := []int{500, 800, 1150}[i]
			if n < low || n > high || n < before {
				t.Errorf("%q, %v old: %d of 4,000", policy, age, n)
			}
			before = n
		}
	}
}

// TestSlowStartOfNewPod: with real requests; pods that were there first start at once.
func TestSlowStartOfNewPod(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newPods(w, 3)
	s := p.slices()
	w.set(append(s[:2:2], settled("a", "slow-start", "1h"), ingress("i", "h", "/ a"))...)
	w.set(s[2])
	for range 300 {
		w.get("http://h/")
	}
	// A third of them would be 100; a tenth of that is 10.
	if n := p.counts[2].Load(); n > 30 {
		t.Errorf("the new pod has %d of 300", n)
	}
	if a, b := p.counts[0].Load(), p.counts[1].Load(); a < 100 || b < 100 {
		t.Errorf("the others have %d and %d of 300", a, b)
	}
}

// TestMaxRequests: beyond the limit of all pods requests wait, as many as may, and then
// get an answer at once.
func TestMaxRequests(t *testing.T) {
	t.Parallel()
	for _, annotation := range []string{"max-requests", "max-connections"} {
		w := newWorld(t)
		p := newPods(w, 2)
		w.set(append(p.slices(), settled("a", annotation, "2", "max-pending", "1"), annotate(ingress("i", "h", "/ a"), "proxy-connect-timeout", "30"))...)
		var ok, refused atomic.Int64
		wg := w.hold(p, 4, func(int) { ok.Add(1) })
		eventually(t, func() bool { return p.held.Load() == 4 }, "four requests are held")
		for i := range p.counts {
			if n := p.counts[i].Load(); n != 2 {
				t.Errorf("%s: pod %d has %d requests", annotation, i, n)
			}
		}
		queue := w.server.queues[named("a")]
		waiting := w.hold(p, 2, func(status int) {
			if status == 200 {
				ok.Add(1)
			}
		})
		eventually(t, func() bool { return queue.count.Load() == 2 }, "two requests wait")
		resp, text := w.get("http://h/")
		if resp.StatusCode != 503 || !strings.Contains(text, "all endpoints have as many requests") {
			t.Errorf("%s: beyond all limits: %d %s", annotation, resp.StatusCode, text)
		}
		if refused.Load() != 0 || w.server.metrics.overflows.Load() != 1 {
			t.Errorf("%s: %d overflows", annotation, w.server.metrics.overflows.Load())
		}
		close(p.free)
		wg.Wait()
		waiting.Wait()
		if ok.Load() != 6 {
			t.Errorf("%s: %d requests of 6 were answered", annotation, ok.Load())
		}
		if resp, _ := w.get("http://h/"); resp.StatusCode != 200 {
			t.Errorf("%s: afterwards: %d", annotation, resp.StatusCode)
		}
	}
}

// TestPendingEnds: who waits gets room from a new pod, or an answer when the time is over.
func TestPendingEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newPods(w, 2)
	s := p.slices()
	w.set(s[0], settled("a", "max-requests", "1", "max-pending", "5"), annotate(ingress("i", "h", "/ a"), "proxy-connect-timeout", "1"))
	wg := w.hold(p, 1, func(int) {})
	eventually(t, func() bool { return p.held.Load() == 1 }, "one request is held")
	if resp, _ := w.get("http://h/"); resp.StatusCode != 503 {
		t.Errorf("after the time: %d", resp.StatusCode)
	}
	got := make(chan int)
	go func() {
		resp, _, err := w.try(w.client(), "GET", "http://h/", nil)
		if err != nil {
			got <- 0
			return
		}
		got <- resp.StatusCode
	}()
	eventually(t, func() bool { return w.server.queues[named("a")].count.Load() == 1 }, "one request waits")
	w.set(s[1])
	if status := <-got; status != 200 || p.counts[1].Load() != 1 {
		t.Errorf("with a new pod: %d", status)
	}
	close(p.free)
	wg.Wait()
	w.set(service("a"))
	if n := len(w.server.queues); n != 1 {
		t.Errorf("%d queues", n)
	}
}

// TestNear: those that are near get all as long as enough of them are well, then a share
// that falls; and all goes to the others if none is.
func TestNear(t *testing.T) {
	now := time.Now()
	for ill, want := range []int{4000, 4000, 2800, 1400, 0} { // of four: 140 %, 105 %, 70 %, 35 %
		all := endpointsOf(8)
		p := poolOf(all)
		p.near = all[:4]
		for _, e := range all[:ill] {
			e.sick.Store(true)
		}
		n := 0
		for range 4000 {
			e := p.choose(nil, wish{}, now)
			for i := range p.near {
				if e == p.near[i] {
					n++
				}
			}
		}
		// What is not kept near is spread over all that are well.
		if well := 4 - ill; want < 4000 && well > 0 {
			want += (4000 - want) * well / (well + 4)
		}
		if n < want-200 || n > want+200 {
			t.Errorf("%d of 4 not well: %d of 4,000 stay near, want %d", ill, n, want)
		}
	}
	all := endpointsOf(2)
	p := poolOf(all)
	p.near, p.backend.Upstream.MaxRequests = all[:1], 1
	all[0].active.Store(1)
	if e := p.choose(nil, wish{}, now); e != all[1] {
		t.Error("one that is near and full keeps requests from those that have room")
	}
}

// TestZone: with real requests, from the zone of the gateway's node.
func TestZone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.planner = route.New(route.Params{Node: "node-1"})
	p := newPods(w, 2)
	s := p.slices()
	s[0].(*model.EndpointSlice).Endpoints[0].Zone = "far"
	s[1].(*model.EndpointSlice).Endpoints[0].Zone = "near"
	w.set(append(s, &model.Node{Name: "node-1", Zone: "near"}, settled("a", "zones", "prefer"), ingress("i", "h", "/ a"))...)
	for range 20 {
		w.get("http://h/")
	}
	if far, near := p.counts[0].Load(), p.counts[1].Load(); far != 0 || near != 20 {
		t.Errorf("%d requests to the far zone, %d to the near one", far, near)
	}
	w.set(sliceNamed("a-1", "a"))
	if _, text := w.get("http://h/"); text != "0" {
		t.Errorf("without a near pod: %q", text)
	}
}

// TestLeavingEndpoint: one that leaves ends what it has and gets no more, and its
// connections are closed.
func TestLeavingEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newPods(w, 2)
	s := p.slices()
	w.set(s[0], service("a"), ingress("i", "h", "/ a"))
	var ok atomic.Int64
	wg := w.hold(p, 2, func(status int) {
		if status == 200 {
			ok.Add(1)
		}
	})
	eventually(t, func() bool { return p.held.Load() == 2 }, "two requests are held")
	w.server.mu.Lock()
	leaving := w.server.endpoints[endpointKey{named("a"), p.addrs[0]}]
	w.server.mu.Unlock()
	w.set(s[1], sliceNamed("a-0", "a"))
	for range 10 {
		if _, text := w.get("http://h/"); text != "1" {
			t.Fatalf("pod %s answered", text)
		}
	}
	close(p.free)
	wg.Wait()
	if ok.Load() != 2 {
		t.Errorf("%d of 2 requests ended well", ok.Load())
	}
	eventually(t, func() bool {
		leaving.mu.Lock()
		defer leaving.mu.Unlock()
		return leaving.active.Load() == 0 && len(leaving.plain.idle) == 0
	}, "its connections are closed")
	if n := p.counts[0].Load(); n != 2 {
		t.Errorf("it got %d requests", n)
	}
}
