package proxy

import (
	"errors"
	"io"
	"maps"

	"slices"
	"sync"
	"sync/atomic"

	"github.com/fairway-net/fairway/internal/metric"
	"github.com/fairway-net/fairway/internal/plan/route"
)

// metrics counts outcomes.
type metrics struct {
	*routes

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

func newMetrics() *metrics { return &metrics{routes: newRoutes()} }

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

// planApplied takes note of a plan.
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
}

// writeMetrics writes the figures of s.
func (s *Server) writeMetrics(to io.Writer) {
	m, w := s.metrics, metric.Writer{Writer: to}
	if p := s.live.Load().plan; p != nil {
		m.forget(p)
	}
	m.routes.write(w)
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
