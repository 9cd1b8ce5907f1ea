package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/route"
)

// endpointKey identifies an endpoint: an address belongs to a Service, so that
// what is known of it (failures, connections) ends with its membership.
type endpointKey struct {
	service model.Name
	addr    netip.AddrPort
}

// endpoint is an address with its connections, shared by all rules and ports
// of its Service that lead there.
type endpoint struct {
	key      endpointKey
	token    string       // value of affinity cookies
	refs     int          // pools of the current plan; guarded by Server.mu
	active   atomic.Int64 // exchanges that use it
	gone     atomic.Bool  // no pool has it any more
	failures atomic.Int32 // connection attempts that failed since the last that did not
	restEnd  atomic.Int64 // Unix nanoseconds until which others are preferred

	mu         sync.Mutex
	transports map[route.Protocol]*http.Transport // for what is not HTTP/1 on both sides
	links      []link                             // for what is; the one that was used last is the last
}

// takeEndpoint returns the endpoint for an address of a Service and counts one
// more pool. Runs under s.mu.
func (s *Server) takeEndpoint(service model.Name, from *route.Endpoint) *endpoint {
	key := endpointKey{service, from.Addr}
	e := s.endpoints[key]
	if e == nil {
		e = &endpoint{key: key, token: from.Token(), transports: map[route.Protocol]*http.Transport{}}
		s.endpoints[key] = e
	}
	e.refs++
	return e
}

// dropEndpoint is the opposite of takeEndpoint. Exchanges that are under way go
// on; the connections are closed when the last of them ends. Runs under s.mu.
func (s *Server) dropEndpoint(e *endpoint) {
	if e.refs--; e.refs > 0 {
		return
	}
	delete(s.endpoints, e.key)
	e.gone.Store(true)
	if e.active.Load() == 0 {
		e.closeIdle()
	}
}

func (e *endpoint) acquire() { e.active.Add(1) }

func (e *endpoint) release() {
	if e.active.Add(-1) == 0 && e.gone.Load() {
		e.closeIdle()
	}
}

func (e *endpoint) closeIdle() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.transports {
		t.CloseIdleConnections()
	}
	for _, l := range e.links {
		_ = l.conn.Close()
	}
	e.links = nil
}

// How long an endpoint that refused a connection is left alone, as long as
// there are others: the first time, doubled with each further time, and at most.
const (
	firstRest = 100 * time.Millisecond
	maxRest   = 10 * time.Second
)

func (e *endpoint) failed(now time.Time) {
	n := e.failures.Add(1)
	rest := maxRest
	if n < 8 {
		rest = min(firstRest<<(n-1), maxRest)
	}
	e.restEnd.Store(now.Add(rest).UnixNano())
}

func (e *endpoint) succeeded() {
	if e.failures.Load() != 0 {
		e.failures.Store(0)
		e.restEnd.Store(0)
	}
}

func (e *endpoint) resting(now time.Time) bool {
	end := e.restEnd.Load()
	return end != 0 && now.UnixNano() < end
}

// The limits of ingress-nginx: upstream-keepalive-connections 320 and
// upstream-keepalive-timeout 60 s; and how long a peer may leave sent bytes
// unacknowledged, which is how the death of a whole node shows.
const (
	maxIdle     = 320
	idleFor     = 60 * time.Second
	unackedFor  = 10 * time.Second
	probesAfter = 15 * time.Second
)

// transport returns the connections of e that speak p.
func (e *endpoint) transport(p route.Protocol) *http.Transport {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.transports[p]
	if t == nil {
		t = newTransport(p)
		e.transports[p] = t
	}
	return t
}

func newTransport(p route.Protocol) *http.Transport {
	t := &http.Transport{
		DialContext:            dial,
		DisableCompression:     true, // bodies pass as they are
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        idleFor,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		WriteBufferSize:        4 << 10,
		ReadBufferSize:         4 << 10,
		Protocols:              new(http.Protocols),
	}
	switch p {
	case route.H2C:
		t.Protocols.SetUnencryptedHTTP2(true)
	case route.H2:
		t.Protocols.SetHTTP2(true)
	case route.HTTPS:
		t.Protocols.SetHTTP1(true)
		t.Protocols.SetHTTP2(true)
	default:
		t.Protocols.SetHTTP1(true)
	}
	if p == route.HTTPS || p == route.H2 {
		// Endpoints have certificates for names of their own, if any: ingress-nginx
		// does not verify them unless proxy-ssl-verify asks for it.
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec
	}
	return t
}

type dialTimeoutKey struct{}

// dial connects within the time that the context's attempt has.
func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: probesAfter, Interval: probesAfter / 3, Count: 3}}
	if timeout, ok := ctx.Value(dialTimeoutKey{}).(time.Duration); ok {
		d.Timeout = timeout
	}
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { // an improvement, not a condition
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unackedFor.Milliseconds()))
			})
		}
	}
	return conn, nil
}
