package h2

import (
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// Options are what all connections of one kind have in common. They hold memory
// that connections lend each other, so that there should be one for each kind.
type Options struct {
	// Handle serves a stream of a server, in a goroutine of its own. The stream ends
	// when it returns. Nil: the connections are a client's.
	Handle func(*Stream)
	// Panic is told of a Handle that failed. May be nil.
	Panic func(what any, stack []byte)
	// MaxStreams is how many streams of a peer may be open at a time.
	MaxStreams int
	// MaxHead is how large a head may be, as RFC 9113, section 10.5.1 counts.
	MaxHead int
	// Window and ConnWindow are how much of bodies a stream, and all of a
	// connection, may have on their way without being read.
	Window, ConnWindow int64
	// IdleTimeout ends a server's connection without a stream. HeadTimeout is how long
	// a frame may take from its first octet, WriteTimeout how long the peer may take nothing.
	IdleTimeout, HeadTimeout, WriteTimeout time.Duration

	streams, outs, ins sync.Pool
	once               sync.Once
}

func (o *Options) init() {
	o.once.Do(func() {
		o.streams.New = func() any { return newStream() }
		o.outs.New = func() any { return new([outMost + 512]byte) }
		o.ins.New = func() any { return new([inSize]byte) }
	})
}

// inSize holds the longest frame that we take, and some.
const inSize = maxFrame + headerLen + 2048

// Conn is a connection.
type Conn struct {
	// Tag is the owner's, who sets it before Serve.
	Tag  any
	conn *h1.Conn
	opts *Options

	// What follows is of the goroutine that reads.
	box   *[inSize]byte
	r, w  int // box[r:w] was read and not handled yet
	dec   *hpack.Decoder
	block block
	idle  bucket // frames that lead to nothing

	mu       sync.Mutex // guards the rest
	out      []byte     // what is to be written
	flushing bool
	flushed  gate // opened when closing and all is written
	streams  map[uint32]*Stream
	begun    time.Time
	running  int    // handlers, also of streams that have been reset
	last     uint32 // the last stream of the peer, or of ours
	window   int64  // what the peer may send on all streams
	owed     int64
	send     int64 // what we may send on all streams
	blocked  int   // streams that wait for room
	resets   bucket
	recent   [32]closed // the streams that ended last
	oldest   int

	peerWindow  int64  // of new streams
	peerStreams uint32 // how many streams the peer allows
	extended    bool   // the peer takes extended CONNECT
	settled     bool   // its settings have come
	shrink      bool   // it wants to hear of the size of the table
	goaway      bool   // one of the two sides wants no new stream
	pinged      bool   // the first of our two GOAWAY is out
	closing     bool
	err         error
}

// closed is a stream that has ended; cut: we did not wait for the peer's end.
type closed struct {
	id  uint32
	cut bool
}

// New makes a connection over c. What has been read from it already is in prefix.
func New(c *h1.Conn, o *Options, prefix []byte) *Conn {
	o.init()
	conn := &Conn{conn: c, opts: o, begun: time.Now(), streams: map[uint32]*Stream{}, window: o.ConnWindow, send: defaultWindow,
		peerWindow: defaultWindow, peerStreams: 100, flushed: gate{ch: make(chan struct{}, 1)}}
	conn.dec = newDecoder(max(o.MaxHead, 4096), conn.block.add)
	conn.box = o.ins.Get().(*[inSize]byte)
	conn.w = copy(conn.box[:], prefix)
	conn.greet()
	return conn
}

// greet sends our settings, and a client's preface before them.
func (c *Conn) greet() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.room()
	var p []byte
	if c.opts.Handle != nil {
		p = appendSetting(p, settingStreams, uint32(c.opts.MaxStreams))
		p = appendSetting(p, settingConnectProt, 1)
	} else {
		c.out = append(c.out, Preface...)
		p = appendSetting(p, settingPush, 0)
	}
	p = appendSetting(p, settingWindow, uint32(c.opts.Window))
	p = appendSetting(p, settingHeaderList, uint32(c.opts.MaxHead))
	c.out = append(appendHeader(c.out, len(p), frameSettings, 0, 0), p...)
	c.out = appendNumber(c.out, frameWindow, 0, uint32(c.opts.ConnWindow-defaultWindow))
	c.kick()
}

// Serve reads until the connection ends, and says why it did; nil is a good reason.
func (c *Conn) Serve() error {
	err := c.read()
	bad := (*ConnError)(nil)
	c.mu.Lock()
	if errors.As(err, &bad) && c.err == nil {
		last := c.last
		if c.opts.Handle == nil {
			last = 0
		}
		c.control(func(b []byte) []byte { return appendGoAway(b, last, bad.Code) })
		c.finish()
		c.mu.Unlock()
		c.conn.Linger(lingerTime, lingerMost)
		c.mu.Lock()
	}
	if err == nil && c.err == nil {
		c.finish()
	}
	if err == nil {
		c.fail(errClosed)
	} else {
		c.fail(err)
	}
	c.mu.Unlock()
	_ = c.conn.Close()
	c.doze()
	return err
}

const (
	lingerTime = time.Second
	lingerMost = 1 << 20
	quietTick  = 200 * time.Millisecond
)

// finish waits until everything is written. Under mu.
func (c *Conn) finish() {
	c.closing = true
	for waited := false; (c.flushing || len(c.out) > 0) && c.err == nil && !waited; {
		c.kick()
		c.mu.Unlock()
		waited = !c.flushed.wait(c.opts.WriteTimeout)
		c.mu.Lock()
	}
}

func appendGoAway(b []byte, last uint32, code Code) []byte {
	b = appendHeader(b, 8, frameGoAway, 0, 0)
	return append(b, byte(last>>24), byte(last>>16), byte(last>>8), byte(last), 0, 0, 0, byte(code))
}

// fail ends all streams. Under mu.
func (c *Conn) fail(err error) {
	if c.err != nil {
		return
	}
	c.err, c.goaway = err, true
	for _, s := range c.streams {
		if s.err == nil {
			s.err = err
		}
		s.readable.open()
		s.writable.open()
	}
	clear(c.streams)
	c.out = nil
	_ = c.conn.Close()
}

// read handles frames.
func (c *Conn) read() error {
	if c.opts.Handle != nil {
		if err := c.preface(); err != nil {
			return err
		}
	}
	for first := true; ; first = false {
		f, err := c.next()
		if err == nil && first && (f.kind != frameSettings || f.has(flagAck)) {
			err = broken(ProtocolError, "settings do not come first")
		}
		if err == nil {
			err = c.handle(&f)
		}
		if err == nil {
			continue
		}
		one := (*StreamError)(nil)
		if !errors.As(err, &one) {
			if err == io.EOF || err == errClosed {
				return nil
			}
			return err
		}
		c.refuse(one)
	}
}

// refuse resets a stream that the peer has made a mistake on.
func (c *Conn) refuse(e *StreamError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.streams[e.id]; s != nil {
		c.cut(s, e.Code)
		return
	}
	c.remember(e.id, true)
	c.control(func(b []byte) []byte { return appendNumber(b, frameReset, e.id, uint32(e.Code)) })
}

func (c *Conn) preface() error {
	if err := c.need(len(Preface), true); err != nil {
		return err
	}
	if string(c.box[c.r:c.r+len(Preface)]) != Preface {
		return broken(ProtocolError, "no preface")
	}
	c.r += len(Preface)
	return nil
}

// next reads a frame.
func (c *Conn) next() (frame, error) {
	if err := c.need(headerLen, true); err != nil {
		return frame{}, err
	}
	b := c.box[c.r:]
	n := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	f := frame{kind: b[3], flags: b[4], id: (uint32(b[5])<<24 | uint32(b[6])<<16 | uint32(b[7])<<8 | uint32(b[8])) & maxWindow}
	if n > maxFrame {
		return f, broken(FrameSizeError, "frame too large")
	}
	if err := c.need(headerLen+n, f.kind != frameData); err != nil {
		return f, err
	}
	f.payload = c.box[c.r+headerLen : c.r+headerLen+n]
	c.r += headerLen + n
	return f, nil
}

// need waits until n octets are buffered. All of a frame has HeadTimeout to come, but for
// that of a body, which has as long between two reads.
func (c *Conn) need(n int, whole bool) error {
	for begun := time.Now(); c.w-c.r < n; {
		late := func() bool { return c.w > c.r && time.Since(begun) > c.opts.HeadTimeout }
		if c.r == c.w {
			c.r, c.w = 0, 0
		} else if c.r+n > inSize {
			c.w = copy(c.box[:], c.box[c.r:c.w])
			c.r = 0
		}
		m, err := 0, error(nil)
		if c.box != nil {
			m, err = c.conn.ReadWithin(c.box[c.w:], quietTick)
		}
		if m > 0 {
			if c.w == c.r || !whole {
				begun = time.Now()
			}
			if c.w += m; c.w-c.r < n && late() {
				return broken(ProtocolError, "frame does not come")
			}
			continue
		}
		switch {
		case err != nil && !h1.IsTimeout(err):
			return err
		case c.w > c.r:
			if late() {
				return broken(ProtocolError, "frame does not come")
			}
			if c.over() {
				return errClosed
			}
		default:
			if err := c.rest(&begun); err != nil {
				return err
			}
		}
	}
	return nil
}

// over says that there is nothing to do any more.
func (c *Conn) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.goaway && !c.pinged && len(c.streams) == 0 && c.running == 0
}

// rest waits without a buffer.
func (c *Conn) rest(since *time.Time) error {
	c.doze()
	c.mu.Lock()
	over := c.goaway && !c.pinged && len(c.streams) == 0 && c.running == 0
	busy := len(c.streams) > 0 || c.running > 0
	failed := c.err
	c.mu.Unlock()
	switch {
	case failed != nil:
		return failed
	case over:
		return errClosed
	case busy:
		*since = time.Now()
	case c.opts.IdleTimeout > 0 && time.Since(*since) > c.opts.IdleTimeout:
		c.mu.Lock()
		last := c.last
		c.control(func(b []byte) []byte { return appendGoAway(b, last, NoError) })
		c.goaway = true
		c.mu.Unlock()
		return errClosed
	}
	var one [1]byte
	n, err := c.conn.ReadWithin(one[:], restTick)
	if n > 0 {
		c.box = c.opts.ins.Get().(*[inSize]byte)
		c.r, c.w, c.box[0] = 0, 1, one[0]
		return nil
	}
	if h1.IsTimeout(err) {
		return nil
	}
	return err
}

// restTick is how often a connection that rests looks at its state.
const restTick = time.Second

// doze gives the buffer back. Nothing may be in it.
func (c *Conn) doze() {
	if c.box != nil {
		c.opts.ins.Put(c.box)
		c.box, c.r, c.w = nil, 0, 0
	}
}

// Drain lets the streams that there are end, and takes no new ones. The peer is told
// in two steps, so that no stream is lost that is on its way (RFC 9113, section 6.8).
func (c *Conn) Drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.goaway || c.err != nil {
		return
	}
	c.goaway, c.pinged = true, true
	c.control(func(b []byte) []byte {
		b = appendGoAway(b, maxWindow, NoError)
		return append(appendHeader(b, 8, framePing, 0, 0), drainPing...)
	})
	c.conn.Rouse()
}

// Retire ends the connection if there is nothing on it, and it is not quite new: somebody
// else needs the room. What the peer sends just now it may send again: it is told that
// nobody has looked at it.
func (c *Conn) Retire(grace time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || len(c.streams) > 0 || c.running > 0 || c.goaway && !c.pinged || time.Since(c.begun) < grace {
		return false
	}
	last := c.last
	c.goaway, c.pinged = true, false
	c.control(func(b []byte) []byte { return appendGoAway(b, last, NoError) })
	c.conn.Rouse()
	time.AfterFunc(quietTick, c.Close) // a peer that takes nothing is not waited for
	return true
}

const drainPing = "draining"

// drained is the second step: the peer has seen the first. Under mu.
func (c *Conn) drained() {
	if c.pinged {
		c.pinged = false
		last := c.last
		c.control(func(b []byte) []byte { return appendGoAway(b, last, NoError) })
		c.ifOver()
	}
}

// ifOver wakes the reader of a connection that has nothing to do any more. Under mu.
func (c *Conn) ifOver() {
	if c.goaway && !c.pinged && len(c.streams) == 0 && c.running == 0 {
		c.conn.Rouse()
	}
}

// remember takes note of a stream that has ended. Under mu.
func (c *Conn) remember(id uint32, cut bool) {
	c.recent[c.oldest] = closed{id, cut}
	c.oldest = (c.oldest + 1) % len(c.recent)
}

// ended says whether a stream was there lately, and how it ended. Under mu.
func (c *Conn) recently(id uint32) (known, cut bool) {
	for _, r := range c.recent {
		if r.id == id && id != 0 {
			return true, r.cut
		}
	}
	return false, false
}

// drop takes a stream off the connection. What nobody has read of it is given back.
// Under mu.
func (c *Conn) drop(s *Stream) {
	if c.streams[s.id] != s {
		return
	}
	delete(c.streams, s.id)
	if left := int64(len(s.in) - s.taken); left > 0 {
		c.giveBack(left)
	}
	s.in, s.taken = s.in[:0], 0
}

// forget ends a stream that has been served. Under mu.
func (c *Conn) forget(s *Stream) {
	if c.streams[s.id] == s {
		c.remember(s.id, !s.ended)
	}
	c.drop(s)
	c.ifOver()
}
