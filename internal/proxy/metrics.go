package proxy

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/route"
)

// metrics counts outcomes. Its labels come from objects of the cluster (the
// Ingress) and from small fixed sets (the class of the status), never from a
// request, so that clients cannot make it grow.
type metrics struct {
	mu      sync.RWMutex
	routes  map[model.Name]*routeMetrics // per Ingress; zero Name: no rule matched
	claimed []model.Name                 // of the last plan

	retriesDial    atomic.Uint64
	retriesTimeout atomic.Uint64
	retriesBroken  atomic.Uint64
	overflows      atomic.Uint64
	plans          atomic.Uint64
	hosts          atomic.Int64

	rejectedMu sync.Mutex
	rejected   map[string]int // reason -> objects
}

// routeMetrics are the figures of one Ingress.
type routeMetrics struct {
	status  [6]atomic.Uint64 // by hundreds; 0 is "no answer", for clients that went away
	buckets [len(bounds) + 1]atomic.Uint64
	nanos   atomic.Uint64
}

// bounds are those of Prometheus' own default, in seconds.
var bounds = [...]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

func newMetrics() *metrics {
	return &metrics{routes: map[model.Name]*routeMetrics{}}
}

func (m *metrics) done(x *exchange) {
	var name model.Name
	if x.rule != nil {
		name = x.rule.Source.Ref.Name
	}
	r := m.route(name)
	class := x.writer.status / 100
	if x.writer.status == 499 || class > 5 {
		class = 0
	}
	r.status[class].Add(1)
	took := time.Since(x.start)
	r.nanos.Add(uint64(took))
	i := 0
	for i < len(bounds) && took.Seconds() > bounds[i] {
		i++
	}
	r.buckets[i].Add(1)
}

func (m *metrics) route(name model.Name) *routeMetrics {
	m.mu.RLock()
	r := m.routes[name]
	m.mu.RUnlock()
	if r != nil {
		return r
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r = m.routes[name]; r == nil {
		r = &routeMetrics{}
		m.routes[name] = r
	}
	return r
}

func (m *metrics) attemptFailed(err error) {
	switch {
	case isDialError(err):
		m.retriesDial.Add(1)
	case errors.Is(err, errReadTimeout), errors.Is(err, errSendTimeout):
		m.retriesTimeout.Add(1)
	default:
		m.retriesBroken.Add(1)
	}
}

// planApplied takes note of a plan, and forgets Ingresses that are gone.
func (m *metrics) planApplied(p *route.Plan) {
	m.plans.Add(1)
	if len(p.Listeners) > 0 {
		m.hosts.Store(int64(p.Listeners[0].Hosts.Len()))
	}
	rejected := map[string]int{}
	for _, r := range p.Rejected {
		rejected[r.Reason]++
	}
	m.rejectedMu.Lock()
	m.rejected = rejected
	m.rejectedMu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if sameSlice(m.claimed, p.Claimed) {
		return
	}
	m.claimed = p.Claimed
	for name := range m.routes {
		if !p.Serves(name) && name != (model.Name{}) {
			delete(m.routes, name)
		}
	}
}

// sameSlice says that a and b are one and the same, which costs less than to
// compare them.
func sameSlice(a, b []model.Name) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// write writes the figures in the text format of Prometheus.
func (m *metrics) write(w io.Writer, active int64) {
	m.mu.RLock()
	routes := maps.Clone(m.routes)
	m.mu.RUnlock()
	names := slices.SortedFunc(maps.Keys(routes), model.Name.Compare)
	header := func(name, kind, help string) { fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }

	header("fairway_http_requests_total", "counter", "Requests by Ingress and class of the status; 499 is a client that went away.")
	for _, n := range names {
		for class := range routes[n].status {
			if v := routes[n].status[class].Load(); v > 0 {
				fmt.Fprintf(w, "fairway_http_requests_total{%s,code=%q} %d\n", labels(n), [...]string{"499", "1xx", "2xx", "3xx", "4xx", "5xx"}[class], v)
			}
		}
	}
	header("fairway_http_request_duration_seconds", "histogram", "Time from the head of the request to the end of the response.")
	for _, n := range names {
		routes[n].writeHistogram(w, labels(n))
	}
	header("fairway_http_requests_active", "gauge", "Exchanges under way, upgraded connections included.")
	fmt.Fprintf(w, "fairway_http_requests_active %d\n", active)
	header("fairway_http_attempts_failed_total", "counter", "Attempts at an endpoint that gave no answer, by cause.")
	fmt.Fprintf(w, "fairway_http_attempts_failed_total{cause=\"connect\"} %d\n", m.retriesDial.Load())
	fmt.Fprintf(w, "fairway_http_attempts_failed_total{cause=\"timeout\"} %d\n", m.retriesTimeout.Load())
	fmt.Fprintf(w, "fairway_http_attempts_failed_total{cause=\"broken\"} %d\n", m.retriesBroken.Load())
	header("fairway_http_overflows_total", "counter", "Requests that got 503 because all endpoints had as many as the Service allows.")
	fmt.Fprintf(w, "fairway_http_overflows_total %d\n", m.overflows.Load())
	header("fairway_http_plans_total", "counter", "Plans that were applied.")
	fmt.Fprintf(w, "fairway_http_plans_total %d\n", m.plans.Load())
	header("fairway_http_hosts", "gauge", "Virtual hosts of the plan.")
	fmt.Fprintf(w, "fairway_http_hosts %d\n", m.hosts.Load())
	header("fairway_ingress_rejected", "gauge", "Parts of Ingresses that cannot be done as written, by reason.")
	m.rejectedMu.Lock()
	defer m.rejectedMu.Unlock()
	for _, reason := range slices.Sorted(maps.Keys(m.rejected)) {
		fmt.Fprintf(w, "fairway_ingress_rejected{reason=%q} %d\n", reason, m.rejected[reason])
	}
}

func (r *routeMetrics) writeHistogram(w io.Writer, labels string) {
	var sum uint64
	for i := range r.buckets {
		sum += r.buckets[i].Load()
		le := "+Inf"
		if i < len(bounds) {
			le = strings.TrimSuffix(fmt.Sprintf("%g", bounds[i]), ".0")
		}
		fmt.Fprintf(w, "fairway_http_request_duration_seconds_bucket{%s,le=%q} %d\n", labels, le, sum)
	}
	fmt.Fprintf(w, "fairway_http_request_duration_seconds_sum{%s} %g\n", labels, time.Duration(r.nanos.Load()).Seconds())
	fmt.Fprintf(w, "fairway_http_request_duration_seconds_count{%s} %d\n", labels, sum)
}

func labels(n model.Name) string { return fmt.Sprintf("namespace=%q,ingress=%q", n.Namespace, n.Name) }
