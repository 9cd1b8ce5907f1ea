package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// Options of a Server.
type Options struct {
	// Listen says where to listen for each listener of the plan: "http" and
	// "https". One that is missing is not opened.
	Listen map[string]string
	// LameDuck is how long the Server goes on accepting after it was told to
	// end, while /readyz already says no: time for load balancers to notice.
	LameDuck time.Duration
	// Drain bounds the wait for exchanges that are under way after that.
	Drain time.Duration
	// AccessLog gets one record per request. Nil: none.
	AccessLog *slog.Logger
	// Log is for what the operator should know. Never nil.
	Log *slog.Logger
}

// Server serves the plan that was applied last. Before the first Apply it
// answers everything with 503 and is not ready.
type Server struct {
	opts     Options
	live     atomic.Pointer[live]
	metrics  *metrics
	limiters *limiters
	cert     *tls.Certificate // for names that no Ingress has a certificate for

	draining atomic.Bool
	active   atomic.Int64 // exchanges, upgraded connections included

	mu        sync.Mutex // guards the rest
	endpoints map[endpointKey]*endpoint
	listeners map[string]net.Listener

	h2      map[string]*handover // listener -> what speaks HTTP/2; set by Run
	buffers h1.Buffers
	stamp   atomic.Pointer[stamp]
	ended   atomic.Bool // no further request

	frontsMu sync.Mutex
	fronts   map[*front]struct{}
}

// live is what requests are served with: one plan and its pools.
type live struct {
	plan  *route.Plan
	pools route.Table[*pool]
}

// New returns a Server that does not listen yet.
func New(o Options) (*Server, error) {
	cert, err := selfSigned()
	if err != nil {
		return nil, err
	}
	s := &Server{opts: o, metrics: newMetrics(), limiters: newLimiters(), cert: cert, endpoints: map[endpointKey]*endpoint{}, listeners: map[string]net.Listener{},
		h2: map[string]*handover{}, fronts: map[*front]struct{}{}}
	s.live.Store(&live{})
	return s, nil
}

// Apply makes p the plan for all requests that begin from now on. It is
// idempotent and cheap where p shares its parts with the plan before.
func (s *Server) Apply(p *route.Plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.live.Load()
	var before route.Table[*route.Backend]
	if old.plan != nil {
		before = old.plan.Backends
	}
	pools, gone := old.pools.Edit(), []*pool{}
	for key := range p.Backends.Changed(before) {
		was := old.pools.Get(key)
		if was != nil {
			gone = append(gone, was)
		}
		if b := p.Backends.Get(key); b != nil {
			pools.Set(key, s.newPool(b, was))
		} else {
			pools.Delete(key)
		}
	}
	s.live.Store(&live{plan: p, pools: pools.Table()})
	for _, was := range gone { // after the new ones have taken what stays
		s.releasePool(was)
	}
	s.metrics.planApplied(p)
	s.limiters.keep(p.Serves)
}

// Open opens the listeners. It is separate from Run so that a caller knows the
// addresses, and errors, before anything is served.
func (s *Server) Open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, addr := range s.opts.Listen {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return fmt.Errorf("listen for %s: %w", name, err)
		}
		s.listeners[name] = l
	}
	return nil
}

// Addr is the address of an open listener.
func (s *Server) Addr(name string) net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.listeners[name]; l != nil {
		return l.Addr()
	}
	return nil
}

// Run serves the listeners until ctx ends, and then ends gracefully. It returns
// nil unless a listener failed.
func (s *Server) Run(ctx context.Context) error {
	var servers []*http.Server
	failed := make(chan error, 2*len(s.listeners))
	for name, l := range s.listeners {
		s.h2[name] = newHandover(l.Addr())
	}
	for name, l := range s.listeners {
		srv := s.httpServer(name)
		servers = append(servers, srv)
		go func() {
			if err := srv.Serve(s.h2[name]); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve HTTP/2 on %s: %w", name, err)
			}
		}()
		go func() {
			if err := s.accept(name, l); err != nil {
				failed <- fmt.Errorf("serve %s: %w", name, err)
			}
		}()
	}
	sweeping, stop := context.WithCancel(context.Background())
	defer stop()
	go s.sweep(sweeping)
	select {
	case err := <-failed:
		s.close(servers)
		return err
	case <-ctx.Done():
	}
	s.end(servers)
	return nil
}

// end waits for the lame duck to be forgotten, then for what is under way.
func (s *Server) end(servers []*http.Server) {
	s.draining.Store(true) // from here on responses ask clients to close
	s.opts.Log.Info("draining", "lame_duck", s.opts.LameDuck, "drain", s.opts.Drain, "active", s.active.Load())
	time.Sleep(s.opts.LameDuck)
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.Drain)
	defer cancel()
	var wg sync.WaitGroup
	s.ended.Store(true)
	for _, l := range s.listeners {
		_ = l.Close()
	}
	for _, srv := range servers {
		wg.Go(func() { _ = srv.Shutdown(ctx) })
	}
	for (s.rouse() > 0 || s.active.Load() > 0) && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	wg.Wait()
	if n := s.active.Load(); n > 0 {
		s.opts.Log.Warn("closing exchanges that did not end in time", "count", n)
	}
	s.close(servers)
}

// close ends whatever there still is.
func (s *Server) close(servers []*http.Server) {
	s.ended.Store(true)
	for _, l := range s.listeners {
		_ = l.Close()
	}
	for _, srv := range servers {
		_ = srv.Close()
	}
	s.cut()
}

// The limits of nginx where it has them: client_header_timeout 60 s,
// keepalive_timeout 75 s, 4 × 8 KiB of headers, 128 streams.
const (
	headerTimeout = 60 * time.Second
	idleTimeout   = 75 * time.Second
	maxHeader     = 32 << 10
	maxStreams    = 128
)

// httpServer serves HTTP/2; connections come from the front (see handover).
func (s *Server) httpServer(name string) *http.Server {
	srv := &http.Server{
		Handler:           &handler{server: s, listener: name},
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.opts.Log.Handler(), slog.LevelDebug),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		Protocols:         new(http.Protocols),
	}
	if name == "https" {
		srv.Protocols.SetHTTP2(true)
	} else {
		srv.Protocols.SetUnencryptedHTTP2(true) // by prior knowledge only; gRPC clients without TLS
	}
	return srv
}
