package proxy

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/dialect/fairway"
	"github.com/fairway-net/fairway/internal/plan/route"
)

// choice is a pool in some state and a request for it, made from octets.
type choice struct {
	p     *pool
	w     wish
	tried []*endpoint
	now   time.Time
	algo  string
}

var algorithms = []string{"in turn", "least", "random of two", "ewma", "hash", "subset", "persistent", "balanced"}

func newChoice(data []byte) *choice {
	next := func() byte {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return b
	}
	c := &choice{now: time.Now()}
	c.algo = algorithms[int(next())%len(algorithms)]
	all := endpointsOf(int(next()) % 9)
	c.p = poolOf(all)
	c.p.turn.Store(uint32(next()))
	u := &c.p.backend.Upstream
	u.MaxRequests = int(next()) % 4
	if next()%3 == 0 {
		u.SlowStart = time.Minute
	}
	for i, e := range all {
		state := next()
		e.sick.Store(state&1 != 0)
		if state&2 != 0 {
			e.failed(c.now)
		}
		e.active.Store(int64(state >> 2 & 3))
		if state&16 != 0 {
			e.born.Store(c.now.Add(-time.Duration(state) * 100 * time.Millisecond).UnixNano())
		}
		if state&32 != 0 {
			c.tried = append(c.tried, e)
		}
		if state&64 != 0 {
			c.p.near = append(c.p.near, all[i])
		}
		e.observe(time.Duration(state)*time.Millisecond, c.now)
	}
	c.w.balance = &route.Balance{}
	switch key := fmt.Sprint("key", next()); c.algo {
	case "least":
		u.Policy = fairway.LeastRequest
	case "random of two":
		u.Policy = fairway.RandomTwo
	case "ewma":
		c.w.balance.EWMA = true
	case "hash":
		c.w.key = key
	case "subset":
		c.w.key, c.w.balance.Subset = key, 2+int(next())%3
	case "persistent":
		c.w.sticky.key = fmt.Sprint("t", next()%10)
	case "balanced":
		c.w.sticky = cookie{key: key, balanced: true}
	}
	return c
}

// check compares a choice with what a model allows: the endpoints that may be chosen.
func (c *choice) check(t *testing.T) {
	got := c.p.choose(c.tried, c.w, c.now)
	var room, well []*endpoint
	for _, e := range c.p.endpoints {
		if limit := int64(c.p.backend.Upstream.MaxRequests); slices.Contains(c.tried, e) || limit > 0 && e.active.Load() >= limit {
			continue
		}
		room = append(room, e)
		if !e.sick.Load() && !(e.restEnd.Load() > c.now.UnixNano()) {
			well = append(well, e)
		}
	}
	allowed := well
	if len(well) == 0 { // all are ill: one that is may do, and is better than none
		allowed = room
	}
	nears, nearWell := 0, 0
	for _, e := range c.p.near {
		nears++
		if !e.sick.Load() && !(e.restEnd.Load() > c.now.UnixNano()) {
			nearWell++
		}
	}
	keyed := c.w.key != ""
	owner := (*endpoint)(nil) // of the affinity cookie
	switch c.algo {
	case "persistent":
		for _, e := range well {
			if e.token == c.w.sticky.key {
				owner = e
			}
		}
	case "balanced":
		owner = highest(well, c.w.sticky.key)
	}
	switch {
	case owner != nil:
		allowed = []*endpoint{owner}
	case c.algo == "hash" && len(allowed) > 0:
		allowed = []*endpoint{highest(allowed, c.w.key)}
	case c.algo == "subset":
		allowed = slices.Clone(allowed)
		slices.SortFunc(allowed, func(a, b *endpoint) int {
			return -compareUint(rendezvous(c.w.key, a.token), rendezvous(c.w.key, b.token))
		})
		allowed = allowed[:min(len(allowed), c.w.balance.Subset)]
	case !keyed && nears > 0 && nearWell*7 >= nears*5: // 140 % of the share is all of it
		var near []*endpoint
		for _, e := range allowed {
			if slices.Contains(c.p.near, e) && slices.Contains(well, e) {
				near = append(near, e)
			}
		}
		if len(near) > 0 {
			allowed = near
		}
	}
	if c.algo == "least" && nears == 0 {
		load := func(e *endpoint) float64 { return float64(e.active.Load()+1) / c.p.share(e, c.now) }
		least := math.Inf(1)
		for _, e := range allowed {
			least = min(least, load(e))
		}
		allowed = slices.DeleteFunc(slices.Clone(allowed), func(e *endpoint) bool { return load(e) > least })
	}
	if len(allowed) == 0 {
		if got != nil {
			t.Fatalf("%s: %s was chosen, where none may be", c.algo, got.token)
		}
		return
	}
	if !slices.Contains(allowed, got) {
		name := func(list []*endpoint) (out []string) {
			for _, e := range list {
				out = append(out, e.token)
			}
			return out
		}
		chosen := "none"
		if got != nil {
			chosen = got.token
		}
		t.Fatalf("%s: %s was chosen, allowed are %v (well %v, with room %v, near %v, tried %v, %+v)", c.algo, chosen, name(allowed), name(well), name(room), name(c.p.near), name(c.tried), c.w)
	}
}

func highest(list []*endpoint, key string) (best *endpoint) {
	for _, e := range list {
		if best == nil || rendezvous(key, e.token) > rendezvous(key, best.token) {
			best = e
		}
	}
	return best
}

func compareUint(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// FuzzChoose: whatever state the endpoints are in, each algorithm chooses one that the
// model allows, and none only where there is none.
func FuzzChoose(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 5))
	for range 400 {
		data := make([]byte, 18)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for range 8 { // some throw dice
			newChoice(data).check(t)
		}
	})
}

// TestHashSpread: keys are spread evenly over any number of endpoints, and when one comes
// or goes no key moves but its own.
func TestHashSpread(t *testing.T) {
	const perEndpoint = 2000 // with a standard deviation of 2.2 %
	for _, n := range []int{2, 3, 7, 16, 50} {
		all := endpointsOf(n + 1)
		now, one, more := time.Now(), poolOf(all[:n]), poolOf(all)
		count, moved := map[*endpoint]int{}, 0
		for i := range n * perEndpoint {
			w := wish{balance: &route.Balance{}, key: fmt.Sprint("/item/", i)}
			e, after := one.choose(nil, w, now), more.choose(nil, w, now)
			count[e]++
			if e != after {
				if moved++; after != all[n] {
					t.Fatalf("of %d: key %d moves from %s to %s, and neither is new", n, i, e.token, after.token)
				}
			}
		}
		for e, k := range count {
			if k < perEndpoint*88/100 || k > perEndpoint*112/100 {
				t.Errorf("of %d: %s has %d keys, the mean is %d", n, e.token, k, perEndpoint)
			}
		}
		if mean := n * perEndpoint / (n + 1); len(count) != n || moved < mean*88/100 || moved > mean*112/100 {
			t.Errorf("of %d: the new one gets %d keys, its share is %d", n, moved, mean)
		}
	}
}

// job is an exchange of the simulation that ends at a time.
type job struct {
	end time.Duration
	e   *endpoint
}

type jobs []job

func (j jobs) Len() int           { return len(j) }
func (j jobs) Less(a, b int) bool { return j[a].end < j[b].end }
func (j jobs) Swap(a, b int)      { j[a], j[b] = j[b], j[a] }
func (j *jobs) Push(x any)        { *j = append(*j, x.(job)) }
func (j *jobs) Pop() any {
	last := (*j)[len(*j)-1]
	*j = (*j)[:len(*j)-1]
	return last
}

// simulate has clients ask one after another, without a pause, until there were n
// exchanges; times is how long each endpoint takes. It returns the share of each, and how
// many exchanges per second there were.
func simulate(policy fairway.Policy, clients, n int, times ...time.Duration) (share []float64, rate float64) {
	all := endpointsOf(len(times))
	p := poolOf(all)
	p.backend.Upstream.Policy = policy
	begun, clock := time.Now(), time.Duration(0)
	count := map[*endpoint]int{}
	var running jobs
	for i := range n {
		if i >= clients {
			done := heap.Pop(&running).(job)
			clock = done.end
			done.e.active.Add(-1)
			done.e.observe(times[slices.Index(all, done.e)], begun.Add(clock))
		}
		e := p.choose(nil, wish{}, begun.Add(clock))
		e.active.Add(1)
		count[e]++
		heap.Push(&running, job{clock + times[slices.Index(all, e)], e})
	}
	for _, e := range all {
		share = append(share, float64(count[e])/float64(n))
	}
	return share, float64(n) / clock.Seconds()
}

// TestSharesOfPolicies: endpoints of different speed get shares that fit. By turns each
// has the same, whatever it costs. With the fewest requests under way each has as many of
// them, so that who is four times as slow gets a quarter. The better of two by load is
// between both, and by load and time it hardly asks who is slow.
func TestSharesOfPolicies(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		policy     fairway.Policy
		times      []time.Duration
		low, most  []float64 // of the shares
		fasterThan fairway.Policy
	}{
		{fairway.RoundRobin, []time.Duration{ms, ms, 4 * ms}, []float64{.33, .33, .33}, []float64{.34, .34, .34}, ""},
		{fairway.LeastRequest, []time.Duration{ms, ms, 4 * ms}, []float64{.42, .42, .09}, []float64{.47, .47, .14}, fairway.RoundRobin},
		{fairway.RandomTwo, []time.Duration{ms, ms, 4 * ms}, []float64{.38, .38, .08}, []float64{.46, .46, .22}, fairway.RoundRobin},
		{fairway.EWMA, []time.Duration{ms, ms, 4 * ms}, []float64{.40, .40, 0}, []float64{.52, .52, .16}, fairway.RoundRobin},
		{fairway.LeastRequest, []time.Duration{ms, ms, ms, ms}, []float64{.23, .23, .23, .23}, []float64{.27, .27, .27, .27}, ""},
		{fairway.RandomTwo, []time.Duration{ms, ms, ms, ms}, []float64{.23, .23, .23, .23}, []float64{.27, .27, .27, .27}, ""},
		{fairway.EWMA, []time.Duration{ms, ms, ms, ms}, []float64{.22, .22, .22, .22}, []float64{.28, .28, .28, .28}, ""},
		{fairway.LeastRequest, []time.Duration{ms, 100 * ms}, []float64{.95, 0}, []float64{1, .05}, fairway.RandomTwo},
	} {
		share, rate := simulate(c.policy, 24, 20_000, c.times...)
		for i, s := range share {
			if s < c.low[i] || s > c.most[i] {
				t.Errorf("%s, %v: shares %.3f, want between %v and %v", c.policy, c.times, share, c.low, c.most)
				break
			}
		}
		if c.fasterThan != "" {
			if _, other := simulate(c.fasterThan, 24, 20_000, c.times...); rate <= other {
				t.Errorf("%s, %v: %.0f/s, with %s %.0f/s", c.policy, c.times, rate, c.fasterThan, other)
			}
		}
	}
}

// TestWeights: targets get requests by weight, and one of weight 0 none.
func TestWeights(t *testing.T) {
	key := func(name string) route.BackendKey { return route.BackendKey{Service: named(name)} }
	targets := []route.Target{{Backend: key("a"), Weight: 1}, {Backend: key("b"), Weight: 7}, {Backend: key("c"), Weight: 0}, {Backend: key("d"), Weight: 2}}
	const n = 20_000
	count := map[string]int{}
	for range n {
		count[pick(targets).Service.Name]++
	}
	for name, want := range map[string]int{"a": n / 10, "b": n * 7 / 10, "c": 0, "d": n * 2 / 10} {
		if d := count[name] - want; d < -300 || d > 300 || want == 0 && d != 0 { // standard deviations of 42 to 65
			t.Errorf("%s got %d of %d, want %d", name, count[name], n, want)
		}
	}
}
