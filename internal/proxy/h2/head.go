package h2

import (
	"runtime/debug"
	"slices"
	"strconv"

	"golang.org/x/net/http2/hpack"

	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// block is a head that is being read.
type block struct {
	open    bool // CONTINUATION has to follow
	id      uint32
	end     bool // the stream ends with it
	loop    bool // the stream depends on itself
	octets  int  // compressed
	size    int  // RFC 9113, section 6.5.2
	most    int
	regular bool // a field that is no pseudo-field has come
	bad     bool // malformed
	large   bool
	cookies int

	fields []h1.Field
	arena  []byte
	pseudo pseudo
}

// pseudo are the pseudo-fields (RFC 9113, sections 8.3.1 and 8.3.2).
type pseudo struct {
	method, scheme, path, authority, protocol, status string
	seen                                              uint8
}

// maxFields is how many fields a head may have.
const maxFields = 500

func (c *Conn) headers(f *frame) error {
	if f.id == 0 {
		return broken(ProtocolError, "HEADERS without a stream")
	}
	p, err := f.unpad()
	if err != nil {
		return err
	}
	if c.opts.Handle != nil && f.id%2 == 0 {
		return broken(ProtocolError, "stream with a server's number")
	}
	b := &c.block
	*b = block{open: true, id: f.id, end: f.has(flagEndStream), most: c.opts.MaxHead, fields: b.fields[:0], arena: b.arena[:0]}
	if f.has(flagPriority) {
		if len(p) < 5 {
			return broken(FrameSizeError, "HEADERS without its priority")
		}
		b.loop = dependsOn(p) == f.id
		p = p[5:]
	}
	return c.fragment(p, f.has(flagEndHeaders))
}

// fragment reads a piece of a head, and acts on the last.
func (c *Conn) fragment(p []byte, last bool) error {
	b := &c.block
	// What is too large is still read, as the tables of both sides have to agree, but
	// not for ever. An empty piece costs, too.
	if b.octets += len(p) + headerLen; b.octets > 4*max(c.opts.MaxHead, maxFrame) {
		return broken(EnhanceYourCalm, "head without an end")
	}
	if _, err := c.dec.Write(p); err != nil {
		return broken(CompressionError, "malformed head: "+err.Error())
	}
	if !last {
		return nil
	}
	b.open = false
	if err := c.dec.Close(); err != nil {
		return broken(CompressionError, "head that ends early")
	}
	if b.loop {
		return &StreamError{b.id, ProtocolError, false}
	}
	if c.opts.Handle == nil {
		return c.response()
	}
	return c.request()
}

// add takes a field of the head.
func (b *block) add(f hpack.HeaderField) {
	b.size += len(f.Name) + len(f.Value) + 32
	if b.large = b.large || b.size > b.most || len(b.fields) >= maxFields; b.large {
		return
	}
	if len(f.Name) > 0 && f.Name[0] == ':' {
		b.bad = b.bad || b.regular || !b.pseudo.set(f.Name, f.Value)
		return
	}
	b.regular = true
	if f.Name == "cookie" {
		if b.cookies++; b.cookies > 1 && b.crumb(f.Value) {
			return
		}
	}
	start := len(b.arena)
	b.arena = append(append(b.arena, f.Name...), f.Value...)
	name, value := b.arena[start:start+len(f.Name):start+len(f.Name)], b.arena[start+len(f.Name):len(b.arena):len(b.arena)]
	field, ok := h1.Make(name, value)
	b.bad = b.bad || !ok || !b.allowed(&field)
	b.fields = append(b.fields, field)
}

// allowed refuses what HTTP/2 has no use for (RFC 9113, section 8.2).
func (b *block) allowed(f *h1.Field) bool {
	for _, c := range f.Name {
		if 'A' <= c && c <= 'Z' {
			return false
		}
	}
	switch f.Known {
	case h1.Connection, h1.KeepAlive, h1.ProxyConnection, h1.TransferEncoding, h1.Upgrade:
		return false
	case h1.TE:
		return h1.Is(f.Value, "trailers")
	}
	return true
}

// crumb joins a further cookie to the first (RFC 9113, section 8.2.3).
func (b *block) crumb(value string) bool {
	for i := range b.fields {
		if f := &b.fields[i]; h1.Is(f.Name, "cookie") {
			joined := slices.Concat(f.Value, []byte("; "), []byte(value))
			field, ok := h1.Make(f.Name, joined)
			b.bad = b.bad || !ok
			b.fields[i] = field
			return true
		}
	}
	return false
}

// set takes a pseudo-field, each once.
func (p *pseudo) set(name, value string) bool {
	var at *string
	bit := uint8(0)
	switch name {
	case ":method":
		at, bit = &p.method, 1
	case ":scheme":
		at, bit = &p.scheme, 2
	case ":path":
		at, bit = &p.path, 4
	case ":authority":
		at, bit = &p.authority, 8
	case ":protocol":
		at, bit = &p.protocol, 16
	case ":status":
		at, bit = &p.status, 32
	default:
		return false
	}
	if p.seen&bit != 0 {
		return false
	}
	p.seen |= bit
	*at = value
	return true
}

// request acts on a head that a server has read.
func (c *Conn) request() error {
	b := &c.block
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.streams[b.id]; s != nil {
		return c.trailer(s)
	}
	if b.id <= c.last {
		known, cut := c.recently(b.id)
		switch {
		case cut:
			return nil
		case known:
			return broken(StreamClosed, "HEADERS for a stream that has ended")
		}
		return broken(ProtocolError, "HEADERS for an older stream")
	}
	c.last = b.id
	if c.err != nil || c.goaway && !c.pinged || c.running >= c.opts.MaxStreams {
		return &StreamError{b.id, RefusedStream, false}
	}
	s := c.opts.streams.Get().(*Stream)
	s.reset(c, b.id)
	s.send, s.ended, s.TooLarge, s.Protocol = c.peerWindow, b.end, b.large, b.pseudo.protocol
	// The stream gets the memory, and the block that of the stream's last request.
	s.Request.Fields, b.fields = b.fields, s.Request.Fields[:0]
	s.arena, b.arena = b.arena, s.arena
	if !b.large && (b.bad || !b.compose(s)) {
		c.opts.streams.Put(s)
		return &StreamError{b.id, ProtocolError, false}
	}
	if s.declared = s.Request.Length; b.end {
		if s.declared > 0 {
			c.opts.streams.Put(s)
			return &StreamError{b.id, ProtocolError, false}
		}
		s.Request.Chunked, s.Request.Length = false, -1
	}
	c.streams[b.id] = s
	c.running++
	go c.serve(s)
	return nil
}

// compose makes the head one of HTTP/1.
func (b *block) compose(s *Stream) bool {
	p, r := &b.pseudo, &s.Request
	if p.status != "" {
		return false
	}
	if p.protocol != "" {
		if p.method != "CONNECT" || p.scheme == "" || p.path == "" || p.authority == "" || b.end {
			return false
		}
		return r.Compose("GET", p.authority, p.path, false)
	}
	if p.method == "CONNECT" {
		if p.seen&(2|4) != 0 || p.authority == "" {
			return false
		}
		return r.Compose(p.method, p.authority, p.authority, !b.end)
	}
	if p.scheme != "http" && p.scheme != "https" || p.path == "" {
		return false
	}
	return r.Compose(p.method, p.authority, p.path, !b.end)
}

// trailer takes the fields after a body. Under mu.
func (c *Conn) trailer(s *Stream) error {
	b := &c.block
	switch {
	case s.ended:
		return &StreamError{b.id, StreamClosed, false}
	case !b.end, b.bad, b.large, b.pseudo.seen != 0, s.declared > 0:
		return &StreamError{b.id, ProtocolError, false}
	}
	s.trailer = append(s.trailer, b.copied()...)
	s.ended = true
	s.readable.open()
	return nil
}

// copied are the fields in memory of their own: the goroutine of the stream reads them
// while we read on.
func (b *block) copied() []h1.Field {
	out, arena := make([]h1.Field, 0, len(b.fields)), make([]byte, 0, len(b.arena))
	for _, f := range b.fields {
		start := len(arena)
		arena = append(append(arena, f.Name...), f.Value...)
		out = append(out, h1.Field{Name: arena[start : start+len(f.Name)], Value: arena[start+len(f.Name):], Known: f.Known})
	}
	return out
}

// maxInterim is how many responses may come before the response.
const maxInterim = 10

// interim keeps a response that comes before the response for who waits. 100 is between
// the peer and us. Under Conn.mu.
func (b *block) interim(s *Stream, status int) error {
	if s.interims++; b.end || s.interims > maxInterim {
		return &StreamError{b.id, ProtocolError, false}
	}
	r := h1.Response{}
	if r.Fields = b.copied(); !r.Compose(status) {
		return &StreamError{b.id, ProtocolError, false}
	}
	if status != 100 {
		s.interim = append(s.interim, r)
		s.readable.open()
	}
	return nil
}

// serve is the goroutine of a server's stream.
func (c *Conn) serve(s *Stream) {
	defer func() {
		failed := recover()
		c.mu.Lock()
		c.running--
		switch {
		case s.done && !s.ended:
			c.cut(s, NoError) // the rest of the request is not wanted (RFC 9113, section 8.1)
		case !s.done && s.err == nil:
			c.cut(s, InternalError)
		}
		c.forget(s)
		c.mu.Unlock()
		c.opts.streams.Put(s)
		if failed != nil && c.opts.Panic != nil {
			c.opts.Panic(failed, debug.Stack())
		}
	}()
	c.opts.Handle(s)
}

// response acts on a head that a client has read.
func (c *Conn) response() error {
	b := &c.block
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[b.id]
	switch {
	case s == nil && c.unopened(b.id):
		return broken(ProtocolError, "HEADERS for a stream that was never opened")
	case s == nil:
		return nil
	case s.got:
		return c.trailer(s)
	case b.bad, b.large, b.pseudo.seen != 32, len(b.pseudo.status) != 3:
		return &StreamError{b.id, ProtocolError, false}
	}
	status, err := strconv.Atoi(b.pseudo.status)
	if err != nil || status < 100 || status == 101 {
		return &StreamError{b.id, ProtocolError, false}
	}
	if status < 200 {
		return b.interim(s, status)
	}
	s.Response.Fields, b.fields = b.fields, s.Response.Fields[:0]
	s.arena, b.arena = b.arena, s.arena
	if !s.Response.Compose(status) {
		return &StreamError{b.id, ProtocolError, false}
	}
	if !s.Response.Bodiless {
		s.declared = s.Response.Length
	}
	if b.end && s.declared > 0 && !s.headless {
		return &StreamError{b.id, ProtocolError, false}
	}
	s.got, s.ended = true, b.end
	if s.headless {
		s.declared = -1
	}
	s.readable.open()
	return nil
}
