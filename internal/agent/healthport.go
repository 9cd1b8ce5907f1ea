package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/service"
)

// healthPorts serves the healthCheckNodePort of Services with
// externalTrafficPolicy Local: a load balancer outside asks each node whether
// it has an endpoint. The answers have kube-proxy's form.
type healthPorts struct {
	log     *slog.Logger
	healthy func() bool // of this node's datapath; part of the answer

	mu   sync.Mutex
	open map[service.Key]*healthPort
}

// healthPort is one Service's port.
type healthPort struct {
	number uint16
	local  atomic.Int64 // ready endpoints on this node
	server *http.Server
}

func newHealthPorts(healthy func() bool, log *slog.Logger) *healthPorts {
	return &healthPorts{log: log, healthy: healthy, open: map[service.Key]*healthPort{}}
}

// concerns reports whether apply has anything to do for a plan.
func (h *healthPorts) concerns(p *service.Plan) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return p.HealthCheckPort != 0 || h.open[p.Key] != nil
}

// apply makes the ports those of plans, for the keys of plans. A port that is
// taken does not keep the others from being served.
func (h *healthPorts) apply(plans []service.Plan) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range plans { // before any is opened: a number may have changed hands
		if old := h.open[plans[i].Key]; old != nil && old.number != plans[i].HealthCheckPort {
			old.server.Close()
			delete(h.open, plans[i].Key)
		}
	}
	var errs []error
	for i := range plans {
		p := &plans[i]
		if p.HealthCheckPort == 0 {
			continue
		}
		if h.open[p.Key] == nil {
			port, err := h.listen(p.Key.Name, p.HealthCheckPort)
			if err != nil {
				errs = append(errs, fmt.Errorf("serve healthCheckNodePort of Service %v: %w", p.Key.Name, err))
				continue
			}
			h.open[p.Key] = port
		}
		h.open[p.Key].local.Store(int64(p.LocalReady))
	}
	return errors.Join(errs...)
}

func (h *healthPorts) listen(svc model.Name, number uint16) (*healthPort, error) {
	lis, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(int(number))))
	if err != nil {
		return nil, err
	}
	port := &healthPort{number: number}
	port.server = &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answerHealth(w, svc, int(port.local.Load()), h.healthy())
	})}
	go func() {
		if err := port.server.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
			h.log.Error("health check server ended", "service", svc, "err", err)
		}
	}()
	return port, nil
}

// close ends all servers.
func (h *healthPorts) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, port := range h.open {
		port.server.Close()
		delete(h.open, key)
	}
}

// answerHealth is what kube-proxy's healthcheck.hcHandler answers.
func answerHealth(w http.ResponseWriter, svc model.Name, local int, healthy bool) {
	code := http.StatusServiceUnavailable
	if local > 0 && healthy {
		code = http.StatusOK
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(local))
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{ // a client that has gone need not know
		"service":             map[string]string{"namespace": svc.Namespace, "name": svc.Name},
		"localEndpoints":      local,
		"serviceProxyHealthy": healthy,
	})
}
