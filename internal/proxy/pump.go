package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// pump moves a request's body that did not come with its head, beside the
// response: an endpoint may answer before it has read everything, or instead.
type pump struct {
	call     *call
	up       sink
	buf      *[h1.Large]byte
	finished chan struct{}
	ending   atomic.Bool // all has been read
	err      error       // set before finished is closed
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
	p := &pump{call: c, up: up, buf: c.server.buffers.Large(), finished: make(chan struct{})}
	c.pump = p
	go p.run()
}

func (p *pump) run() {
	defer close(p.finished)
	p.err = p.move()
	p.ended = time.Now()
	if p.err != nil && p.err != errRefusedBody {
		p.up.spoil()
	}
}

// errRefusedBody says that the endpoint takes no more; its answer may say why.
var errRefusedBody = errors.New("endpoint closed its side")

func (p *pump) move() error {
	c, sum := p.call, int64(0)
	rule := c.exchange.rule
	for {
		part, err := c.down.part(p.buf[:])
		switch {
		case err == io.EOF:
			p.ending.Store(true)
			return p.sent(p.up.finish(c.down.trailer(), rule.Forward.Timeouts.Send))
		case errors.Is(err, errSlowBody), errors.Is(err, errTakenBack), isMalformed(err):
			return err
		case err != nil:
			return errClientGone
		}
		if sum += int64(len(part)); rule.MaxBody > 0 && sum > rule.MaxBody {
			return &http.MaxBytesError{Limit: rule.MaxBody}
		}
		if c.down.exhausted() {
			p.ending.Store(true) // before the endpoint can answer to the last of it
		}
		if err := p.sent(p.up.send(part, rule.Forward.Timeouts.Send)); err != nil {
			return err
		}
		if err := p.splice(); err != nil {
			return err
		}
	}
}

// splice moves what is left of a long body from socket to socket inside the kernel, if
// both connections allow it. That it is not longer than it may be is known: its length is.
func (p *pump) splice() error {
	f, plain := p.call.down.(*front)
	l, ok := p.up.(*link)
	if !plain || !ok || f.head.Chunked || f.body.Left() < spliceFrom || f.body.Pending() {
		return nil
	}
	from, to := f.conn.Plain(), l.conn.Plain()
	if from == nil || to == nil {
		return nil
	}
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
	p.call.down.interrupt()
	p.up.spoil()
	<-p.finished
	p.call.down.resume()
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
