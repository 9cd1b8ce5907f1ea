package h2

import (
	"encoding/binary"
	"time"
)

// handle does what a frame asks for.
func (c *Conn) handle(f *frame) error {
	if c.block.open && (f.kind != frameContinuation || f.id != c.block.id) {
		return broken(ProtocolError, "frame inside a head")
	}
	switch f.kind {
	case frameData:
		return c.data(f)
	case frameHeaders:
		return c.headers(f)
	case frameContinuation:
		if !c.block.open {
			return broken(ProtocolError, "CONTINUATION of nothing")
		}
		return c.fragment(f.payload, f.has(flagEndHeaders))
	case frameReset:
		return c.resetByPeer(f)
	case frameWindow:
		return c.windowUpdate(f)
	case framePush:
		return broken(ProtocolError, "PUSH_PROMISE")
	case frameGoAway:
		return c.peerGoesAway(f)
	}
	if !c.idle.add(idleRate, idleBurst) {
		return broken(EnhanceYourCalm, "too many frames that lead to nothing")
	}
	switch f.kind {
	case framePriority:
		return priority(f)
	case frameSettings:
		return c.settings(f)
	case framePing:
		return c.ping(f)
	}
	return nil // unknown: RFC 9113, section 4.1
}

// How many frames that lead to nothing a peer may send, and how many resets of
// requests that are under way: per second, and at once.
const (
	idleRate, idleBurst   = 100, 1000
	resetRate, resetBurst = 20, 400
)

func (c *Conn) data(f *frame) error {
	if f.id == 0 {
		return broken(ProtocolError, "DATA without a stream")
	}
	body, err := f.unpad()
	if err != nil {
		return err
	}
	if len(body) == 0 && !f.has(flagEndStream) && !c.idle.add(idleRate, idleBurst) {
		return broken(EnhanceYourCalm, "too many empty frames")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	size := int64(len(f.payload))
	if size > c.window {
		return broken(FlowControlError, "more than the window")
	}
	c.window -= size
	s := c.streams[f.id]
	if s == nil || s.ended {
		c.giveBack(size)
		return c.late(f.id, s != nil)
	}
	if c.opts.Handle == nil && !s.got { // a response begins with its head: RFC 9113, section 8.1
		c.giveBack(size)
		return &StreamError{f.id, ProtocolError, false}
	}
	if size > s.window {
		return &StreamError{f.id, FlowControlError, false}
	}
	s.window -= size
	if s.declared >= 0 {
		if s.declared -= int64(len(body)); s.declared < 0 || f.has(flagEndStream) && s.declared > 0 {
			s.declared = 0
			return &StreamError{f.id, ProtocolError, false}
		}
	}
	if s.deaf {
		c.giveBack(size)
	} else {
		s.in = append(s.in, body...)
		if padding := size - int64(len(body)); padding > 0 {
			s.giveBack(padding)
		}
	}
	s.ended = s.ended || f.has(flagEndStream)
	s.readable.open()
	return nil
}

// late judges a frame for a stream that is not open. Under mu.
func (c *Conn) late(id uint32, half bool) error {
	known, cut := c.recently(id)
	switch {
	case half:
		return &StreamError{id, StreamClosed, false}
	case cut:
		return nil // it was sent before the peer knew
	case known, !c.unopened(id):
		return &StreamError{id, StreamClosed, false}
	}
	return broken(ProtocolError, "frame for a stream that was never opened")
}

// unopened says that no stream of this number was ever there. Under mu.
func (c *Conn) unopened(id uint32) bool { return id > c.last || id%2 == 0 }

func (c *Conn) resetByPeer(f *frame) error {
	if len(f.payload) != 4 {
		return broken(FrameSizeError, "RST_STREAM of a wrong size")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.id == 0 || c.unopened(f.id) {
		return broken(ProtocolError, "RST_STREAM for a stream that was never opened")
	}
	if c.opts.Handle != nil && !c.resets.add(resetRate, resetBurst) { // CVE-2023-44487
		return broken(EnhanceYourCalm, "too many requests are taken back")
	}
	s := c.streams[f.id]
	if s == nil {
		return nil
	}
	code := Code(binary.BigEndian.Uint32(f.payload))
	// A server that has answered may say that it does not want the rest of the request.
	if !(c.opts.Handle == nil && code == NoError && s.ended) {
		s.err = &StreamError{f.id, code, true}
	}
	c.remember(f.id, false)
	if s.err != nil {
		c.drop(s)
	} else {
		s.done = true
	}
	s.readable.open()
	s.writable.open()
	return nil
}

func (c *Conn) windowUpdate(f *frame) error {
	if len(f.payload) != 4 {
		return broken(FrameSizeError, "WINDOW_UPDATE of a wrong size")
	}
	n := int64(binary.BigEndian.Uint32(f.payload) & maxWindow)
	if n < 1024 && !c.idle.add(idleRate, idleBurst) {
		return broken(EnhanceYourCalm, "too many small windows")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.id == 0 {
		if c.send += n; n == 0 {
			return broken(ProtocolError, "window without an increment")
		} else if c.send > maxWindow {
			return broken(FlowControlError, "window too large")
		}
		c.wakeWriters()
		return nil
	}
	s := c.streams[f.id]
	switch {
	case s == nil && c.unopened(f.id):
		return broken(ProtocolError, "WINDOW_UPDATE for a stream that was never opened")
	case s == nil:
		return nil
	case n == 0:
		return &StreamError{f.id, ProtocolError, false}
	}
	if s.send += n; s.send > maxWindow {
		return &StreamError{f.id, FlowControlError, false}
	}
	s.writable.open()
	return nil
}

// priority checks what is not used any more (RFC 9113, section 5.3.2).
func priority(f *frame) error {
	switch {
	case f.id == 0:
		return broken(ProtocolError, "PRIORITY without a stream")
	case len(f.payload) != 5:
		return &StreamError{f.id, FrameSizeError, false}
	case dependsOn(f.payload) == f.id:
		return &StreamError{f.id, ProtocolError, false}
	}
	return nil
}

func dependsOn(p []byte) uint32 { return binary.BigEndian.Uint32(p) & maxWindow }

func (c *Conn) settings(f *frame) error {
	switch {
	case f.id != 0:
		return broken(ProtocolError, "SETTINGS of a stream")
	case f.has(flagAck) && len(f.payload) > 0, len(f.payload)%6 != 0:
		return broken(FrameSizeError, "SETTINGS of a wrong size")
	case f.has(flagAck):
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := f.payload; len(p) > 0; p = p[6:] {
		if err := c.setting(binary.BigEndian.Uint16(p), binary.BigEndian.Uint32(p[2:])); err != nil {
			return err
		}
	}
	c.settled = true
	c.control(func(b []byte) []byte { return appendHeader(b, 0, frameSettings, flagAck, 0) })
	c.wakeWriters()
	return nil
}

// setting takes note of one setting of the peer. Under mu.
func (c *Conn) setting(id uint16, value uint32) error {
	switch id {
	case settingTableSize:
		c.shrink = c.shrink || value < 4096
	case settingPush:
		if value > 1 || value == 1 && c.opts.Handle == nil {
			return broken(ProtocolError, "SETTINGS_ENABLE_PUSH out of range")
		}
	case settingStreams:
		c.peerStreams = value
	case settingWindow:
		if value > maxWindow {
			return broken(FlowControlError, "SETTINGS_INITIAL_WINDOW_SIZE out of range")
		}
		more := int64(value) - c.peerWindow
		c.peerWindow = int64(value)
		for _, s := range c.streams {
			if s.send += more; s.send > maxWindow {
				return broken(FlowControlError, "window too large")
			}
		}
	case settingFrameSize:
		if value < maxFrame || value > 1<<24-1 {
			return broken(ProtocolError, "SETTINGS_MAX_FRAME_SIZE out of range")
		}
	case settingConnectProt:
		if value > 1 {
			return broken(ProtocolError, "SETTINGS_ENABLE_CONNECT_PROTOCOL out of range")
		}
		c.extended = value == 1
	}
	return nil
}

func (c *Conn) ping(f *frame) error {
	switch {
	case f.id != 0:
		return broken(ProtocolError, "PING of a stream")
	case len(f.payload) != 8:
		return broken(FrameSizeError, "PING of a wrong size")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.has(flagAck) {
		if string(f.payload) == drainPing {
			c.drained()
		}
		return nil
	}
	c.control(func(b []byte) []byte { return append(appendHeader(b, 8, framePing, flagAck, 0), f.payload...) })
	return nil
}

func (c *Conn) peerGoesAway(f *frame) error {
	if f.id != 0 || len(f.payload) < 8 {
		return broken(ProtocolError, "malformed GOAWAY")
	}
	last := binary.BigEndian.Uint32(f.payload) & maxWindow
	c.mu.Lock()
	defer c.mu.Unlock()
	c.goaway = true
	if c.opts.Handle == nil {
		for id, s := range c.streams {
			if id > last { // it has not been looked at
				s.err = &StreamError{id, RefusedStream, true}
				c.drop(s)
				s.readable.open()
				s.writable.open()
			}
		}
	}
	c.ifOver()
	return nil
}

// Open begins a stream of a client with its head; end says that nothing follows, and
// bodiless that the response has no body, whatever it says, as that to HEAD. It
// returns nil if the connection takes no more, now or ever.
func (c *Conn) Open(end, bodiless bool, fill func(*Encoder)) *Stream {
	s := c.opts.streams.Get().(*Stream)
	c.mu.Lock()
	if c.goaway || c.err != nil || len(c.streams) >= int(min(c.peerStreams, maxOwn)) || c.last >= maxWindow-2 {
		c.mu.Unlock()
		c.opts.streams.Put(s)
		return nil
	}
	if c.last == 0 {
		c.last = 1
	} else {
		c.last += 2
	}
	s.reset(c, c.last)
	s.send = c.peerWindow
	s.done, s.headless = end, bodiless
	c.streams[s.id] = s
	c.head(s.id, end, fill)
	c.kick()
	c.mu.Unlock()
	return s
}

// maxOwn bounds the streams of a client's connection.
const maxOwn = 250

// Load is how many streams a connection has; dead says that it takes no new ones any more.
func (c *Conn) Load() (streams int, dead bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.streams), c.goaway || c.err != nil
}

// Close ends the connection without more ado.
func (c *Conn) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail(errClosed)
}

// Extended reports whether the peer takes extended CONNECT (RFC 8441). It waits up to
// d for its settings.
func (c *Conn) Extended(d time.Duration) bool {
	for end := time.Now().Add(d); ; time.Sleep(time.Millisecond) {
		c.mu.Lock()
		settled, extended := c.settled, c.extended
		c.mu.Unlock()
		if settled || time.Now().After(end) {
			return extended
		}
	}
}
