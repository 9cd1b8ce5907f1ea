package proxy

import (
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/fairway-net/fairway/internal/proxy/h1"
	"github.com/fairway-net/fairway/internal/proxy/h2"
)

// mux are the connections to an endpoint that speak HTTP/2: few, each with many streams.
type mux struct {
	endpoint *endpoint
	kind     kind
	config   *tls.Config // nil: certificates are not verified
	preamble []byte      // that its connections begin with; it is one call's then

	mu    sync.Mutex // also held while one of those who need a connection makes it
	conns []*muxConn
}

type muxConn struct {
	*h2.Conn
	used time.Time
}

// The figures of connections to endpoints.
const (
	upstreamWindow     = 256 << 10
	upstreamConnWindow = 4 << 20
)

// newUpstreamOptions are what connections to endpoints have in common.
func newUpstreamOptions() *h2.Options {
	return &h2.Options{MaxHead: maxResponseHeader, Window: upstreamWindow, ConnWindow: upstreamConnWindow, HeadTimeout: headerTimeout, WriteTimeout: unackedFor}
}

// open begins a stream, on a new connection if the others are full.
func (m *mux) open(c *call, end bool, timeout time.Duration) (*h2.Stream, error) {
	extended := c.upgrade() != ""
	head := func(e *h2.Encoder) { c.encode(e, m.kind) }
	bodiless := c.exchange.method == "HEAD"
	m.mu.Lock()
	defer m.mu.Unlock()
	alive := m.conns[:0]
	var best *muxConn
	least := 0
	for _, conn := range m.conns {
		n, dead := conn.Load()
		if dead {
			continue
		}
		alive = append(alive, conn)
		if best == nil || n < least {
			best, least = conn, n
		}
	}
	clear(m.conns[len(alive):])
	m.conns = alive
	if best != nil {
		if extended && !best.Extended(timeout) {
			return nil, errNoUpgrade
		}
		if s := best.Open(end, bodiless, head); s != nil {
			best.used = time.Now()
			return s, nil
		}
	}
	raw, err := m.endpoint.dial(m.kind, m.config, timeout, m.preamble)
	if err != nil {
		return nil, err
	}
	conn := &muxConn{h2.New(h1.NewConn(raw), c.server.upstreams, nil), time.Now()}
	m.conns = append(m.conns, conn)
	go func() { _ = conn.Serve() }()
	if extended && !conn.Extended(timeout) {
		return nil, errNoUpgrade
	}
	if s := conn.Open(end, bodiless, head); s != nil {
		return s, nil
	}
	return nil, errors.New("endpoint takes no stream")
}

func (m *mux) sweep(before time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, conn := range m.conns {
		if n, _ := conn.Load(); n == 0 && conn.used.Before(before) {
			conn.Close()
		}
	}
}

func (m *mux) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, conn := range m.conns {
		conn.Close()
	}
	m.conns = nil
}

// encode writes the head of the request.
func (c *call) encode(e *h2.Encoder, k kind) {
	x, r := &c.exchange, c.request
	path, query := x.outPath()
	if query != "" {
		path += "?" + query
	}
	scheme := "http"
	if k.tls {
		scheme = "https"
	}
	if protocol := c.upgrade(); protocol != "" {
		e.Connect(strings.ToLower(protocol), scheme, x.outHost(), path)
		c.head(func(f *h1.Field) {
			if !h1.Is(f.Name, "sec-websocket-key") { // which is HTTP/1's (RFC 8441, section 5)
				e.Copy(f.Name, f.Value)
			}
		}, e.Field)
		return
	}
	e.Request(x.method, scheme, x.outHost(), path)
	c.head(func(f *h1.Field) { e.Copy(f.Name, f.Value) }, e.Field)
	if r.Length > 0 || r.Length == 0 && !bodilessByHabit(x.method) {
		e.Number("content-length", r.Length)
	}
}

// channel is a stream to an endpoint: the upstream of one call.
type channel struct {
	stream *h2.Stream
	mux    *mux
	whole  bool // the request has all been sent with its head
	body   []byte
	dial   time.Duration
}

// offer implements upstream.
func (s *channel) offer(c *call) error {
	r := c.request
	timeouts := &c.exchange.rule.Forward.Timeouts
	body, pumped := []byte(nil), false
	if r.HasBody() {
		small, ok := c.take()
		body, pumped = small, !ok
	}
	trailer := []h1.Field(nil)
	if !pumped && r.HasBody() {
		trailer = c.source().trailer()
	}
	// A body that is empty is still one: gRPC wants its end in a DATA frame.
	stream, err := s.mux.open(c, !r.HasBody() && c.upgrade() == "", s.dial)
	if err != nil {
		return err
	}
	s.stream = stream
	switch {
	case pumped:
		if c.down.invite() != nil {
			return errClientGone
		}
		c.startPump(s)
	case r.HasBody():
		if len(body) > 0 || len(trailer) == 0 {
			err = stream.Write(body, len(trailer) == 0, timeouts.Send)
		}
		if err == nil && len(trailer) > 0 {
			err = s.finish(trailer, timeouts.Send)
		}
		if h1.IsTimeout(err) {
			return errSendTimeout
		}
		if err != nil {
			return err
		}
	}
	for since := time.Now(); ; {
		err := stream.AwaitHead(lookAround(since))
		if err == nil {
			break
		}
		if err == h2.ErrInterim {
			if early, ok := stream.Interim(); ok {
				c.response = early
				if c.down.inform() != nil {
					return errClientGone
				}
			}
			since = time.Now()
			continue
		}
		if !h1.IsTimeout(err) {
			return err
		}
		if err := c.patient(&since); err != nil {
			return err
		}
	}
	c.response = stream.Response
	if c.exchange.method == "HEAD" {
		c.response.Bodiless = true
	}
	if protocol := c.upgrade(); protocol != "" && c.response.Status/100 == 2 {
		c.switched(protocol)
		return nil
	}
	if rest, ended := stream.Whole(); ended && len(rest) == 0 && len(stream.Trailer()) == 0 {
		c.empty = true // so that gRPC's trailers that are all of a response stay so
	}
	if c.response.Get("Trailer") != "" {
		c.response.Length = -1 // only chunks have trailers
	}
	c.response.Chunked = c.response.Length < 0 && !c.empty && !c.response.Bodiless // as HTTP/1 would
	return nil
}

// stale implements upstream: whoever has not taken a stream says so (see isRefused).
func (s *channel) stale() bool { return false }

// end implements upstream.
func (s *channel) end(c *call, _ bool) {
	if s.stream != nil {
		c.response.Fields = nil // they are the stream's
		s.stream.Release()
		s.stream = nil
	}
	if s.mux.preamble != nil {
		s.mux.close()
	}
}

// pipe implements upstream.
func (s *channel) pipe() (io.ReadWriteCloser, []byte) { return &streamPipe{s.stream}, nil }

// errNoUpgrade says that an endpoint speaks HTTP/2 and no other protocol over it.
var errNoUpgrade = errors.New("the endpoint speaks HTTP/2 and takes no extended CONNECT (RFC 8441)")

// switched makes the success of an extended CONNECT what it is to HTTP/1: a change of
// protocol, with the proof that the client's key was read (RFC 6455, section 4.2.2).
func (c *call) switched(protocol string) {
	r := &c.response
	r.Status, r.Reason, r.Bodiless = http.StatusSwitchingProtocols, nil, true
	r.Fields = append(r.Fields, h1.Field{Name: []byte("upgrade"), Value: []byte(protocol), Known: h1.Upgrade})
	if key := c.request.Get("Sec-WebSocket-Key"); key != "" && c.exchange.protocol == "" {
		sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		if f, ok := h1.Make([]byte("sec-websocket-accept"), []byte(base64.StdEncoding.EncodeToString(sum[:]))); ok {
			r.Fields = append(r.Fields, f)
		}
	}
}

// carry implements upstream.
func (s *channel) carry(c *call) error {
	if c.response.Bodiless || c.empty {
		return c.down.shut(nil)
	}
	scratch := c.server.buffers.Large()
	defer c.server.buffers.Return(scratch)
	since, wait, flushed := time.Now(), headWait, false
	for {
		n, err := s.stream.Read(scratch[:], wait)
		wait = lookAround(since)
		switch {
		case n > 0:
			if err := c.down.write(scratch[:n], false); err != nil {
				return errClientGone
			}
			since, flushed = time.Now(), true
		case err == io.EOF:
			return c.down.shut(s.stream.Trailer())
		case !h1.IsTimeout(err):
			return err
		case !flushed: // the body may be long in coming: that of an event stream, say
			if err := c.down.flush(); err != nil {
				return errClientGone
			}
			flushed = true
		default:
			if err := c.patient(&since); err != nil {
				return err
			}
		}
	}
}

// headWait is how long the head of a response waits for the first octets of its body, which
// mostly come right behind it.
const headWait = 2 * time.Millisecond

// send implements sink.
func (s *channel) send(part []byte, d time.Duration) error { return s.stream.Write(part, false, d) }

// finish implements sink.
func (s *channel) finish(trailer []h1.Field, d time.Duration) error {
	if len(trailer) == 0 {
		return s.stream.Write(nil, true, d)
	}
	return s.stream.Head(true, func(e *h2.Encoder) {
		for i := range trailer {
			if f := &trailer[i]; !f.Known.Hop() && f.Known != h1.Host {
				e.Copy(f.Name, f.Value)
			}
		}
	})
}

// spoil implements sink.
func (s *channel) spoil() { s.stream.Cancel(h2.Cancel) }

// resetBy is the code by which an endpoint has reset a stream, if err is that.
func resetBy(err error) (code h2.Code, ok bool) {
	reset := (*h2.StreamError)(nil)
	if !errors.As(err, &reset) || !reset.Peer {
		return 0, false
	}
	return reset.Code, true
}

// isRefused says that an endpoint has not looked at the request.
func isRefused(err error) bool {
	code, ok := resetBy(err)
	return ok && code == h2.RefusedStream
}

// isClientGone says that nobody waits for an answer.
func isClientGone(err error) bool { return errors.Is(err, errClientGone) }
