package h2

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// Stream is one request and its response.
type Stream struct {
	conn *Conn
	id   uint32

	// Request is what a client asks, on a server's stream.
	Request h1.Request
	// Response is what a server answers, on a client's stream, once AwaitHead says so.
	Response h1.Response
	// Protocol is that of an extended CONNECT (RFC 8441), "" for other requests.
	Protocol string
	// TooLarge says that the head was, so that Request holds only a part of it.
	TooLarge bool

	// The rest is guarded by conn.mu.
	in       []byte // in[taken:] has come and was not read yet
	taken    int
	window   int64 // what the peer may still send
	owed     int64 // what was read of it and not given back yet
	send     int64 // what we may still send
	declared int64 // what Content-Length says is still to come; -1: nothing
	got      bool  // the head of the response has come
	ended    bool  // the peer has sent all
	done     bool  // we have
	deaf     bool  // nobody reads
	headless bool  // the request was HEAD: the response has no body, whatever it says
	waiting  bool  // somebody waits for room to write
	stopped  bool  // Interrupt
	interim  []h1.Response
	interims int // how many there were
	err      error
	trailer  []h1.Field
	arena    []byte // what fields point into

	readable, writable gate
}

// gate is where one goroutine waits for what another does.
type gate struct {
	ch    chan struct{}
	timer *time.Timer
}

func (g *gate) open() {
	select {
	case g.ch <- struct{}{}:
	default:
	}
}

// wait returns true after open, false after d.
func (g *gate) wait(d time.Duration) bool {
	select {
	case <-g.ch:
		return true
	default:
	}
	if g.timer == nil {
		g.timer = time.NewTimer(d)
	} else {
		g.timer.Reset(d)
	}
	select {
	case <-g.ch:
		g.timer.Stop()
		return true
	case <-g.timer.C:
		return false
	}
}

func (g *gate) drain() {
	select {
	case <-g.ch:
	default:
	}
}

func newStream() *Stream {
	return &Stream{readable: gate{ch: make(chan struct{}, 1)}, writable: gate{ch: make(chan struct{}, 1)}}
}

// reset makes s ready for another request.
func (s *Stream) reset(c *Conn, id uint32) {
	const keep = 16 << 10
	in, arena := s.in[:0], s.arena[:0]
	if cap(in) > keep {
		in = nil
	}
	if cap(arena) > keep {
		arena = nil
	}
	s.readable.drain()
	s.writable.drain()
	s.conn, s.id, s.Protocol, s.TooLarge = c, id, "", false
	s.in, s.arena, s.taken, s.window, s.owed, s.declared = in, arena, 0, c.opts.Window, 0, -1
	s.headless, s.stopped, s.interim, s.interims = false, false, nil, 0
	s.got, s.ended, s.done, s.deaf, s.waiting, s.err, s.trailer = false, false, false, false, false, nil, s.trailer[:0]
}

var errClosed = errors.New("HTTP/2 connection is closed")

// ErrInterrupted is what a read returns that Interrupt ended.
var ErrInterrupted = errors.New("read was interrupted")

// Whole returns the body if all of it has come, without taking it.
func (s *Stream) Whole() ([]byte, bool) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.in[s.taken:], s.ended && s.err == nil
}

// Read reads from the body, and waits for at most d. At its end it returns io.EOF.
func (s *Stream) Read(into []byte, d time.Duration) (int, error) {
	c := s.conn
	for {
		c.mu.Lock()
		if n := copy(into, s.in[s.taken:]); n > 0 {
			if s.taken += n; s.taken == len(s.in) {
				s.in, s.taken = s.in[:0], 0
			}
			s.giveBack(int64(n))
			c.mu.Unlock()
			return n, nil
		}
		ended, stopped, err := s.ended, s.stopped, s.err
		c.mu.Unlock()
		switch {
		case ended && (err == nil || c.opts.Handle == nil):
			return 0, io.EOF
		case stopped:
			return 0, ErrInterrupted
		case err != nil:
			return 0, err
		case !s.readable.wait(d):
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// giveBack returns window to the peer, in large pieces. Under conn.mu.
func (s *Stream) giveBack(n int64) {
	c := s.conn
	if s.owed += n; s.owed >= c.opts.Window/2 && !s.ended && s.err == nil {
		c.room()
		c.out = appendNumber(c.out, frameWindow, s.id, uint32(s.owed))
		s.window += s.owed
		s.owed = 0
		c.kick()
	}
	c.giveBack(n)
}

// Trailer returns the fields after the body, once Read has returned io.EOF.
func (s *Stream) Trailer() []h1.Field {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.trailer
}

// Err returns why the stream cannot go on, nil while it can.
func (s *Stream) Err() error {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.err
}

// ErrInterim is what AwaitHead returns for a response that comes before the response.
var ErrInterim = errors.New("interim response")

// Interim returns the oldest interim response that nobody has taken yet; ok is false if
// there is none.
func (s *Stream) Interim() (r h1.Response, ok bool) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if len(s.interim) == 0 {
		return r, false
	}
	r, s.interim = s.interim[0], s.interim[1:]
	return r, true
}

// AwaitHead waits up to d for the head of the response, or returns ErrInterim.
func (s *Stream) AwaitHead(d time.Duration) error {
	for {
		s.conn.mu.Lock()
		got, err, interim := s.got, s.err, len(s.interim) > 0
		s.conn.mu.Unlock()
		switch {
		case interim:
			return ErrInterim
		case got:
			return nil
		case err != nil:
			return err
		case !s.readable.wait(d):
			return os.ErrDeadlineExceeded
		}
	}
}

// Head sends a head, of a response or a trailer. end says that nothing follows.
func (s *Stream) Head(end bool, fill func(*Encoder)) error {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.sendable(); err != nil {
		return err
	}
	c.head(s.id, end, fill)
	if end {
		s.done = true
	}
	c.kick()
	return nil
}

// sendable is nil while we may send. Under conn.mu.
func (s *Stream) sendable() error {
	switch {
	case s.err != nil:
		return s.err
	case s.conn.err != nil:
		return s.conn.err
	case s.done:
		return &StreamError{s.id, StreamClosed, false}
	}
	return nil
}

// Write sends a part of the body. It returns once all of it is on its way, or
// os.ErrDeadlineExceeded if nothing of it could be sent for d.
func (s *Stream) Write(p []byte, end bool, d time.Duration) error {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := s.sendable(); err != nil {
			return err
		}
		n := max(0, min(int64(len(p)), s.send, c.send, maxFrame, int64(outMost-len(c.out))))
		if n > 0 || len(p) == 0 {
			flags := uint8(0)
			if end && n == int64(len(p)) {
				flags, s.done = flagEndStream, true
			}
			c.room()
			c.out = append(appendHeader(c.out, int(n), frameData, flags, s.id), p[:n]...)
			s.send -= n
			c.send -= n
			if p = p[n:]; len(p) == 0 {
				c.kick()
				return nil
			}
			continue
		}
		c.kick()
		if !s.pause(d) {
			return os.ErrDeadlineExceeded
		}
	}
}

// pause waits for room or window, without the lock.
func (s *Stream) pause(d time.Duration) bool {
	c := s.conn
	s.waiting = true
	c.blocked++
	c.mu.Unlock()
	ok := s.writable.wait(d)
	c.mu.Lock()
	c.blocked--
	s.waiting = false
	return ok
}

// Interrupt ends a Read that waits in another goroutine, and all that follow until
// it is taken back.
func (s *Stream) Interrupt(on bool) {
	s.conn.mu.Lock()
	s.stopped = on
	s.conn.mu.Unlock()
	s.readable.open()
}

// Tag is that of the connection.
func (s *Stream) Tag() any { return s.conn.Tag }

// Cancel ends a stream of a client, or one of a server early. Nobody reads it any more.
func (s *Stream) Cancel(code Code) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut(s, code)
}

// Release gives a client's stream back. It must not be used after that.
func (s *Stream) Release() {
	c := s.conn
	c.mu.Lock()
	if s.err == nil && !(s.ended && s.done) {
		c.cut(s, Cancel)
	}
	c.forget(s)
	c.mu.Unlock()
	c.opts.streams.Put(s)
}
