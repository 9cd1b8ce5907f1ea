package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/fairway-net/fairway/internal/proxy/h1"
	"github.com/fairway-net/fairway/internal/proxy/h2"
)

// front is a connection of a client that speaks HTTP/1. One goroutine reads a
// request, has it answered, and reads the next; what it needs for that it keeps.
type front struct {
	call
	listener string
	conn     *h1.Conn
	peer     peer
	idle     atomic.Bool  // between two requests
	reading  atomic.Int64 // since when the head of a request, or the handshake, does not come whole: Unix nanoseconds; 0: it does
	evicted  atomic.Bool  // while it was idle, or reading

	head   h1.Request
	body   h1.Body // of the request
	read   func([]byte) (int, error)
	answer answer // responses of our own

	chunks  bool         // the response's body is sent in chunks
	closing bool         // no further request
	served  int          // requests of HTTP/1
	streams atomic.Int64 // requests of HTTP/2
	broken  bool         // the response cannot be ended as it began
	stop    atomic.Bool
	prompt  bool                    // what has not come of the body is not waited for
	mux     atomic.Pointer[h2.Conn] // what the connection speaks if it is HTTP/2
}

// peer is who is at the other end of a connection.
type peer struct {
	client string // address without its port
	remote netip.Addr
	port   uint16
	at     netip.AddrPort       // the address that it connected to
	told   bool                 // by the PROXY protocol
	tls    *tls.ConnectionState // nil: plain
}

func peerOf(addr, at net.Addr) (p peer) {
	p.client = addr.String()
	if from, err := netip.ParseAddrPort(p.client); err == nil {
		p.meet(from)
	}
	if to, ok := at.(interface{ AddrPort() netip.AddrPort }); ok { // TCP's, or UDP's
		p.at = netip.AddrPortFrom(to.AddrPort().Addr().Unmap(), to.AddrPort().Port())
	}
	return p
}

func (p *peer) meet(from netip.AddrPort) {
	p.remote, p.port = from.Addr().Unmap(), from.Port()
	p.client = p.remote.String()
}

func newFront(s *Server, listener string, c net.Conn, from peer) *front {
	f := &front{listener: listener, conn: h1.NewConn(c), peer: from}
	f.server, f.request = s, &f.head
	f.read = f.readBody
	f.answer.front = f
	return f
}

// How long we wait for what clients send and take; and how often a wait looks
// around whether it still makes sense.
const (
	clientTimeout = 60 * time.Second // nginx's send_timeout
	idleTick      = 200 * time.Millisecond
	tick          = 100 * time.Millisecond
	handshakeTime = 10 * time.Second
	lingerTime    = time.Second
	lingerMost    = 1 << 30 // the time is the bound
)

// serve is the life of the connection. While it waits for long it is another goroutine's:
// the stack of one that has served a request, or shaken hands, has grown, and would stay.
func (f *front) serve() {
	f.live(func() bool { return f.handshake() && f.exchanges(true) })
}

// rest waits for the next request.
func (f *front) rest() {
	f.live(func() bool { return f.await() && f.exchanges(false) })
}

// live is a part of the connection's life, which says whether it rests after that.
func (f *front) live(part func() bool) {
	rests := false
	defer func() {
		if rests {
			f.head.Fields, f.response.Fields = nil, nil
			go f.rest()
		} else {
			f.end()
		}
	}()
	defer f.survive()
	rests = part()
}

// exchanges serves requests until none comes for a moment, or none will; rests says
// that one may.
func (f *front) exchanges(first bool) (rests bool) {
	for ; ; first = false {
		came, rests := f.next(first)
		if !came {
			return rests
		}
		f.serveOne()
		if !f.finish() {
			return false
		}
	}
}

// survive keeps the failure of one connection from being that of all.
func (f *front) survive() {
	if p := recover(); p != nil && p != http.ErrAbortHandler { // which is how ReverseProxy says that a response broke off
		f.server.opts.Log.Error("panic in a connection", "client", f.peer.client, "panic", p, "stack", string(debug.Stack()))
	}
}

// handshake ends TLS, and serves HTTP/2 if that is what it says.
func (f *front) handshake() bool {
	c, ok := f.conn.Conn.(*tls.Conn)
	if !ok {
		return true
	}
	begun := time.Now()
	_ = c.SetDeadline(begun.Add(handshakeTime))
	f.reading.Store(begun.UnixNano())
	err := c.Handshake()
	f.reading.Store(0)
	if err != nil {
		return false
	}
	f.conn.Unhurried()
	state := c.ConnectionState()
	f.peer.tls = &state
	if state.NegotiatedProtocol == "h2" {
		f.multiplex(nil)
		return false
	}
	return true
}

// next waits for a request and reads its head. If there is none, rests says whether
// there may be one later.
func (f *front) next(first bool) (came, rests bool) {
	c := f.conn
	if len(c.Buffered()) == 0 {
		if came, rests = f.wait(first); !came {
			return false, rests
		}
	}
	for begun := (time.Time{}); ; {
		n, err := f.head.Parse(c.Buffered())
		if n > 0 && err == nil {
			c.Take(n)
			return true, false
		}
		if err != nil && first && prefaced(c.Buffered()) {
			f.multiplex(c.Buffered())
			return false, false
		}
		late := false
		if begun.IsZero() { // it has not come with the first octet, as it mostly does
			begun = time.Now()
		} else { // whatever has come since
			late = time.Since(begun) >= f.server.live.Load().clients.Header
		}
		if err == nil && !late {
			f.reading.Store(begun.UnixNano())
			err = c.Fill(lookAround(begun), maxHeader)
			f.reading.Store(0)
		}
		switch {
		case f.evicted.Load() && h1.IsTimeout(err):
			return false, false
		case err != nil && !h1.IsTimeout(err):
			f.refuse(err)
			return false, false
		case late:
			f.refuse(&h1.Error{Status: http.StatusRequestTimeout, Text: "the head of the request does not come"})
			return false, false
		}
	}
}

// wait waits for the first octet of a request for a moment; the first request has all of
// its time.
func (f *front) wait(first bool) (came, rests bool) {
	f.idle.Store(!first) // whoever has just come has a moment for the first request, whatever happens
	f.conn.Wake(&f.server.buffers)
	err := f.conn.Fill(idleTick, maxHeader)
	f.idle.Store(true)
	rests = h1.IsTimeout(err) && !f.server.ended.Load() && !f.evicted.Load()
	if rests && !first {
		f.conn.Rest(&f.server.buffers)
		return false, true
	}
	if rests {
		err = f.conn.Await(&f.server.buffers, max(f.server.live.Load().clients.Header-idleTick, tick))
	}
	f.idle.Store(false)
	return err == nil, false
}

// await waits for the first octet of a request without a buffer.
func (f *front) await() bool {
	defer f.idle.Store(false)
	return !f.evicted.Load() && f.conn.Await(&f.server.buffers, max(f.server.live.Load().clients.Idle-idleTick, tick)) == nil
}

// refuse answers what is no request.
func (f *front) refuse(err error) {
	refusal := (*h1.Error)(nil)
	if errors.Is(err, h1.ErrFull) {
		refusal = &h1.Error{Status: http.StatusRequestHeaderFieldsTooLarge, Text: err.Error()}
	} else if !errors.As(err, &refusal) {
		return // nobody is there
	}
	f.head = h1.Request{Head: h1.Head{Minor: 1, Length: -1}}
	f.begin()
	f.closing = true
	x := &f.exchange
	x.err = err
	x.id = requestID("")
	x.fail(refusal.Status, refusal.Text)
	f.server.metrics.done(x)
	if f.server.log != nil {
		f.server.log.add(x)
	}
	f.finish()
}

// begin makes f ready for the exchange of the request that was read.
func (f *front) begin() {
	r := &f.head
	f.body.Reset(&r.Head, f.conn.Buffered(), f.read)
	f.closing, f.broken, f.chunks = r.Close, false, false
	f.answer.reset()
	proto := "HTTP/1.1"
	if r.Minor == 0 {
		proto = "HTTP/1.0"
	}
	f.call.begin(f.server, f, &f.answer, proto).peer = f.peer
}

func (f *front) serveOne() {
	f.begin()
	f.served++
	if finishes(&f.head) || last(&f.server.live.Load().clients, f.served) {
		f.closing = true
	}
	f.exchange.run(f.listener)
}

// escaped escapes what a client should have escaped, as net/http does; "" is for
// what cannot be a path.
func escaped(path string) string {
	u, err := url.ParseRequestURI(path)
	if err != nil {
		return ""
	}
	return u.EscapedPath()
}

// finish ends the response and says whether another request may come.
func (f *front) finish() bool {
	if f.broken {
		return false
	}
	f.answer.end()
	if f.broken || f.conn.Flush(clientTimeout) != nil {
		return false
	}
	if f.pump != nil {
		defer f.pump.free()
		f.pump = nil
	}
	for err := error(nil); err == nil; {
		if !f.body.Pending() {
			f.closing = true // the rest of the body is not wanted
			break
		}
		_, err = f.body.Next(nil)
		if err != nil && err != io.EOF {
			f.closing = true
		}
	}
	if f.closing {
		f.conn.Linger(lingerTime, lingerMost)
		return false
	}
	f.conn.Replace(f.body.Rest())
	return !f.server.ended.Load()
}

func (f *front) end() {
	defer f.server.conns.Add(-1)
	f.server.forget(f)
	_ = f.conn.Close()
	f.conn.Take(len(f.conn.Buffered()))
	f.conn.Rest(&f.server.buffers)
}

// readBody reads more of the request's body.
func (f *front) readBody(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, io.ErrShortBuffer
	}
	if f.prompt {
		return f.conn.TryRead(b)
	}
	for begun := time.Now(); ; {
		n, err := f.conn.ReadWithin(b, tick)
		switch {
		case n > 0:
			return n, nil
		case f.stop.Load():
			return 0, errTakenBack
		case !h1.IsTimeout(err):
			return 0, err
		case time.Since(begun) > f.server.live.Load().clients.Body:
			return 0, errSlowBody
		}
	}
}

// unread says that some of the request's body is still to come, which nobody wants
// once there is an answer.
func (f *front) unread() bool {
	switch {
	case f.pump != nil:
		done, err := f.pump.done()
		return !done || err != nil
	case f.request.Chunked:
		return true
	}
	return f.body.Left() > int64(len(f.body.Rest()))
}

func prefaced(b []byte) bool { return bytes.HasPrefix(b, []byte("PRI * HTTP/2.0\r\n\r\n")) }
