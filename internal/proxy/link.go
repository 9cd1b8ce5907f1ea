package proxy

import (
	"context"
	"time"

	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// link is a connection to an endpoint that waits for an exchange.
type link struct {
	conn  *h1.Conn
	since time.Time
}

// link returns a connection that speaks HTTP/1, one that waits if there is any. A
// dead one costs nothing if the request can be sent again; careful is for those that
// cannot, so that it is looked at before.
func (e *endpoint) link(careful bool, timeout time.Duration) (c *h1.Conn, reused bool, err error) {
	now := time.Now()
	for {
		l, ok := e.pop()
		if !ok {
			break
		}
		if now.Sub(l.since) < idleFor && !(careful && l.conn.Stale()) {
			return l.conn, true, nil
		}
		_ = l.conn.Close()
	}
	raw, err := dial(context.WithValue(context.Background(), dialTimeoutKey{}, timeout), "tcp", e.key.addr.String())
	if err != nil {
		return nil, false, err
	}
	return h1.NewConn(raw), false, nil
}

// pop takes the link that was used last: the others may rest until they are closed.
func (e *endpoint) pop() (link, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(e.links)
	if n == 0 {
		return link{}, false
	}
	l := e.links[n-1]
	e.links[n-1] = link{}
	e.links = e.links[:n-1]
	return l, true
}

// keep gives a connection back whose exchange has ended.
func (e *endpoint) keep(c *h1.Conn, buffers *h1.Buffers) {
	c.Rest(buffers)
	e.mu.Lock()
	if len(e.links) < maxIdle && !e.gone.Load() {
		e.links = append(e.links, link{c, time.Now()})
		c = nil
	}
	e.mu.Unlock()
	if c != nil {
		_ = c.Close()
	}
}

// sweep closes the links that nobody has used since before.
func (e *endpoint) sweep(before time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for n < len(e.links) && e.links[n].since.Before(before) {
		_ = e.links[n].conn.Close()
		n++
	}
	if n > 0 {
		e.links = append(e.links[:0], e.links[n:]...)
	}
}

// sweep closes old links of all endpoints, until ctx ends.
func (s *Server) sweep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(idleFor / 6):
		}
		s.mu.Lock()
		all := make([]*endpoint, 0, len(s.endpoints))
		for _, e := range s.endpoints {
			all = append(all, e)
		}
		s.mu.Unlock()
		for _, e := range all {
			e.sweep(time.Now().Add(-idleFor))
		}
	}
}
