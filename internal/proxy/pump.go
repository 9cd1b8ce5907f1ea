package proxy

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// pump moves a request's body that did not come with its head, beside the
// response: an endpoint may answer before it has read everything, or instead.
type pump struct {
	front    *front
	up       *h1.Conn
	buf      *[h1.Large]byte
	finished chan struct{}
	err      error // set before finished is closed
	ended    time.Time
}

func (f *front) startPump(up *h1.Conn) {
	p := &pump{front: f, up: up, buf: f.server.buffers.Large(), finished: make(chan struct{})}
	f.pump = p
	go p.run()
}

func (p *pump) run() {
	defer close(p.finished)
	p.err = p.move()
	p.ended = time.Now()
	if p.err != nil && !errors.Is(p.err, errRefusedBody) {
		_ = p.up.Close() // wakes the one who waits for an answer
	}
}

// errRefusedBody says that the endpoint takes no more; its answer may say why.
var errRefusedBody = errors.New("endpoint closed its side")

func (p *pump) move() error {
	f, sum := p.front, int64(0)
	rule := f.exchange.rule
	for {
		part, err := f.body.Next(p.buf[:])
		switch {
		case err == io.EOF:
			if f.request.Chunked {
				p.up.Out = h1.AppendLast(p.up.Out[:0], f.body.Trailer())
				return p.sent(p.up.Flush(rule.Forward.Timeouts.Send))
			}
			return nil
		case errors.Is(err, errSlowBody), errors.Is(err, errTakenBack), isMalformed(err):
			return err
		case err != nil:
			return errClientGone
		}
		if sum += int64(len(part)); rule.MaxBody > 0 && sum > rule.MaxBody {
			return &http.MaxBytesError{Limit: rule.MaxBody}
		}
		if f.request.Chunked {
			p.up.Out = h1.AppendChunk(p.up.Out[:0], part)
			err = p.up.Flush(rule.Forward.Timeouts.Send)
		} else {
			err = p.up.WriteWithin(part, rule.Forward.Timeouts.Send)
		}
		if err := p.sent(err); err != nil {
			return err
		}
	}
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
	p.front.stop.Store(true)
	p.front.closing = true
	_ = p.up.Close()
	p.front.conn.Rouse()
	<-p.finished
	p.front.stop.Store(false)
	return p.err
}

// free gives the buffer back. Nothing may point into it.
func (p *pump) free() { p.front.server.buffers.Return(p.buf) }

// blames says whether an error is about the client's body, and not about an answer.
func (f *front) blames(err error) bool {
	if f.pump == nil {
		return false
	}
	done, why := f.pump.done()
	return done && errors.Is(why, err)
}
