package proxy

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fairway-net/fairway/internal/proxy/h1"
	"github.com/fairway-net/fairway/internal/proxy/h2"
)

// stream is a request of a client that speaks HTTP/2, and the client of its call.
type stream struct {
	call
	h2 *h2.Stream

	// Of responses of our own; see http.ResponseWriter.
	header http.Header
	wrote  bool
	shutUp bool // the response is complete
	left   int64
}

var streams = sync.Pool{New: func() any { return new(stream) }}

// multiplex serves the connection as HTTP/2. What was read already is in prefix.
func (f *front) multiplex(prefix []byte) {
	f.conn.Unhurried()
	mux := h2.New(f.conn, f.server.live.Load().h2[f.listener], prefix)
	mux.Tag = f
	f.conn.Take(len(f.conn.Buffered()))
	f.conn.Rest(&f.server.buffers)
	f.mux.Store(mux)
	if f.server.ended.Load() {
		mux.Drain()
	}
	_ = mux.Serve()
}

// serveStream is the life of one exchange.
func (s *Server) serveStream(listener string, st *h2.Stream) {
	c := streams.Get().(*stream)
	defer streams.Put(c)
	c.h2, c.request, c.header, c.wrote, c.shutUp, c.left = st, &st.Request, nil, false, false, -1
	x := c.begin(s, c, c, "HTTP/2.0")
	f := st.Tag().(*front)
	x.peer, x.protocol = f.peer, st.Protocol
	if last(&s.live.Load().clients, int(f.streams.Add(1))) {
		f.mux.Load().Drain()
	}
	switch {
	case st.TooLarge:
		x.host, x.method, x.path = "", "", ""
		x.id = requestID("")
		x.err = errors.New("head too large")
		x.fail(http.StatusRequestHeaderFieldsTooLarge, "the head of the request is too large")
		s.metrics.done(x)
	default:
		x.run(listener)
	}
	if c.wrote && !c.shutUp && c.left <= 0 {
		_ = c.shut(nil)
	}
	c.dropPump()
}

func (c *stream) all() ([]byte, bool) { return c.h2.Whole() }

func (c *stream) exhausted() bool { return false }

func (c *stream) part(scratch []byte) ([]byte, error) {
	for begun := time.Now(); ; {
		n, err := c.h2.Read(scratch, tick)
		switch {
		case n > 0:
			return scratch[:n], nil
		case err == h2.ErrInterrupted:
			return nil, errTakenBack
		case h1.IsTimeout(err):
			if time.Since(begun) > c.server.live.Load().clients.Body && c.protocolless() {
				return nil, errSlowBody
			}
		default:
			return nil, err
		}
	}
}

// protocolless says that the body is one, and not the stream of a gRPC call or of
// another protocol, which may be silent for as long as it likes.
func (c *stream) protocolless() bool {
	return c.exchange.protocol == "" && !c.grpc()
}

func (c *stream) trailer() []h1.Field { return c.h2.Trailer() }

func (c *stream) interrupt() { c.h2.Interrupt(true) }

func (c *stream) resume() { c.h2.Interrupt(false) }

func (c *stream) invite() error {
	if !c.request.Expects {
		return nil
	}
	c.request.Expects = false
	return c.h2.Head(false, func(e *h2.Encoder) { e.Status(http.StatusContinue) })
}

func (c *stream) gone() bool { return c.h2.Err() != nil }

func (c *stream) inform() error {
	r := &c.response
	return c.h2.Head(false, func(e *h2.Encoder) {
		e.Status(r.Status)
		for i := range r.Fields {
			if field := &r.Fields[i]; !r.Hop(field) {
				e.Copy(field.Name, field.Value)
			}
		}
	})
}

func (c *stream) open() error {
	c.wrote = true
	x, r := &c.exchange, &c.response
	if a := x.rule.Forward.Affinity; a != nil {
		x.stick(a, c.Header())
	}
	c.shutUp = r.Bodiless || c.empty || c.framed && r.Length == 0
	if c.left = -1; c.framed {
		c.left = c.length()
	}
	return c.h2.Head(c.shutUp, func(e *h2.Encoder) {
		e.Status(r.Status)
		if !x.plan.Options.ServerHeader {
			e.Field("server", serverName)
		}
		if x.listener.TLS && x.plan.Options.HSTS != "" {
			e.Field("strict-transport-security", x.plan.Options.HSTS)
		}
		dated := false
		for i := range r.Fields {
			if field := &r.Fields[i]; c.passes(field) {
				dated = dated || field.Known == h1.Date
				e.Copy(field.Name, field.Value)
			}
		}
		if !dated {
			e.Field("date", c.server.date(x.start))
		}
		if v := c.server.altSvc(x); v != "" {
			e.Field("alt-svc", v)
		}
		if n := c.length(); n >= 0 && r.Status != http.StatusNoContent {
			e.Number("content-length", n)
		}
		c.fields(e)
	})
}

// fields adds our own.
func (c *stream) fields(e *h2.Encoder) {
	for _, name := range slices.Sorted(maps.Keys(c.header)) {
		switch name {
		case "Content-Length", "Transfer-Encoding", "Connection", "Server", "Keep-Alive", "Upgrade", "Date":
			continue
		}
		for _, value := range c.header[name] {
			if h1.Cleartext(value) {
				e.Field(name, strings.TrimSpace(value))
			}
		}
	}
}

func (c *stream) flush() error { return nil } // open has sent the head

func (c *stream) write(part []byte, _ bool) error {
	c.exchange.writer.bytes += int64(len(part))
	if c.left >= 0 {
		c.left -= int64(len(part))
		c.shutUp = c.left == 0
	}
	return c.h2.Write(part, c.shutUp, clientTimeout)
}

func (c *stream) shut(trailer []h1.Field) error {
	if c.shutUp {
		return nil
	}
	c.shutUp = true
	if len(trailer) == 0 {
		return c.h2.Write(nil, true, clientTimeout)
	}
	return c.h2.Head(true, func(e *h2.Encoder) {
		for i := range trailer {
			if f := &trailer[i]; !f.Known.Hop() && f.Known != h1.Host {
				e.Copy(f.Name, f.Value)
			}
		}
	})
}

func (c *stream) abort(why error) {
	c.shutUp = true
	code, reset := resetBy(why)
	if !reset || !c.grpc() { // to gRPC's clients the code says what became of the call
		code = h2.InternalError
	}
	c.h2.Cancel(code)
}

func (c *stream) grpc() bool { return grpc(c.request) }

// grpc says that the body of a request is the stream of a call.
func grpc(r *h1.Request) bool {
	return strings.HasPrefix(r.Get("Content-Type"), "application/grpc")
}

// resets says that an endpoint has reset the stream of a gRPC call whose client has a
// stream, too, and so can be told just that: a server does it when the call's time is
// over, and a status in its place would be another end than the client expects.
func (c *call) resets(err error) bool {
	s, multiplexed := c.down.(*stream)
	_, reset := resetBy(err)
	return multiplexed && s.grpc() && reset
}

// tunnel is the answer to an extended CONNECT (RFC 8441, section 5): 200 is what 101
// is to HTTP/1.
func (c *stream) tunnel(up io.ReadWriteCloser, already []byte) {
	c.wrote, c.shutUp = true, true
	r := &c.response
	err := c.h2.Head(false, func(e *h2.Encoder) {
		e.Status(http.StatusOK)
		for i := range r.Fields {
			if f := &r.Fields[i]; !r.Hop(f) && !h1.Is(f.Name, "sec-websocket-accept") {
				e.Copy(f.Name, f.Value)
			}
		}
	})
	if err == nil && len(already) > 0 {
		err = c.h2.Write(already, false, clientTimeout)
	}
	if err != nil {
		_ = up.Close()
		return
	}
	c.exchange.writer.bytes += join(&streamPipe{c.h2}, up)
}

// streamPipe is a stream whose body is the octets of another protocol.
type streamPipe struct{ *h2.Stream }

func (p *streamPipe) Read(b []byte) (int, error) {
	for {
		n, err := p.Stream.Read(b, time.Minute)
		if n > 0 || err != nil && !h1.IsTimeout(err) {
			return n, err
		}
	}
}

func (p *streamPipe) Write(b []byte) (int, error) {
	if err := p.Stream.Write(b, false, clientTimeout); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close ends our side; the client's may still say something, which nobody hears.
func (p *streamPipe) Close() error {
	_ = p.Stream.Write(nil, true, clientTimeout)
	p.Stream.Cancel(h2.NoError)
	return nil
}

// Header implements http.ResponseWriter.
func (c *stream) Header() http.Header {
	if c.header == nil {
		c.header = http.Header{}
	}
	return c.header
}

// WriteHeader implements http.ResponseWriter.
func (c *stream) WriteHeader(status int) {
	if c.wrote {
		return
	}
	c.wrote = true
	if n, err := strconv.ParseInt(c.header.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		c.left = n
	}
	end := c.left == 0 || c.exchange.method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified
	c.shutUp = end
	_ = c.h2.Head(end, func(e *h2.Encoder) {
		e.Status(status)
		e.Field("server", serverName)
		e.Field("date", c.server.date(time.Now()))
		if c.left >= 0 && status != http.StatusNoContent {
			e.Number("content-length", c.left)
		}
		c.fields(e)
	})
}

// Write implements http.ResponseWriter.
func (c *stream) Write(b []byte) (int, error) {
	if !c.wrote {
		c.WriteHeader(http.StatusOK)
	}
	if c.shutUp {
		return 0, http.ErrBodyNotAllowed
	}
	if c.left >= 0 {
		if int64(len(b)) > c.left {
			return 0, http.ErrContentLength
		}
		c.left -= int64(len(b))
		c.shutUp = c.left == 0
	}
	if err := c.h2.Write(b, c.shutUp, clientTimeout); err != nil {
		return 0, errClientGone
	}
	return len(b), nil
}
