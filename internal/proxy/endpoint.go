package proxy

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/h1"
	"github.com/fairway-net/fairway/internal/proxy/sock"
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
	queue    atomic.Pointer[queue]
	sick     atomic.Bool  // examined, and found not to be well
	born     atomic.Int64 // Unix nanoseconds since when it starts slowly; 0: it does not
	check    *check       // nil: nobody asks; guarded by Server.mu
	gone     atomic.Bool  // no pool has it any more
	failures atomic.Int32 // connection attempts that failed since the last that did not
	restEnd  atomic.Int64 // Unix nanoseconds until which others are preferred

	mu     sync.Mutex
	plain  links // that speak HTTP/1 without TLS
	others map[kind]*links
	muxes  map[kind]*mux

	sessions tls.ClientSessionCache
	pace     pace
	broken   atomic.Int32 // attempts in a row that had a connection and came to nothing
}

// kind is how an endpoint is spoken with. key tells apart settings of TLS.
type kind struct {
	h2, tls bool
	key     string
}

// connect returns a connection or stream to e for c.
func (e *endpoint) connect(c *call, p route.Protocol, timeout time.Duration) (upstream, error) {
	k := kind{h2: p == route.H2C || p == route.H2, tls: p == route.HTTPS || p == route.H2}
	config := (*tls.Config)(nil)
	if t := c.exchange.rule.Forward.TLS; t != nil && k.tls {
		k.key, config = t.Key, t.Config
		if config.ServerName == "" {
			k.key += " " + c.exchange.outHost() // the name that is verified
			config = config.Clone()
			config.ServerName = c.exchange.hostName()
		}
	}
	preamble := c.exchange.preamble(c.exchange.served.backend.Upstream.ProxyProtocol)
	switch {
	case p == route.FastCGI:
		raw, err := e.dial(k, nil, timeout, preamble)
		if err != nil {
			return nil, err
		}
		return newScript(h1.NewConn(raw)), nil
	case c.exchange.connects():
		raw, err := e.dial(kind{}, nil, timeout, preamble)
		if err != nil {
			return nil, err
		}
		return &tunnel{raw}, nil
	case k.h2 && preamble != nil:
		return &channel{mux: &mux{endpoint: e, kind: k, config: config, preamble: preamble}, dial: timeout}, nil
	case k.h2:
		return &channel{mux: e.muxOf(k, config), dial: timeout}, nil
	case preamble != nil:
		raw, err := e.dial(k, config, timeout, preamble)
		if err != nil {
			return nil, err
		}
		return newLink(h1.NewConn(raw), nil), nil
	}
	return e.link(k, config, !c.repeatable(), timeout)
}

func (e *endpoint) linksOf(k kind) *links {
	if k == (kind{}) {
		return &e.plain
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.others[k]
	if l == nil {
		l = &links{}
		e.others[k] = l
	}
	return l
}

func (e *endpoint) muxOf(k kind, config *tls.Config) *mux {
	e.mu.Lock()
	defer e.mu.Unlock()
	m := e.muxes[k]
	if m == nil {
		m = &mux{endpoint: e, kind: k, config: config}
		e.muxes[k] = m
	}
	return m
}

// eachLinks calls f with all that wait. Under mu.
func (e *endpoint) eachLinks(f func(*links)) {
	f(&e.plain)
	for _, l := range e.others {
		f(l)
	}
}

// takeEndpoint returns the endpoint for an address of a Service and counts one
// more pool; late says that the pool was there before. Runs under s.mu.
func (s *Server) takeEndpoint(service model.Name, from *route.Endpoint, late bool) *endpoint {
	key := endpointKey{service, from.Addr}
	e := s.endpoints[key]
	if e == nil {
		e = &endpoint{key: key, token: from.Token(), others: map[kind]*links{}, muxes: map[kind]*mux{}, sessions: tls.NewLRUClientSessionCache(4)}
		s.endpoints[key] = e
		if late {
			e.born.Store(time.Now().UnixNano())
		}
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
	if e.check != nil {
		e.check.stop()
	}
	if e.active.Load() == 0 {
		e.closeIdle()
	}
}

func (e *endpoint) acquire() { e.active.Add(1) }

func (e *endpoint) release() {
	if e.active.Add(-1) == 0 && e.gone.Load() {
		e.closeIdle()
	}
	if q := e.queue.Load(); q != nil {
		q.wake()
	}
}

func (e *endpoint) closeIdle() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.eachLinks(func(kept *links) {
		for _, l := range kept.idle {
			_ = l.conn.Close()
		}
		kept.idle = nil
	})
	for _, m := range e.muxes {
		m.close()
	}
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

// suspect takes note of an attempt that found a connection and came to nothing. One
// may be the request's fault; many in a row are not, and the endpoint rests.
func (e *endpoint) suspect(now time.Time) {
	if n := e.broken.Add(1); n >= suspectAfter {
		rest := min(firstSuspicion<<min(n-suspectAfter, 5), maxSuspicion)
		e.restEnd.Store(now.Add(rest).UnixNano())
	}
}

const (
	suspectAfter   = 5
	firstSuspicion = time.Second
	maxSuspicion   = 30 * time.Second
)

func (e *endpoint) succeeded() {
	if e.broken.Load() != 0 {
		e.broken.Store(0)
		e.restEnd.Store(0)
	}
	if e.failures.Load() != 0 {
		e.failures.Store(0)
		e.restEnd.Store(0)
	}
}

// well says that nothing speaks against e.
func (e *endpoint) well(now time.Time) bool { return !e.sick.Load() && !e.resting(now) }

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

// dial connects within the time that an attempt has, and sends the preamble, if any.
func (e *endpoint) dial(k kind, config *tls.Config, timeout time.Duration, preamble []byte) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: probesAfter, Interval: probesAfter / 3, Count: 3}}
	conn, err := d.Dial("tcp", e.key.addr.String())
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { // an improvement, not a condition
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unackedFor.Milliseconds()))
			})
		}
		conn = sock.New(tcp)
	}
	if len(preamble) > 0 {
		if _, err := conn.Write(preamble); err != nil {
			_ = conn.Close()
			return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: conn.RemoteAddr(), Err: err}
		}
	}
	if !k.tls {
		return conn, nil
	}
	// Endpoints have certificates for names of their own, if any: ingress-nginx does
	// not verify them unless proxy-ssl-verify asks for it.
	if config == nil {
		config = &tls.Config{InsecureSkipVerify: true, ClientSessionCache: e.sessions} //nolint:gosec
	} else {
		config = config.Clone()
	}
	if k.h2 {
		config.NextProtos = []string{"h2"}
	}
	secure := tls.Client(conn, config)
	_ = conn.SetDeadline(time.Now().Add(max(timeout, time.Second)))
	if err := secure.Handshake(); err != nil {
		_ = conn.Close()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: conn.RemoteAddr(), Err: err}
	}
	_ = conn.SetDeadline(time.Time{})
	if k.h2 && secure.ConnectionState().NegotiatedProtocol != "h2" {
		_ = conn.Close()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: conn.RemoteAddr(), Err: errors.New("endpoint does not speak HTTP/2")}
	}
	return secure, nil
}
