package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// This file holds the body of a request until all of it has come, as nginx's
// proxy_request_buffering does: a slow client does not occupy an endpoint, and the body can
// be sent to another one. What is short stays in memory, what is long goes to a file.

// The bounds of bodies that are held: what stays in memory of one, if the rule does not
// say more, and what all that are held together may have, with the files of backlogs. Bodies
// beyond that are passed on as they come.
const (
	heldInMemory = 16 << 10
	heldMost     = 2 << 30
)

// separate says that all of a request comes before its response: neither may go on beside
// the other.
func (x *exchange) separate(p *pool) bool {
	return x.protocol == "" && !x.connects() && x.call.upgrade() == "" && !p.protocol(x.rule.Forward, x.scheme() == "https").Multiplexed()
}

// source is where the body of a request is read from: the client, or what is held of it.
type source interface {
	part(scratch []byte) ([]byte, error)
	exhausted() bool
	trailer() []h1.Field
	interrupt()
	resume()
}

// held is a body of which some, or all, has been read: first what is in memory, then what
// is in the file, then what the client has yet to send.
type held struct {
	mem  []byte
	file *os.File // nil: none
	size int64    // of what is held
	off  int64    // what was read again of it
	more source   // nil: it is all there
	last []h1.Field
	s    *Server
}

// source is where the body is to be read.
func (c *call) source() source {
	if c.held != nil {
		return c.held
	}
	return c.down
}

// hold reads the body of the request, with up to memory octets in memory. If it returns
// false the request has been answered.
func (c *call) hold(memory int64) bool {
	if !c.request.HasBody() || c.held != nil {
		return true
	}
	if _, whole := c.take(); whole {
		return true
	}
	if c.request.Length > heldMost || c.server.held.Load()+max(c.request.Length, 0) > heldMost {
		return true
	}
	if c.down.invite() != nil {
		c.exchange.err, c.exchange.writer.status = errClientGone, clientGone
		return false
	}
	h := &held{s: c.server}
	err := h.fill(c, max(memory, heldInMemory))
	if err == nil && h.more == nil && h.file == nil && len(h.last) == 0 { // as if it had come with the head
		c.small, c.whole = h.mem, true
		c.server.held.Add(-h.size)
		c.measure(h.size)
		return true
	}
	c.held = h
	if err != nil {
		c.refuseBody(err)
		return false
	}
	if h.more == nil && len(h.last) == 0 {
		c.measure(h.size)
	}
	return true
}

// measure makes the body one whose length is known.
func (c *call) measure(n int64) {
	c.request.Chunked, c.request.Length = false, n
}

// fill reads from the client to the end, or for as long as there is room.
func (h *held) fill(c *call, memory int64) error {
	// Not one that is lent: what has come behind the body stays in it until it is read. Who is
	// slow has no large one.
	scratch := make([]byte, 4<<10)
	limit := c.exchange.rule.MaxBody
	if n := c.request.Length; n > 0 && n <= memory {
		h.mem = make([]byte, 0, n)
	}
	for {
		part, err := c.down.part(scratch)
		switch {
		case err == io.EOF:
			h.last = c.down.trailer()
			return nil
		case err != nil:
			return err
		case limit > 0 && h.size+int64(len(part)) > limit:
			return &http.MaxBytesError{Limit: limit}
		}
		if h.keep(part, memory) {
			if h.file != nil && len(scratch) < h1.Large {
				scratch = make([]byte, h1.Large)
			}
			continue
		}
		h.more = &putBack{downstream: c.down, body: bytes.Clone(part)}
		return nil
	}
}

// keep puts a part where there is room; false if there is none.
func (h *held) keep(part []byte, memory int64) bool {
	n := int64(len(part))
	if h.s.held.Add(n) > heldMost {
		h.s.held.Add(-n)
		return false
	}
	if h.file == nil && h.size+n <= memory {
		h.mem = append(h.mem, part...)
		h.size += n
		return true
	}
	if h.file == nil {
		f, err := nameless()
		if err != nil {
			h.s.noFile(err)
			h.s.held.Add(-n)
			return false
		}
		h.file = f
	}
	if _, err := h.file.WriteAt(part, h.size-int64(len(h.mem))); err != nil {
		h.s.noFile(err)
		h.s.held.Add(-n)
		return false
	}
	h.size += n
	return true
}

// nameless makes a file that goes with the process, whatever happens.
func nameless() (*os.File, error) {
	f, err := os.CreateTemp("", "fairway-body-")
	if err == nil {
		_ = os.Remove(f.Name())
	}
	return f, err
}

// noFile tells once that there is no room for long bodies.
func (s *Server) noFile(err error) {
	s.fileless.Do(func() {
		s.opts.Log.Warn("no file for the body of a request: long ones are passed on as they come", "err", err, "hint", "the gateway needs room in "+os.TempDir())
	})
}

func (h *held) part(scratch []byte) ([]byte, error) {
	switch in := int64(len(h.mem)); {
	case h.off < in:
		part := h.mem[h.off:min(in, h.off+h1.Large)]
		h.off += int64(len(part))
		return part, nil
	case h.off < h.size:
		n, err := h.file.ReadAt(scratch[:min(int64(len(scratch)), h.size-h.off)], h.off-in)
		h.off += int64(n)
		if n > 0 {
			return scratch[:n], nil
		}
		return nil, fmt.Errorf("read the body of the request again: %w", err)
	case h.more != nil:
		return h.more.part(scratch)
	}
	return nil, io.EOF
}

func (h *held) exhausted() bool {
	return h.off == h.size && (h.more == nil || h.more.exhausted())
}

func (h *held) trailer() []h1.Field {
	if h.more != nil {
		return h.more.trailer()
	}
	return h.last
}

func (h *held) interrupt() {
	if h.more != nil {
		h.more.interrupt()
	}
}

func (h *held) resume() {
	if h.more != nil {
		h.more.resume()
	}
}

func (h *held) close() {
	h.s.held.Add(-h.size)
	if h.file != nil {
		_ = h.file.Close()
	}
	h.mem, h.file, h.size = nil, nil, 0
}

// letGo gives back what is held of the body.
func (c *call) letGo() {
	if c.held != nil {
		c.held.close()
		c.held = nil
	}
}

// rewind makes the body ready to be sent once more.
func (c *call) rewind() {
	if c.held == nil {
		return
	}
	c.dropPump()
	c.held.off = 0
}

// refuseBody answers a request whose body cannot be read.
func (c *call) refuseBody(err error) {
	x := &c.exchange
	x.err = err
	tooLarge, malformed := (*http.MaxBytesError)(nil), (*h1.Error)(nil)
	switch {
	case errors.As(err, &tooLarge):
		x.tooLarge()
	case errors.As(err, &malformed):
		x.fail(malformed.Status, "the body of the request is malformed: "+malformed.Text)
	case errors.Is(err, errSlowBody):
		x.fail(http.StatusRequestTimeout, err.Error())
	default:
		x.writer.status = clientGone
	}
}
