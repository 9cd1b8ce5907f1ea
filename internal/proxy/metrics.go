package proxy

import (
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-net/fairway/internal/metric"
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
	bounds  [routeBounds]time.Duration   // of the histograms: Prometheus' own default

	retriesDial    atomic.Uint64
	retriesTimeout atomic.Uint64
	retriesBroken  atomic.Uint64
	overflows      atomic.Uint64
	refused        atomic.Uint64 // connections, as there were too many
	plans          atomic.Uint64
	hosts          atomic.Int64

	rejectedMu sync.Mutex
	rejected   map[string]int // reason -> objects
}

// routeMetrics are the figures of one Ingress, in one piece: of one among many it is
// not in the processor's cache.
type routeMetrics struct {
	status  [6]atomic.Uint64 // by hundreds; 0 is "no answer", for clients that went away
	took    metric.Durations
	buckets [routeBounds + 1]atomic.Uint64 // of took
}

const routeBounds = 11

func newMetrics() *metrics {
	const ms = time.Millisecond
	return &metrics{routes: map[model.Name]*routeMetrics{},
		bounds: [routeBounds]time.Duration{5 * ms, 10 * ms, 25 * ms, 50 * ms, 100 * ms, 250 * ms, 500 * ms, 1000 * ms, 2500 * ms, 5000 * ms, 10000 * ms}}
}

func (m *metrics) newRoute() *routeMetrics {
	r := &routeMetrics{}
	r.took.Init(m.bounds[:], r.buckets[:])
	return r
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
	r.took.Observe(time.Since(x.start))
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
		r = m.newRoute()
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

// write writes the figures of s.
func (s *Server) writeMetrics(to io.Writer) {
	m, w := s.metrics, metric.Writer{Writer: to}
	m.mu.RLock()
	routes := maps.Clone(m.routes)
	m.mu.RUnlock()
	names := slices.SortedFunc(maps.Keys(routes), model.Name.Compare)

	w.Family("fairway_http_requests_total", metric.Counter, "Requests by Ingress and class of the status; 499 is a client that went away.")
	for _, n := range names {
		for class := range routes[n].status {
			if v := routes[n].status[class].Load(); v > 0 {
				w.Value("fairway_http_requests_total", float64(v), append(labels(n), "code", [...]string{"499", "1xx", "2xx", "3xx", "4xx", "5xx"}[class])...)
			}
		}
	}
	w.Family("fairway_http_request_duration_seconds", metric.Histogram, "Time from the head of the request to the end of the response.")
	for _, n := range names {
		routes[n].took.Write(w, "fairway_http_request_duration_seconds", labels(n)...)
	}
	w.One("fairway_http_requests_active", metric.Gauge, "Exchanges under way, upgraded connections included.", float64(s.active.Load()))
	w.One("fairway_http_connections", metric.Gauge, "Connections of clients that are open.", float64(s.conns.Load()))
	w.One("fairway_http_connections_refused_total", metric.Counter, "Connections that were closed at once, as there were as many as there may be.", float64(m.refused.Load()))
	w.Family("fairway_http_attempts_failed_total", metric.Counter, "Attempts at an endpoint that gave no answer, by cause.")
	w.Value("fairway_http_attempts_failed_total", float64(m.retriesDial.Load()), "cause", "connect")
	w.Value("fairway_http_attempts_failed_total", float64(m.retriesTimeout.Load()), "cause", "timeout")
	w.Value("fairway_http_attempts_failed_total", float64(m.retriesBroken.Load()), "cause", "broken")
	if s.log != nil {
		w.One("fairway_http_log_records_lost_total", metric.Counter, "Records of the access log that were dropped, as they could not be written in time.", float64(s.log.lost.Load()))
	}
	if s.tracer.to.Load() != nil {
		w.One("fairway_http_spans_lost_total", metric.Counter, "Spans that were dropped, as the collector did not take them in time.", float64(s.tracer.lost.Load()))
	}
	w.One("fairway_http_overflows_total", metric.Counter, "Requests that got 503 because all endpoints had as many as the Service allows.", float64(m.overflows.Load()))
	w.One("fairway_http_plans_total", metric.Counter, "Plans that were applied.", float64(m.plans.Load()))
	w.One("fairway_http_hosts", metric.Gauge, "Virtual hosts of the plan.", float64(m.hosts.Load()))
	w.Family("fairway_ingress_rejected", metric.Gauge, "Parts of Ingresses that cannot be done as written, by reason.")
	m.rejectedMu.Lock()
	defer m.rejectedMu.Unlock()
	for _, reason := range slices.Sorted(maps.Keys(m.rejected)) {
		w.Value("fairway_ingress_rejected", float64(m.rejected[reason]), "reason", reason)
	}
}

func labels(n model.Name) []string { return []string{"namespace", n.Namespace, "ingress", n.Name} }
