package agent

import (
	"encoding/json"
	"net/http"
	"sync/atomic"

	"github.com/fairway-net/fairway/internal/apply/bpf"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/service"
	"github.com/fairway-net/fairway/internal/report"
)

// inspector serves what is in the node's kernel, for `fairway services`. It
// listens where /metrics does, on loopback: who asks has come through the API
// server, which has asked who it is.
type inspector struct {
	node     string
	ready    func() error
	passed   func() bool // datapath is set
	datapath interface {
		ReadServices(func(service.Key) bool) ([]bpf.FrontendStatus, error)
	}
	failed atomic.Pointer[func() []report.Failure] // nil: nothing has been tried yet
}

// serve answers GET /services[?name=NAMESPACE/NAME].
func (i *inspector) serve(w http.ResponseWriter, r *http.Request) {
	if !i.passed() {
		http.Error(w, i.ready().Error(), http.StatusServiceUnavailable)
		return
	}
	name := r.URL.Query().Get("name")
	entries, err := i.datapath.ReadServices(func(owner service.Key) bool {
		return name == "" || owner.Kind == model.KindService && owner.Name.String() == name
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	n := report.Node{Node: i.node}
	if err := i.ready(); err != nil {
		n.Ready = err.Error()
	}
	if failures := i.failed.Load(); failures != nil {
		n.Failed = (*failures)()
	}
	for _, e := range entries {
		owner := ""
		if e.Owner != (service.Key{}) {
			owner = e.Owner.String()
		}
		n.Entries = append(n.Entries, report.Entry{
			Address: e.Addr, Protocol: e.Protocol.String(), Owner: owner,
			Internal: e.Internal, External: e.External, Affinity: int(e.Affinity.Seconds()),
		})
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(n); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError) // who asked sees that it is no JSON
	}
}
