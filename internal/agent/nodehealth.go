package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// proxyMode is what kube-proxy's port says: the name of the mechanism.
// "iptables" has a meaning to some clients, and we are none of kube-proxy's modes.
const proxyMode = "ebpf"

// nodeHealth answers load balancers that ask about the node as a whole, at the
// port where they ask kube-proxy (10256): /healthz is not found healthy while
// the node is on its way out (KEP-3836), /livez does not look at that.
type nodeHealth struct {
	eligible func() bool
	ready    func() error
	now      func() time.Time
	healthy  atomic.Int64 // when it was last, in Unix nanoseconds; 0: not yet
}

func (n *nodeHealth) serve(ctx context.Context, addr string, log *slog.Logger) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		eligible := n.eligible()
		n.answer(w, &eligible)
	})
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { n.answer(w, nil) })
	return serveMux(ctx, addr, mux, log)
}

// answer writes what kube-proxy's healthcheck.ProxyHealth says. lastUpdated is
// now while all is well, and when it was well for the last time otherwise.
func (n *nodeHealth) answer(w http.ResponseWriter, eligible *bool) {
	now, code := n.now(), http.StatusServiceUnavailable
	if n.ready() == nil {
		n.healthy.Store(now.UnixNano())
		if eligible == nil || *eligible {
			code = http.StatusOK
		}
	}
	body := struct {
		LastUpdated  time.Time `json:"lastUpdated"`
		CurrentTime  time.Time `json:"currentTime"`
		NodeEligible *bool     `json:"nodeEligible,omitempty"`
	}{CurrentTime: now.UTC(), NodeEligible: eligible}
	if at := n.healthy.Load(); at != 0 {
		body.LastUpdated = time.Unix(0, at).UTC()
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // a client that has gone need not know
}

// serveProxyMode answers at kube-proxy's port for its own status, which tools
// and tests use to find out what serves Services.
func serveProxyMode(ctx context.Context, addr string, log *slog.Logger) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /proxyMode", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		io.WriteString(w, proxyMode)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })
	return serveMux(ctx, addr, mux, log)
}

// serveMux serves until ctx ends; it returns once it listens.
func serveMux(ctx context.Context, addr string, mux *http.ServeMux, log *slog.Logger) error {
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("serve health: %w", err)
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { srv.Close() })
	go func() {
		if err := srv.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
			log.Error("health server ended", "addr", addr, "err", err)
		}
	}()
	return nil
}
