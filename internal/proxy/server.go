package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/h1"
	"github.com/fairway-net/fairway/internal/proxy/h2"
)

// Options of a Server.
type Options struct {
	// Listen says where to listen for each listener of the plan: "http" and
	// "https". One that is missing is not opened.
	Listen map[string]string
	// HTTP3 serves HTTP/3, too, on the UDP port of the listener "https", while the PROXY
	// protocol is not expected.
	HTTP3 bool
	// ProxyProtocol says that connections begin with a header of the PROXY protocol,
	// version 1 or 2. Those that do not are closed.
	ProxyProtocol bool
	// StreamAddr is where to listen for a port of Plan.Streams. Nil: on all addresses.
	StreamAddr func(port uint16) string
	// TicketSeed is what the keys of TLS session tickets are made of, the same for
	// all gateways that may meet a client again. Nil: they are this process's own.
	TicketSeed []byte
	// LameDuck is how long the Server goes on accepting after it was told to
	// end, while /readyz already says no: time for load balancers to notice.
	LameDuck time.Duration
	// Drain bounds the wait for exchanges that are under way after that.
	Drain time.Duration
	// MaxConns is how many connections of clients there may be, of all listeners together.
	// Beyond that idle and slow ones are closed to make room, and new ones if there is none
	// to be made. 0: half of what the limit of open files allows, as each may need one to an endpoint.
	MaxConns int
	// AccessLog is nil for none.
	AccessLog *AccessLog
	// Tracing is nil for none.
	Tracing *Tracing
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
	asker    *asker
	known    known
	digests  digests
	copies   atomic.Int64     // of requests, under way to mirrors
	cert     *tls.Certificate // for names that no Ingress has a certificate for
	tickets  tickets

	draining atomic.Bool
	active   atomic.Int64   // exchanges, upgraded connections included
	opened   atomic.Bool    // the listeners are
	conns    atomic.Int64   // connections of clients
	arriving atomic.Int64   // connections that are accepted, and not among fronts yet
	accepts  sync.WaitGroup // loops that accept connections

	mu        sync.Mutex // guards the rest
	endpoints map[endpointKey]*endpoint
	queues    map[model.Name]*queue
	checking  context.Context // ends the examinations of endpoints
	uncheck   context.CancelFunc
	listeners map[string]*net.TCPListener
	layer4    map[layer4Key]*layer4
	log       *ring // of the access log; nil: none
	tracer    *tracer
	third     *third // nil: no HTTP/3
	advert    atomic.Pointer[advert]

	upstreams *h2.Options
	buffers   h1.Buffers
	encoders  encoders
	held      atomic.Int64 // octets of requests' bodies
	fileless  sync.Once
	stamp     atomic.Pointer[stamp]
	ended     atomic.Bool // no further request

	frontsMu sync.Mutex
	fronts   map[*front]struct{}
	arrivals map[*net.TCPConn]int64 // that say first who they are, or what they want: since when
}

// live is what requests are served with: one plan and its pools, and what it says of
// connections of clients.
type live struct {
	plan    *route.Plan
	pools   route.Table[route.BackendKey, *pool]
	clients nginx.Clients
	h2      map[string]*h2.Options // by listener
}

// New returns a Server that does not listen yet.
func New(o Options) (*Server, error) {
	cert, err := selfSigned()
	if err != nil {
		return nil, err
	}
	if o.MaxConns == 0 {
		o.MaxConns = allowedConns()
	}
	s := &Server{opts: o, metrics: newMetrics(), limiters: newLimiters(), asker: newAsker(), cert: cert, endpoints: map[endpointKey]*endpoint{}, queues: map[model.Name]*queue{}, listeners: map[string]*net.TCPListener{}, layer4: map[layer4Key]*layer4{},
		upstreams: newUpstreamOptions(), fronts: map[*front]struct{}{}, arrivals: map[*net.TCPConn]int64{}}
	s.tickets.seed = o.TicketSeed
	if o.AccessLog != nil {
		if err := o.AccessLog.Check(); err != nil {
			return nil, err
		}
		s.log = newRing(o.AccessLog)
	}
	s.tracer = newTracer(o.Tracing)
	s.checking, s.uncheck = context.WithCancel(context.Background())
	s.live.Store(s.newLive())
	return s, nil
}

// Apply makes p the plan for all requests that begin from now on. It is
// idempotent and cheap where p shares its parts with the plan before.
func (s *Server) Apply(p *route.Plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.live.Load()
	var before route.Table[route.BackendKey, *route.Backend]
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
	next := &live{plan: p, pools: pools.Table()}
	s.bound(next, old)
	spoke := s.third != nil && !s.wantsPreamble()
	s.live.Store(next)
	s.tracer.configure(&p.Options.Tracing)
	if spoke && s.wantsPreamble() {
		s.opts.Log.Warn("no HTTP/3 any more: use-proxy-protocol is set, which QUIC has no form of; remove it, or the flag --http3")
	}
	for _, was := range gone { // after the new ones have taken what stays
		s.releasePool(was)
	}
	if !s.ended.Load() { // or ports would be opened again that have just been closed
		s.applyStreams(p.Streams)
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
		l, err := listen(addr)
		if err != nil {
			return fmt.Errorf("listen for %s: %w", name, err)
		}
		s.listeners[name] = l
		if name == "https" && s.opts.HTTP3 {
			if s.third, err = s.openThird(name, l.Addr()); err != nil {
				return fmt.Errorf("listen for HTTP/3: %w", err)
			}
		}
	}
	s.opened.Store(true)
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
	failed := make(chan error, len(s.listeners)+1)
	if s.third != nil {
		go func() {
			if err := s.third.serve(); err != nil {
				failed <- fmt.Errorf("serve HTTP/3: %w", err)
			}
		}()
	}
	for name, l := range s.listeners {
		var config *tls.Config
		if name == "https" {
			config = s.tlsConfig(name)
			config.NextProtos = []string{"h2", "http/1.1", "http/1.0"} // curl --http1.0 offers nothing else
		}
		s.accepts.Go(func() {
			if err := s.accept(name, l, config); err != nil {
				failed <- fmt.Errorf("serve %s: %w", name, err)
			}
		})
	}
	sweeping, stop := context.WithCancel(context.Background())
	go s.sweep(sweeping)
	var records sync.WaitGroup // which are written to the last one
	defer await(&records, recordsTime)
	defer stop()
	if s.log != nil {
		records.Go(func() { s.log.write(sweeping.Done()) })
	}
	records.Go(func() { s.tracer.run(sweeping) })
	go s.tickets.run(sweeping)
	select {
	case err := <-failed:
		s.close()
		return err
	case <-ctx.Done():
	}
	s.end()
	return nil
}

// recordsTime is how long the last records may take: whoever does not read them does not
// keep a gateway from ending.
const recordsTime = 2 * time.Second

// await waits for a group, but no longer than most.
func await(group *sync.WaitGroup, most time.Duration) {
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(most):
	}
}

// end waits for the lame duck to be forgotten, then for what is under way.
func (s *Server) end() {
	s.draining.Store(true) // from here on responses ask clients to close
	s.opts.Log.Info("draining", "lame_duck", s.opts.LameDuck, "drain", s.opts.Drain, "active", s.active.Load())
	ports := s.ports()
	s.divert(ports)
	time.Sleep(max(s.opts.LameDuck, handshakes))
	s.settle(ports)
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.Drain)
	defer cancel()
	s.ended.Store(true)
	for _, l := range s.listeners {
		_ = l.Close()
	}
	var third sync.WaitGroup
	defer third.Wait()
	if s.third != nil {
		third.Go(func() { s.third.end(ctx) })
	}
	s.mu.Lock()
	s.applyStreams(nil)
	s.mu.Unlock()
	s.accepts.Wait() // so that whoever was accepted is counted
	for s.busy() && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	if n := s.active.Load(); n > 0 {
		s.opts.Log.Warn("closing exchanges that did not end in time", "count", n)
	}
	s.close()
}

// busy says whether there is anyone who may still get an answer. Who arrives is looked
// at first, because from there one goes to the others.
func (s *Server) busy() bool {
	arriving := s.arriving.Load()
	return arriving+int64(s.rouse())+s.active.Load() > 0
}

// close ends whatever there still is.
func (s *Server) close() {
	s.ended.Store(true)
	s.uncheck()
	for _, l := range s.listeners {
		_ = l.Close()
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

// The limits of HTTP/2: what of a body may have come that no endpoint has taken.
const (
	streamWindow = 256 << 10
	connWindow   = 1 << 20
)

// streamOptions are what connections of clients that speak HTTP/2 have in common.
func (s *Server) streamOptions(listener string, limits *nginx.Clients) *h2.Options {
	return &h2.Options{
		Handle:     func(st *h2.Stream) { s.serveStream(listener, st) },
		MaxStreams: limits.Streams, MaxHead: maxHeader, Window: streamWindow, ConnWindow: connWindow,
		IdleTimeout: max(limits.Idle, time.Second), HeadTimeout: limits.Header, WriteTimeout: clientTimeout,
		Panic: func(what any, stack []byte) {
			s.opts.Log.Error("panic in a stream", "panic", what, "stack", string(stack))
		},
	}
}
