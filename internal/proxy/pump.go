package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/fairway-net/fairway/internal/proxy/h1"
	"github.com/fairway-net/fairway/internal/proxy/sock"
)

// pump moves a request's body that did not come with its head. What is at hand of it the
// goroutine of the request moves itself, before it waits for the response. Where somebody
// has to be waited for, another one goes on beside it: an endpoint may answer before it has
// read everything, or instead, while the client sends nothing, and in Go a goroutine waits
// for one connection at a time.
//
// The other goroutine costs 1.1 µs and 256 octets (BenchmarkPump). One alone could wait for
// both by an epoll of its own, for 17 µs, or look at the other from time to time, which
// delays what comes from there.
type pump struct {
	call     *call
	up       sink
	buf      *[h1.Large]byte
	sum      int64         // octets read
	left     []byte        // octets for the endpoint that it has not taken, with their framing
	last     bool          // with them all is sent
	finished chan struct{} // nil: there was no need of another goroutine
	ending   atomic.Bool   // all has been read
	err      error         // set before finished is closed
	ended    time.Time
}

// sink takes the body of a request.
type sink interface {
	send(part []byte, d time.Duration) error
	finish(trailer []h1.Field, d time.Duration) error
	// spoil ends the whole exchange with the endpoint, and wakes who waits for it.
	spoil()
}

func (c *call) startPump(up sink) {
	p := &pump{call: c, up: up, buf: c.server.buffers.Large()}
	c.pump = p
	over, err := p.rush()
	if over {
		p.ends(err)
		return
	}
	p.finished = make(chan struct{})
	go p.run()
}

func (p *pump) run() {
	defer close(p.finished)
	p.ends(p.move())
}

func (p *pump) ends(err error) {
	p.err, p.ended = err, time.Now()
	if err != nil && err != errRefusedBody {
		p.up.spoil()
	}
}

// rushMost is how much of a body is moved before anybody looks for a response.
const rushMost = 256 << 10

// dropPump ends what moves the body, if anything does.
func (c *call) dropPump() {
	if c.pump != nil {
		_ = c.pump.end()
		c.pump.free()
		c.pump = nil
	}
}

// rush moves what can be moved without waiting; over says that there is no more to move.
func (p *pump) rush() (over bool, err error) {
	f, l := p.bare()
	if f == nil {
		return false, nil
	}
	f.prompt = true
	defer func() { f.prompt = false }()
	for p.sum < rushMost && !p.long() {
		part, err := p.next()
		switch {
		case err == sock.ErrAgain:
			return false, nil
		case err != nil && err != io.EOF:
			return true, err
		}
		framed := l.framed(part, err == io.EOF, p.call)
		n, failed := l.conn.TryWrite(framed)
		if failed != nil && failed != sock.ErrAgain {
			return true, p.sent(failed)
		}
		if n < len(framed) {
			p.left, p.last = framed[n:], err == io.EOF
			return false, nil
		}
		if err == io.EOF {
			return true, nil
		}
	}
	return false, nil
}

// errRefusedBody says that the endpoint takes no more; its answer may say why.
var errRefusedBody = errors.New("endpoint closed its side")

func (p *pump) move() error {
	within := p.call.exchange.rule.Forward.Timeouts.Send
	if len(p.left) > 0 {
		if err := p.sent(p.up.(*link).conn.WriteWithin(p.left, within)); err != nil || p.last {
			return err
		}
	}
	for {
		if err := p.splice(); err != nil {
			return err
		}
		part, err := p.next()
		if err == io.EOF {
			return p.sent(p.up.finish(p.call.source().trailer(), within))
		}
		if err != nil {
			return err
		}
		if err := p.sent(p.up.send(part, within)); err != nil {
			return err
		}
	}
}

// next returns the next part of the body, and io.EOF after the last.
func (p *pump) next() ([]byte, error) {
	c := p.call
	from := c.source()
	part, err := from.part(p.buf[:])
	switch {
	case err == nil:
	case err == io.EOF:
		p.ending.Store(true)
		return nil, err
	case err == sock.ErrAgain, errors.Is(err, errSlowBody), errors.Is(err, errTakenBack), isMalformed(err):
		return nil, err
	default:
		return nil, errClientGone
	}
	p.sum += int64(len(part))
	if most := c.exchange.rule.MaxBody; most > 0 && p.sum > most {
		return nil, &http.MaxBytesError{Limit: most}
	}
	if from.exhausted() {
		p.ending.Store(true) // before the endpoint can answer to the last of it
	}
	return part, nil
}

// long says that the rest of the body is for splice.
func (p *pump) long() bool {
	f, _ := p.bare()
	return f != nil && p.call.held == nil && !f.head.Chunked && f.body.Left() >= spliceFrom && !f.body.Pending()
}

// bare are the two sides if both speak HTTP/1 over TCP with nothing between; else nil.
func (p *pump) bare() (*front, *link) {
	f, plain := p.call.down.(*front)
	l, ok := p.up.(*link)
	if !plain || !ok || f.conn.Plain() == nil || l.conn.Plain() == nil {
		return nil, nil
	}
	return f, l
}

// splice moves what is left of a long body from socket to socket inside the kernel, if
// both connections allow it. That it is not longer than it may be is known: its length is.
func (p *pump) splice() error {
	if !p.long() {
		return nil
	}
	f, l := p.bare()
	from, to := f.conn.Plain(), l.conn.Plain()
	defer f.conn.UnhurriedRead() // the deadlines are others now
	defer l.conn.UnhurriedWrite()
	within := p.call.exchange.rule.Forward.Timeouts.Send
	for last := time.Now(); f.body.Left() > 0; {
		if f.body.Left() <= splicePiece {
			p.ending.Store(true) // before the endpoint can answer to the last of it
		}
		n, err := splicePart(to, from, f.body.Left(), tick, within)
		if f.body.Took(n); n > 0 {
			last = time.Now()
		}
		switch {
		case f.stop.Load():
			return errTakenBack
		case n > 0 && (err == nil || h1.IsTimeout(err)):
		case err == errStuck:
			return errSendTimeout
		case h1.IsTimeout(err):
			if time.Since(last) > f.server.live.Load().clients.Body {
				return errSlowBody
			}
		case err == io.ErrUnexpectedEOF, f.conn.Gone():
			return errClientGone
		default:
			return errRefusedBody
		}
	}
	return nil
}

func (p *pump) sent(err error) error {
	switch {
	case err == nil:
		return nil
	case h1.IsTimeout(err):
		return errSendTimeout
	}
	return errRefusedBody
}

func isMalformed(err error) bool {
	refusal := (*h1.Error)(nil)
	return errors.As(err, &refusal)
}

// done says whether the body has been moved, and how that ended.
func (p *pump) done() (bool, error) {
	if p.finished == nil {
		return true, p.err
	}
	select {
	case <-p.finished:
		return true, p.err
	default:
		return false, nil
	}
}

// end stops the pump if it still moves.
func (p *pump) end() error {
	if done, err := p.done(); done {
		return err
	}
	if p.ending.Load() { // an answer is quicker than the news that all is sent
		select {
		case <-p.finished:
			return p.err
		case <-time.After(tick): // an endpoint that answers and does not read
		}
	}
	p.call.source().interrupt()
	p.up.spoil()
	<-p.finished
	p.call.source().resume()
	return p.err
}

// free gives the buffer back. Nothing may point into it.
func (p *pump) free() { p.call.server.buffers.Return(p.buf) }

// blames says whether an error is about the client's body, and not about an answer.
func (c *call) blames(err error) bool {
	if c.pump == nil {
		return false
	}
	done, why := c.pump.done()
	return done && errors.Is(why, err)
}
