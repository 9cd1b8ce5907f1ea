package agent

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/fairway-net/fairway/internal/apply/bpf"
	"github.com/fairway-net/fairway/internal/cni/server"
	"github.com/fairway-net/fairway/internal/dns"
	"github.com/fairway-net/fairway/internal/metric"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// nodeMetrics are the agent's figures. No label has values that users choose.
type nodeMetrics struct {
	gates    *gates
	problems *problems
	services *serviceMetrics
	pods     atomic.Pointer[server.Server] // nil: not there yet
	keeper   atomic.Pointer[dns.Keeper]    // nil: none
	datapath *bpf.Datapath                 // set before the gate "node" opens
	flows    atomic.Int64                  // after the last sweep
	offLink  atomic.Int64                  // nodes whose pods are unreachable
	maps     atomic.Pointer[[]bpf.MapFill] // likewise
}

func newNodeMetrics(g *gates, p *problems) *nodeMetrics {
	return &nodeMetrics{gates: g, problems: p, services: newServiceMetrics()}
}

// sweep removes what has expired from the datapath, and counts what is left.
func (m *nodeMetrics) sweep(ctx context.Context, datapath *bpf.Datapath) error {
	swept, err := datapath.Sweep(ctx)
	if err != nil {
		return err
	}
	m.flows.Store(int64(swept.Flows - swept.Expired))
	fill, err := datapath.ReadFill()
	if err == nil {
		m.maps.Store(&fill)
	}
	return err
}

func (m *nodeMetrics) serve(rw http.ResponseWriter, _ *http.Request) {
	w := metric.Writer{Writer: rw}
	ready := 0.0
	if m.gates.check() == nil && m.problems.severe() == nil {
		ready = 1
	}
	w.One("fairway_ready", metric.Gauge, "Whether the agent is ready.", ready)
	m.problems.write(w)
	if pods := m.pods.Load(); pods != nil {
		writePods(w, pods)
	}
	if k := m.keeper.Load(); k != nil {
		writeKeeper(w, k)
	}
	m.services.write(w)
	if m.gates.passed("node") {
		m.writeDatapath(w)
	}
}

func writePods(w metric.Writer, pods *server.Server) {
	w.One("fairway_pods", metric.Gauge, "Pods that are attached.", float64(len(pods.Records())))
	calls := pods.Calls()
	w.Family("fairway_cni_seconds", metric.Summary, "Time of the container runtime's calls.")
	for _, c := range calls {
		w.Value("fairway_cni_seconds_count", float64(c.Count), "command", c.Command)
		w.Value("fairway_cni_seconds_sum", c.Total.Seconds(), "command", c.Command)
	}
	w.Family("fairway_cni_failures_total", metric.Counter, "Calls of the container runtime that failed.")
	for _, c := range calls {
		w.Value("fairway_cni_failures_total", float64(c.Failed), "command", c.Command)
	}
}

func (m *nodeMetrics) writeDatapath(w metric.Writer) {
	w.One("fairway_flows", metric.Gauge, "Flows in the connection table.", float64(m.flows.Load()))
	w.One("fairway_nodes_off_link", metric.Gauge, "Nodes whose pods are unreachable.", float64(m.offLink.Load()))
	if fill := m.maps.Load(); fill != nil {
		w.Family("fairway_service_map_entries", metric.Gauge, "Entries of the kernel's maps for Services.")
		for _, f := range *fill {
			w.Value("fairway_service_map_entries", float64(f.Entries), "map", f.Map)
		}
		w.Family("fairway_service_map_capacity", metric.Gauge, "Entries that the map has room for.")
		for _, f := range *fill {
			w.Value("fairway_service_map_capacity", float64(f.Capacity), "map", f.Map)
		}
	}
	writes, deletes := m.datapath.ServiceChanges()
	w.One("fairway_service_map_writes_total", metric.Counter, "Entries written into the maps for Services.", float64(writes))
	w.One("fairway_service_map_deletes_total", metric.Counter, "Entries deleted from them.", float64(deletes))
	drops, err := m.datapath.ReadDrops()
	if err != nil {
		return // counters that are missing say so better than zeros
	}
	w.Family("fairway_drops_total", metric.Counter, "Packets dropped, by reason.")
	for _, d := range drops {
		w.Value("fairway_drops_total", float64(d.Count), "reason", d.Reason.String())
	}
	w.Family("fairway_service_drops_total", metric.Counter, "Of them those whose reason lies with a Service.")
	for _, d := range drops {
		if d.Reason.OfService() {
			w.Value("fairway_service_drops_total", float64(d.Count), "reason", d.Reason.String())
		}
	}
}

// serviceMetrics are the figures of the Services' loop.
type serviceMetrics struct {
	sync     *metric.Durations // of a step
	slices   *metric.Durations // from the change that an EndpointSlice follows from to the map
	services *metric.Durations // from the creation of a Service to the map
	failed   atomic.Int64      // Services that are not, or not wholly, in the kernel
	rejected atomic.Int64      // Services of which a part cannot be done as written
	now      func() time.Time
}

func newServiceMetrics() *serviceMetrics {
	const ms, s = time.Millisecond, time.Second
	latency := []time.Duration{ms, 2 * ms, 5 * ms, 10 * ms, 20 * ms, 50 * ms, 100 * ms, 250 * ms, 500 * ms, s, 2 * s, 5 * s, 10 * s, 30 * s, 60 * s}
	return &serviceMetrics{
		sync:   metric.NewDurations(ms/10, ms/5, ms/2, ms, 2*ms, 5*ms, 10*ms, 50*ms, 100*ms, 500*ms, s, 5*s),
		slices: metric.NewDurations(latency...), services: metric.NewDurations(latency...), now: time.Now,
	}
}

func (m *serviceMetrics) write(w metric.Writer) {
	const sync, latency = "fairway_service_sync_duration_seconds", "fairway_service_programming_duration_seconds"
	w.Family(sync, metric.Histogram, "Time to plan a set of changes and to write them into the kernel.")
	m.sync.Write(w, sync)
	w.Family(latency, metric.Histogram, "Time from a change in the API to the kernel: the trigger time of an EndpointSlice, the creation of a Service (to a second).")
	m.slices.Write(w, latency, "kind", "EndpointSlice")
	m.services.Write(w, latency, "kind", "Service")
	w.One("fairway_service_failed", metric.Gauge, "Services that are not, or not wholly, in the kernel.", float64(m.failed.Load()))
	w.One("fairway_service_rejected", metric.Gauge, "Services of which a part cannot be done as written.", float64(m.rejected.Load()))
}

// programmed observes how long changes took from the API to the kernel. Of an
// object that was there before, under the same trigger, nothing is new.
func (m *serviceMetrics) programmed(before, after *state.Snapshot, changes state.Changes) {
	if before == nil {
		return // what was there when we began says nothing of us
	}
	now := m.now()
	for ch := range changes.Keys {
		switch ch.Kind {
		case model.KindEndpointSlice:
			next, ok := after.Slices.Get(ch.Key)
			old, had := before.Slices.Get(ch.Key)
			if ok && !next.Triggered.IsZero() && (!had || !old.Triggered.Equal(next.Triggered)) {
				m.slices.Observe(max(0, now.Sub(next.Triggered)))
			}
		case model.KindService:
			next, ok := after.Services.Get(ch.Key)
			if _, had := before.Services.Get(ch.Key); ok && !had && !next.Created.IsZero() {
				m.services.Observe(max(0, now.Sub(next.Created)))
			}
		}
	}
}
