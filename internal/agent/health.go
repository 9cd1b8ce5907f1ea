package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"
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
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("serve health: %w", err)
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { srv.Close() })
	go func() {
		if err := srv.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
			log.Error("health server ended", "err", err)
		}
	}()
	return nil
}
