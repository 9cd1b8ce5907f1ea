package proxy

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// maxResponseHeader is how long the head of a response may be.
const maxResponseHeader = 256 << 10

// errNoHead says that what an endpoint sent is no response.
var errNoHead = errors.New("read response")

// maxInterim is how many responses may come before the response.
const maxInterim = 10

// link is a connection to an endpoint that speaks HTTP/1: the upstream of one call
// after another.
type link struct {
	conn  *h1.Conn
	since time.Time // when it was given back
	used  bool      // it has had an exchange before
	whole bool      // the exchange has ended where the connection could go on
	kept  *links    // where it waits for another one; nil: it ends with this one

	body   h1.Body // of the response
	waited time.Time
	call   *call
	read   func([]byte) (int, error)
}

func newLink(c *h1.Conn, kept *links) *link {
	l := &link{conn: c, kept: kept}
	l.read = l.receive
	return l
}

// links are the connections to an endpoint that wait for an exchange; the one that
// was used last is the last. Guarded by endpoint.mu.
type links struct{ idle []*link }

// link returns a connection that speaks HTTP/1, one that waits if there is any. A
// dead one costs nothing if the request can be sent again; careful is for those that
// cannot, so that it is looked at before.
func (e *endpoint) link(k kind, config *tls.Config, careful bool, timeout time.Duration) (*link, error) {
	kept := e.linksOf(k)
	now := time.Now()
	for {
		l := e.pop(kept)
		if l == nil {
			break
		}
		if now.Sub(l.since) < idleFor && !(careful && l.conn.Stale()) {
			l.used = true
			return l, nil
		}
		_ = l.conn.Close()
	}
	raw, err := e.dial(k, config, timeout, nil)
	if err != nil {
		return nil, err
	}
	return newLink(h1.NewConn(raw), kept), nil
}

// pop takes the link that was used last: the others may rest until they are closed.
func (e *endpoint) pop(kept *links) *link {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(kept.idle)
	if n == 0 {
		return nil
	}
	l := kept.idle[n-1]
	kept.idle[n-1] = nil
	kept.idle = kept.idle[:n-1]
	return l
}

// end implements upstream.
func (l *link) end(c *call, well bool) {
	l.call, l.whole = nil, l.whole && well && l.kept != nil
	e := c.exchange.endpoint
	if !l.whole {
		_ = l.conn.Close()
		l.conn.Take(len(l.conn.Buffered()))
		l.conn.Rest(&c.server.buffers)
		return
	}
	l.conn.Compact()
	l.conn.Rest(&c.server.buffers)
	l.since = time.Now()
	e.mu.Lock()
	keep := len(l.kept.idle) < maxIdle && !e.gone.Load()
	if keep {
		l.kept.idle = append(l.kept.idle, l)
	}
	e.mu.Unlock()
	if !keep {
		_ = l.conn.Close()
	}
}

// stale implements upstream.
func (l *link) stale() bool { return l.used && len(l.conn.Buffered()) == 0 }

// pipe implements upstream.
func (l *link) pipe() (io.ReadWriteCloser, []byte) {
	l.conn.Unhurried()
	return l.conn.Conn, l.conn.Buffered()
}

// offer implements upstream.
func (l *link) offer(c *call) error {
	r, up := c.request, l.conn
	l.call, l.whole = c, false
	up.Wake(&c.server.buffers)
	timeouts := &c.exchange.rule.Forward.Timeouts
	up.Out = l.head(c, up.Out[:0])
	pumped := false
	var large *[h1.Large]byte
	if r.HasBody() {
		body, ok := c.take()
		if ok && len(up.Out)+len(body) > cap(up.Out) {
			large = c.server.buffers.Large()
			up.Out = append(large[:0], up.Out...)
		}
		if pumped = !ok; ok && r.Chunked {
			up.Out = h1.AppendChunk(up.Out, body)
			up.Out = h1.AppendLast(up.Out, c.source().trailer())
		} else if ok {
			up.Out = append(up.Out, body...)
		}
	}
	asked, err := time.Now(), error(nil)
	if pumped {
		err = up.Flush(timeouts.Send)
	} else {
		err = up.Ask(timeouts.Send, tick)
	}
	if large != nil {
		up.Out = nil
		c.server.buffers.Return(large)
	}
	if err != nil {
		if h1.IsTimeout(err) {
			return errSendTimeout
		}
		return fmt.Errorf("write request: %w", err)
	}
	if pumped {
		if err := c.down.invite(); err != nil {
			return errClientGone
		}
		c.startPump(l)
		asked = time.Now()
	}
	return l.answer(c, asked)
}

// answer reads the head of the response.
func (l *link) answer(c *call, since time.Time) error {
	up, interim := l.conn, 0
	for {
		n, err := c.response.Parse(up.Buffered(), c.exchange.method)
		if err != nil {
			return fmt.Errorf("%w: %s", errNoHead, err) // not the client's error
		}
		if n > 0 {
			up.Take(n)
			if c.response.Status >= 200 || c.response.Status == http.StatusSwitchingProtocols {
				return c.checkUpgrade()
			}
			if interim++; interim > maxInterim {
				return errors.New("read response: too many interim responses")
			}
			if c.response.Status != http.StatusContinue { // that is between the endpoint and us
				if err := c.down.inform(); err != nil {
					return errClientGone
				}
			}
			up.Compact()
			continue
		}
		if err := l.fill(c, &since); err != nil {
			return err
		}
	}
}

// checkUpgrade refuses a change of protocol that nobody asked for.
func (c *call) checkUpgrade() error {
	if c.response.Status == http.StatusSwitchingProtocols && c.upgrade() == "" {
		return errors.New("read response: upgrade that was not asked for")
	}
	return nil
}

// upgrade is the protocol that the client wants to change to. Cleartext HTTP/2 is none: what
// follows would be requests that we do not see (RFC 9113 has given that upgrade up).
func (c *call) upgrade() string {
	if c.exchange.protocol != "" {
		return c.exchange.protocol
	}
	if c.request.Upgrade && !c.request.Has(h1.Upgrade, "h2c") {
		return c.request.Get("Upgrade")
	}
	return ""
}

// fill reads from an endpoint once, and waits for as long as that makes sense.
func (l *link) fill(c *call, since *time.Time) error {
	for {
		err := l.conn.Fill(lookAround(*since), maxResponseHeader)
		if err == nil {
			return nil
		}
		if !h1.IsTimeout(err) {
			return fmt.Errorf("read response: %w", err)
		}
		if err := c.patient(since); err != nil {
			return err
		}
	}
}

// head builds the head of the request.
func (l *link) head(c *call, out []byte) []byte {
	x, r := &c.exchange, c.request
	path, query := x.outPath()
	out = append(out, x.method...)
	out = append(out, ' ')
	out = append(out, path...)
	if query != "" {
		out = append(out, '?')
		out = append(out, query...)
	}
	out = append(out, " HTTP/1.1\r\n"...)
	out = h1.AppendField(out, "Host", x.outHost())
	c.head(func(f *h1.Field) { out = h1.AppendCopy(out, f) }, func(name, value string) { out = h1.AppendField(out, name, value) })
	if protocol := c.upgrade(); protocol != "" {
		out = append(out, "Connection: Upgrade\r\n"...)
		out = h1.AppendField(out, "Upgrade", protocol)
		if x.protocol == "websocket" {
			out = h1.AppendField(out, "Sec-WebSocket-Key", rand.Text()[:22]+"==")
		}
	}
	switch {
	case r.Chunked:
		out = h1.AppendChunked(out)
	case r.Length > 0, r.Length == 0 && !bodilessByHabit(x.method):
		out = h1.AppendLength(out, r.Length)
	case x.method == "POST", x.method == "PUT", x.method == "PATCH":
		out = h1.AppendLength(out, 0) // RFC 9110, section 8.6
	}
	return append(out, "\r\n"...)
}

func bodilessByHabit(method string) bool { return method == "GET" || method == "HEAD" }

// send implements sink.
func (l *link) send(part []byte, d time.Duration) error {
	if !l.call.request.Chunked {
		return l.conn.WriteWithin(part, d)
	}
	l.conn.Out = h1.AppendChunk(l.conn.Out[:0], part)
	return l.conn.Flush(d)
}

// framed returns a part of the request's body, or its end, as it goes to the endpoint.
func (l *link) framed(part []byte, end bool, c *call) []byte {
	switch {
	case !c.request.Chunked:
		return part
	case end:
		l.conn.Out = h1.AppendLast(l.conn.Out[:0], c.source().trailer())
	default:
		l.conn.Out = h1.AppendChunk(l.conn.Out[:0], part)
	}
	return l.conn.Out
}

// finish implements sink.
func (l *link) finish(trailer []h1.Field, d time.Duration) error {
	if !l.call.request.Chunked {
		return nil
	}
	l.conn.Out = h1.AppendLast(l.conn.Out[:0], trailer)
	return l.conn.Flush(d)
}

// spoil implements sink.
func (l *link) spoil() { _ = l.conn.Close() }

// carry implements upstream.
func (l *link) carry(c *call) error {
	r, b, up := &c.response, &l.body, l.conn
	here := up.Buffered()
	switch {
	case r.Bodiless:
		l.whole = len(here) == 0 && !r.Close
		return c.down.shut(nil)
	case r.Length >= 0 && r.Length <= int64(len(here)):
		if err := c.down.write(here[:r.Length], true); err != nil {
			return err
		}
		up.Take(int(r.Length))
		l.whole = len(up.Buffered()) == 0 && !r.Close
		return c.down.shut(nil)
	}
	l.waited = time.Now()
	if r.UntilClose() {
		b.ToEnd(here, l.read)
	} else {
		b.Reset(&r.Head, here, l.read)
	}
	up.Take(len(here))
	if !b.Pending() { // the body may be long in coming: that of an event stream, say
		if err := c.down.flush(); err != nil {
			return errClientGone
		}
	}
	scratch := c.server.buffers.Large()
	defer c.server.buffers.Return(scratch)
	for {
		part, err := b.Next(scratch[:])
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := c.down.write(part, b.Pending()); err != nil {
			return errClientGone
		}
		if f, ok := c.down.(*front); ok {
			if err := f.splice(up, b, &l.waited); err != nil {
				return err
			}
		}
	}
	l.whole = !r.UntilClose() && len(b.Rest()) == 0 && !r.Close
	return c.down.shut(b.Trailer())
}

// receive reads more of the response.
func (l *link) receive(into []byte) (int, error) {
	l.waited = time.Now()
	for {
		n, err := l.conn.ReadWithin(into, lookAround(l.waited))
		if n > 0 || !h1.IsTimeout(err) {
			return n, err
		}
		if err := l.call.patient(&l.waited); err != nil {
			return 0, err
		}
	}
}

// sweep closes the links that nobody has used since before.
func (e *endpoint) sweep(before time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.eachLinks(func(kept *links) {
		n := 0
		for n < len(kept.idle) && kept.idle[n].since.Before(before) {
			_ = kept.idle[n].conn.Close()
			n++
		}
		if n > 0 {
			kept.idle = append(kept.idle[:0], kept.idle[n:]...)
		}
	})
	for _, m := range e.muxes {
		m.sweep(before)
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
