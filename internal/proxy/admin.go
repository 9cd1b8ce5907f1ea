package proxy

import (
	"errors"
	"net/http"
)

var (
	errShut     = errors.New("ports are not open yet")
	errNoPlan   = errors.New("no plan yet: not synced with the API server")
	errDraining = errors.New("draining")
)

// Ready returns nil if the Server has a plan, listens, and has not been told to end.
func (s *Server) Ready() error {
	switch {
	case s.draining.Load():
		return errDraining
	case s.live.Load().plan == nil:
		return errNoPlan
	case !s.opened.Load():
		return errShut
	}
	return nil
}

// ServeMetrics answers with the figures in the text format of Prometheus. Like
// ServeRoutes it is not for clients.
func (s *Server) ServeMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	s.writeMetrics(w)
}

// ServeRoutes answers with the plan in words.
func (s *Server) ServeRoutes(w http.ResponseWriter, _ *http.Request) {
	if p := s.live.Load().plan; p != nil {
		p.Dump(w)
	}
}
