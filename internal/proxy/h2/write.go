package h2

import (
	"runtime"
	"time"
)

// outMost is how much may wait to be written before bodies have to wait; heads and
// control frames may exceed it, up to outHard.
const (
	outMost = 64 << 10
	outHard = 1 << 20
)

// room gives the connection a buffer for output. Under mu.
func (c *Conn) room() {
	if c.out == nil {
		c.out = c.opts.outs.Get().(*[outMost + 512]byte)[:0]
	}
}

// kick has the output written soon. Under mu.
func (c *Conn) kick() {
	if !c.flushing && c.err == nil && len(c.out) > 0 {
		c.flushing = true
		go c.flush()
	}
}

// flush writes until there is nothing to write. Other streams that have an answer
// ready go first, so that one write takes all of them.
func (c *Conn) flush() {
	runtime.Gosched()
	c.mu.Lock()
	for len(c.out) > 0 && c.err == nil {
		b := c.out
		c.out = nil
		c.mu.Unlock()
		err := c.conn.WriteWithin(b, c.opts.WriteTimeout)
		c.recycle(b)
		c.mu.Lock()
		if err != nil {
			c.fail(err)
		}
		c.wakeWriters()
	}
	c.flushing = false
	if c.closing && len(c.out) == 0 {
		c.flushed.open()
	}
	c.mu.Unlock()
}

func (c *Conn) recycle(b []byte) {
	if cap(b) == outMost+512 {
		c.opts.outs.Put((*[outMost + 512]byte)(b[:cap(b)]))
	}
}

// wakeWriters lets streams that wait look again. Under mu.
func (c *Conn) wakeWriters() {
	if c.blocked == 0 {
		return
	}
	for _, s := range c.streams {
		if s.waiting {
			s.writable.open()
		}
	}
}

// head adds HEADERS, and CONTINUATION if it is long. Under mu.
func (c *Conn) head(id uint32, end bool, fill func(*Encoder)) {
	c.room()
	start := len(c.out)
	e := Encoder{appendHeader(c.out, 0, frameHeaders, 0, id)}
	if c.shrink {
		c.shrink = false
		e.b = append(e.b, 0x20) // the dynamic table, which we do not use, has no size (RFC 7541, section 4.2)
	}
	fill(&e)
	c.out = e.b
	length := len(c.out) - start - headerLen
	flags := uint8(0)
	if end {
		flags = flagEndStream
	}
	if length <= maxFrame {
		setHeader(c.out[start:], length, flags|flagEndHeaders)
		return
	}
	block := append([]byte(nil), c.out[start+headerLen:]...)
	c.out = append(c.out[:start], appendHeader(nil, maxFrame, frameHeaders, flags, id)...)
	c.out = append(c.out, block[:maxFrame]...)
	for block = block[maxFrame:]; len(block) > 0; {
		n, last := min(len(block), maxFrame), uint8(0)
		if n == len(block) {
			last = flagEndHeaders
		}
		c.out = append(appendHeader(c.out, n, frameContinuation, last, id), block[:n]...)
		block = block[n:]
	}
}

func setHeader(b []byte, length int, flags uint8) {
	b[0], b[1], b[2], b[4] = byte(length>>16), byte(length>>8), byte(length), flags
}

// control adds a frame without a stream's leave. Under mu. A peer that does not
// read what it makes us say has no claim to the connection.
func (c *Conn) control(add func([]byte) []byte) {
	if c.err != nil {
		return
	}
	c.room()
	if c.out = add(c.out); len(c.out) > outHard {
		c.fail(&ConnError{EnhanceYourCalm, "peer does not read"})
		return
	}
	c.kick()
}

// giveBack returns window of the connection. Under mu.
func (c *Conn) giveBack(n int64) {
	if c.owed += n; c.owed >= c.opts.ConnWindow/2 {
		owed := uint32(c.owed)
		c.window += c.owed
		c.owed = 0
		c.control(func(b []byte) []byte { return appendNumber(b, frameWindow, 0, owed) })
	}
}

// cut resets a stream. Under mu.
func (c *Conn) cut(s *Stream, code Code) {
	if s.err == nil && !(s.ended && s.done) && c.streams[s.id] == s {
		c.control(func(b []byte) []byte { return appendNumber(b, frameReset, s.id, uint32(code)) })
		c.remember(s.id, true)
	}
	if s.err == nil {
		s.err = &StreamError{s.id, code, false}
	}
	c.drop(s)
	s.readable.open()
	s.writable.open()
}

// bucket limits a rate: level leaks with so many per second.
type bucket struct {
	level float64
	last  time.Time
}

// add says whether the level is still at most most.
func (b *bucket) add(perSecond, most float64) bool {
	now := time.Now()
	b.level = max(0, b.level-perSecond*now.Sub(b.last).Seconds()) + 1
	b.last = now
	return b.level <= most
}
