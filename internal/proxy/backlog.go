package proxy

import (
	"bytes"
	"os"
	"sync"

	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// backlog is a client that takes the body of a response as fast as the endpoint gives it,
// and passes it on at its own pace, as nginx's proxy_buffering does: a slow client does not
// occupy the endpoint. What the client is behind stays in memory, then in a file; when that
// is full the endpoint waits. For longer than it needs it is not used: it costs a goroutine
// and a copy.
type backlog struct {
	downstream
	s      *Server
	limits route.Backlog
	over   chan struct{} // closed when all is with the client, or it is gone; nil: not begun

	mu      sync.Mutex
	more    *sync.Cond
	mem     []byte // comes before what is in the file
	file    *os.File
	from    int64 // of the file: where what is not passed on begins
	to      int64 // and ends
	size    int64 // of the file
	flushed bool  // a flush was asked for
	writing bool  // the client is being written to
	ended   bool
	cut     bool // the response has broken off, so that it has no end
	last    []h1.Field
	err     error // of the client
}

// usualBacklog is for an endpoint that asks for it where the rule does not.
func usualBacklog() route.Backlog { return route.Backlog{Memory: 16 << 10, File: 1 << 30} }

// buffer lets the response be taken as fast as it comes.
func (c *call) buffer(limits route.Backlog) {
	b := &backlog{downstream: c.down, s: c.server, limits: limits}
	b.more = sync.NewCond(&b.mu)
	c.down = b
}

// begin lets another goroutine write to the client; b.mu is held.
func (b *backlog) begin() {
	if b.over == nil {
		b.over = make(chan struct{})
		go b.run()
	}
	b.more.Broadcast()
}

func (b *backlog) write(part []byte, _ bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for !b.room(len(part)) && b.err == nil {
		b.more.Wait()
	}
	if b.err != nil {
		return b.err
	}
	b.keep(part)
	b.begin()
	return nil
}

// room says whether n more octets may wait: where nothing waits any number may. All files
// of the gateway together have a bound.
func (b *backlog) room(n int) bool {
	waiting := int64(len(b.mem)) + b.to - b.from
	switch {
	case waiting == 0, b.inMemory(n):
		return true
	case waiting+int64(n) > b.limits.Memory+b.limits.File:
		return false
	}
	return b.to+int64(n) <= b.size || b.s.held.Load()+int64(n) <= heldMost
}

// inMemory says that n more octets stay in memory, as nothing is in the file.
func (b *backlog) inMemory(n int) bool {
	return b.to == b.from && (int64(len(b.mem)+n) <= b.limits.Memory || len(b.mem) == 0)
}

// keep puts a part behind what waits: in memory, if there is room and nothing in the file.
func (b *backlog) keep(part []byte) {
	if b.inMemory(len(part)) {
		b.mem = append(b.mem, part...)
		return
	}
	if b.file == nil {
		f, err := nameless()
		if err != nil {
			b.s.noFile(err)
			b.limits.File = 0 // the endpoint waits instead
			b.mem = append(b.mem, part...)
			return
		}
		b.file = f
	}
	if b.from == b.to {
		b.from, b.to = 0, 0
	}
	if _, err := b.file.WriteAt(part, b.to); err != nil {
		b.s.noFile(err)
		b.limits.File = 0
		if b.from == b.to {
			b.mem = append(b.mem, part...)
		} else { // its place is behind the file
			b.err = err
		}
		return
	}
	if b.to += int64(len(part)); b.to > b.size {
		b.s.held.Add(b.to - b.size)
		b.size = b.to
	}
}

// run passes on what waits, to the end.
func (b *backlog) run() {
	defer close(b.over)
	scratch := b.s.buffers.Large()
	defer b.s.buffers.Return(scratch)
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		var err error
		part := b.next(scratch[:])
		switch {
		case len(part) > 0:
			more := len(b.mem) > 0 || b.to > b.from || b.ended
			err = b.outside(func() error { return b.downstream.write(part, more) })
		case b.ended || b.cut:
			if b.err == nil && !b.cut {
				b.err = b.outside(func() error { return b.downstream.shut(b.last) })
			}
			return
		case b.flushed:
			b.flushed = false
			err = b.outside(b.downstream.flush)
		default:
			b.more.Wait()
		}
		if err != nil {
			b.err = errClientGone
			b.more.Broadcast()
			return
		}
	}
}

// next takes the next part; its place is free.
func (b *backlog) next(scratch []byte) []byte {
	if len(b.mem) > 0 {
		n := copy(scratch, b.mem)
		b.mem = b.mem[:copy(b.mem, b.mem[n:])]
		b.more.Broadcast()
		return scratch[:n]
	}
	if b.to == b.from {
		return nil
	}
	n, err := b.file.ReadAt(scratch[:min(int64(len(scratch)), b.to-b.from)], b.from)
	if n == 0 && err != nil {
		b.err, b.cut = err, true
		return nil
	}
	b.from += int64(n)
	b.more.Broadcast()
	return scratch[:n]
}

// outside writes to the client without holding up who has more.
func (b *backlog) outside(f func() error) error {
	b.writing, b.flushed = true, false
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		b.writing = false
	}()
	return f()
}

func (b *backlog) flush() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over == nil {
		return b.downstream.flush()
	}
	b.flushed = true
	b.more.Broadcast()
	return b.err
}

func (b *backlog) gone() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err != nil || !b.writing && b.downstream.gone()
}

// shut says that nothing follows; see drain.
func (b *backlog) shut(trailer []h1.Field) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range trailer { // they are the endpoint's, which goes now
		b.last = append(b.last, h1.Field{Name: bytes.Clone(f.Name), Value: bytes.Clone(f.Value), Known: f.Known})
	}
	b.ended = true
	b.begin()
	return b.err
}

func (b *backlog) abort(why error) {
	b.mu.Lock()
	b.cut = true
	b.more.Broadcast()
	over := b.over
	b.mu.Unlock()
	if over != nil {
		<-over
	}
	b.close()
	b.downstream.abort(why)
}

func (b *backlog) close() {
	if b.file != nil {
		_ = b.file.Close()
		b.file = nil
		b.s.held.Add(-b.size)
		b.size = 0
	}
}

// drain waits until the client has all, when the endpoint is free already.
func (b *backlog) drain() error {
	<-b.over
	b.close()
	return b.err
}
