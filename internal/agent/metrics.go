package agent

import (
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/fairway-net/fairway/internal/apply/bpf"
	"github.com/fairway-net/fairway/internal/cni/server"
)

// nodeMetrics writes the agent's metrics in the Prometheus text format.
type nodeMetrics struct {
	gates    *gates
	pods     *server.Server
	datapath *bpf.Datapath
	flows    atomic.Int64 // after the last sweep
	offLink  atomic.Int64 // nodes whose pods are unreachable
}

func (m *nodeMetrics) serve(w http.ResponseWriter, _ *http.Request) {
	ready := 0
	if m.gates.check() == nil {
		ready = 1
	}
	fmt.Fprintf(w, "# TYPE fairway_ready gauge\nfairway_ready %d\n", ready)
	if !m.gates.passed("policies") { // pods and datapath are set before
		return
	}
	fmt.Fprintf(w, "# TYPE fairway_pods gauge\nfairway_pods %d\n", len(m.pods.Records()))
	fmt.Fprintf(w, "# TYPE fairway_flows gauge\nfairway_flows %d\n", m.flows.Load())
	fmt.Fprintf(w, "# TYPE fairway_nodes_off_link gauge\nfairway_nodes_off_link %d\n", m.offLink.Load())
	calls := m.pods.Calls()
	fmt.Fprint(w, "# TYPE fairway_cni_seconds summary\n")
	for _, c := range calls {
		fmt.Fprintf(w, "fairway_cni_seconds_count{command=%q} %d\nfairway_cni_seconds_sum{command=%q} %g\n", c.Command, c.Count, c.Command, c.Total.Seconds())
	}
	fmt.Fprint(w, "# TYPE fairway_cni_failures_total counter\n")
	for _, c := range calls {
		fmt.Fprintf(w, "fairway_cni_failures_total{command=%q} %d\n", c.Command, c.Failed)
	}
	drops, err := m.datapath.ReadDrops()
	if err != nil {
		fmt.Fprintf(w, "# drops: %v\n", err)
		return
	}
	fmt.Fprint(w, "# TYPE fairway_drops_total counter\n")
	for _, d := range drops {
		fmt.Fprintf(w, "fairway_drops_total{reason=%q} %d\n", d.Reason, d.Count)
	}
}
