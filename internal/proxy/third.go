package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/fairway-net/fairway/internal/dialect/nginx"
)

// third serves HTTP/3 beside an HTTPS listener, on the UDP port of the same number.
type third struct {
	server    *Server
	listener  string
	transport *quic.Transport
	accepting context.Context
	stop      context.CancelFunc

	mu    sync.Mutex
	ended bool
	conns map[*thirdConn]struct{}
}

// Why a connection is refused; clients see CONNECTION_REFUSED.
var (
	errNoPreamble = errors.New("the PROXY protocol is expected, which QUIC does not have")
	errNoRoom     = errors.New("too many connections")
)

// admit lets a connection begin, and counts it until it ends, handshakes included. With
// the PROXY protocol there is no HTTP/3: it has no form for QUIC, as in nginx and HAProxy,
// and without it the load balancer would be taken for the client.
func (t *third) admit(ctx context.Context, _ *quic.ClientInfo) (context.Context, error) {
	s := t.server
	if s.wantsPreamble() {
		return nil, errNoPreamble
	}
	if !s.room() {
		return nil, errNoRoom
	}
	context.AfterFunc(ctx, func() { s.conns.Add(-1) })
	return ctx, nil
}

// doubts lets clients show that their address is theirs (RFC 9000, section 8.1.2) when
// there are many connections: who only claims it takes no room.
func (t *third) doubts(net.Addr) bool {
	return t.server.conns.Load() > int64(t.server.opts.MaxConns)/2
}

func (t *third) serve() error {
	l, err := t.transport.ListenEarly(http3.ConfigureTLSConfig(t.server.tlsConfig(t.listener)), &quic.Config{GetConfigForClient: t.config})
	if err != nil {
		return err
	}
	for {
		conn, err := l.Accept(t.accepting)
		if err != nil {
			if t.accepting.Err() != nil || errors.Is(err, quic.ErrServerClosed) {
				return nil
			}
			return err
		}
		go t.welcome(conn)
	}
}

// welcome is the life of a connection.
func (t *third) welcome(conn *quic.Conn) {
	c := &thirdConn{third: t, conn: conn, begun: time.Now()}
	c.http = &http3.Server{MaxHeaderBytes: maxHeader, Handler: c, Logger: slog.New(slog.DiscardHandler)}
	t.mu.Lock()
	ended := t.ended
	t.conns[c] = struct{}{}
	t.mu.Unlock()
	c.rests(t.server.live.Load().clients.Header)
	if ended {
		c.drain()
	}
	_ = c.http.ServeQUICConn(conn)
	_ = conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
	t.mu.Lock()
	delete(t.conns, c)
	t.mu.Unlock()
	c.mu.Lock()
	c.timer.Stop()
	c.mu.Unlock()
}

// end lets the requests that there are end, until ctx does.
func (t *third) end(ctx context.Context) {
	t.stop()
	t.mu.Lock()
	t.ended = true
	for c := range t.conns {
		c.drain()
	}
	t.mu.Unlock()
	for !t.empty() && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	_ = t.transport.Close()
	_ = t.transport.Conn.Close()
}

// evict closes a connection that has no request, and is not quite new.
func (t *third) evict() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	seen := 0
	for c := range t.conns {
		if c.spare() {
			go func() { _ = c.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "no room") }()
			return true
		}
		if seen++; seen == mostLooks {
			break
		}
	}
	return false
}

func (t *third) empty() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.conns) == 0
}

// thirdConn is a connection of a client that speaks HTTP/3. It has a time for its first
// request to come, and one between two requests, whatever QUIC says meanwhile. A stream
// whose request does not come whole is none (quic-go does not tell of it before): it lasts
// while there are others, else as long as this time, and there are at most as many of them
// as requests may be.
type thirdConn struct {
	third *third
	conn  *quic.Conn
	begun time.Time
	http  *http3.Server // its own, so that it can be drained alone

	mu       sync.Mutex
	timer    *time.Timer
	running  int // requests
	served   int
	draining bool
	evicted  bool
}

// spare says, once, that the connection may go.
func (c *thirdConn) spare() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.evicted || c.running > 0 || time.Since(c.begun) < slowFor {
		return false
	}
	c.evicted = true
	return true
}

// rests closes the connection in a while if no request comes.
func (c *thirdConn) rests(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = time.AfterFunc(d, func() {
		c.mu.Lock()
		idle := c.running == 0
		c.mu.Unlock()
		if idle {
			_ = c.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "no request")
		}
	})
}

// drain lets the requests that there are end, and tells the client that there will be no
// further ones (RFC 9114, section 5.2).
func (c *thirdConn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drainLocked(); c.running == 0 {
		c.timer.Reset(lingerTime)
	}
}

func (c *thirdConn) drainLocked() {
	if !c.draining {
		c.draining = true
		go func() { _ = c.http.Shutdown(c.conn.Context()) }()
	}
}

// begin takes note of a request. There are no more of them at a time than QUIC allows
// streams: one that is reset counts until its handler has ended, too.
func (c *thirdConn) begin(limits *nginx.Clients) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer.Stop()
	c.running++
	if c.served++; last(limits, c.served) {
		c.drainLocked()
	}
}

func (c *thirdConn) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running--; c.running > 0 {
		return
	}
	idle := max(c.third.server.live.Load().clients.Idle, time.Second)
	if c.draining {
		idle = min(idle, drainedFor) // a client that was told closes it, once it has everything
	}
	c.timer.Reset(idle)
}

const drainedFor = 5 * time.Second

// ServeHTTP implements http.Handler.
func (c *thirdConn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := c.third.server
	c.begin(&s.live.Load().clients)
	defer c.finish()
	if s.draining.Load() {
		c.drain()
	}
	s.serveThird(c.third.listener, w, r)
}
