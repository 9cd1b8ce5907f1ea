package agent

import (
	"context"
	"io"
	"log/slog"
	"net/http"
)

// endpoint is what a role serves beside its health: "GET /metrics".
type endpoint struct {
	pattern string
	serve   http.HandlerFunc
}

// serveHealth serves /livez (the process answers) and /readyz (ready returns
// nil; its error is the body otherwise) on addr until ctx ends. /healthz is
// /livez, and more is served beside them, by pattern. It returns once it listens.
func serveHealth(ctx context.Context, addr string, ready func() error, log *slog.Logger, more ...endpoint) error {
	mux := http.NewServeMux()
	live := func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") }
	mux.HandleFunc("GET /livez", live)
	mux.HandleFunc("GET /healthz", live)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		live(w, r)
	})
	for _, e := range more {
		mux.HandleFunc(e.pattern, e.serve)
	}
	return serveMux(ctx, addr, mux, log)
}
