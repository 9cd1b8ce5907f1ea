package h1

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairway-net/fairway/internal/proxy/sock"
)

// Conn is a connection with a buffer for what was read, and one for what is to be
// written. Neither exists while a connection rests.
type Conn struct {
	net.Conn
	tcp *net.TCPConn // below Conn; the same, unless it is TLS

	in   []byte // in[r:w] was read and not taken yet
	r, w int
	box  *box // where in and Out come from, if they did not grow
	Out  []byte

	begun           time.Time
	readBy, writeBy time.Duration // since begun: the deadlines that are set; 0: none
}

const small = 4 << 10

// box is what a connection borrows while it works.
type box struct {
	in  [small]byte
	out [small / 2]byte
}

// Buffers lends the memory of connections.
type Buffers struct{ small, large sync.Pool }

// Large is the size of the buffers that bodies are moved with.
const Large = 32 << 10

// Large lends a buffer for a body.
func (p *Buffers) Large() *[Large]byte {
	if b, ok := p.large.Get().(*[Large]byte); ok {
		return b
	}
	return new([Large]byte)
}

// Return takes it back.
func (p *Buffers) Return(b *[Large]byte) { p.large.Put(b) }

// NewConn returns a Conn over c, which is TCP, or TLS over TCP.
func NewConn(c net.Conn) *Conn {
	conn := &Conn{Conn: c, begun: time.Now()}
	if over, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = over.NetConn()
	}
	conn.tcp, _ = sock.Bare(c).(*net.TCPConn)
	return conn
}

// Plain returns the TCP connection if there is nothing above it, else nil.
func (c *Conn) Plain() *net.TCPConn {
	tcp, _ := sock.Bare(c.Conn).(*net.TCPConn)
	return tcp
}

// Wake gives the Conn its buffers.
func (c *Conn) Wake(p *Buffers) {
	if c.box == nil {
		if b, ok := p.small.Get().(*box); ok {
			c.box = b
		} else {
			c.box = new(box)
		}
		c.in, c.Out = c.box.in[:], c.box.out[:0]
	}
}

// Rest gives the buffers back. Nothing may be buffered.
func (c *Conn) Rest(p *Buffers) {
	if c.box != nil {
		p.small.Put(c.box)
	}
	c.box, c.in, c.Out, c.r, c.w = nil, nil, nil, 0, 0
}

// Buffered is what was read and not taken yet.
func (c *Conn) Buffered() []byte { return c.in[c.r:c.w] }

// Take takes the first n octets of it; they stay where they are until Compact.
func (c *Conn) Take(n int) { c.r += n }

// Compact makes room. What points into the buffer is not valid any more.
func (c *Conn) Compact() {
	if c.r == c.w {
		c.r, c.w = 0, 0
		if c.box != nil && len(c.in) > small {
			c.in = c.box.in[:] // one long head is no reason to keep much
		}
		return
	}
	if c.r > 0 {
		c.w = copy(c.in, c.in[c.r:c.w])
		c.r = 0
	}
}

// Replace makes rest what is buffered.
func (c *Conn) Replace(rest []byte) {
	if len(rest) > len(c.in) {
		c.in = make([]byte, len(rest))
	}
	c.r, c.w = 0, copy(c.in, rest)
}

// ErrFull says that the buffer would grow beyond its bound.
var ErrFull = errors.New("head too large")

// Fill reads once, behind what is buffered, and waits between d and 2d. Only a
// Conn that nothing points into may be filled.
func (c *Conn) Fill(d time.Duration, most int) error {
	if err := c.makeRoom(most); err != nil {
		return err
	}
	n, err := c.ReadWithin(c.in[c.w:], d)
	c.w += n
	if n > 0 {
		return nil
	}
	return err
}

func (c *Conn) makeRoom(most int) error {
	if c.w < len(c.in) {
		return nil
	}
	c.Compact()
	if c.w < len(c.in) {
		return nil
	}
	if len(c.in) >= most {
		return ErrFull
	}
	grown := make([]byte, min(2*len(c.in), most))
	copy(grown, c.in[:c.w])
	c.in = grown
	return nil
}

// Ask is Flush and then, if that was all and nothing is buffered, Fill without an error,
// for a peer that does not send before it is asked. Waiting may end early.
func (c *Conn) Ask(write, read time.Duration) error {
	s, ok := c.Conn.(*sock.Conn)
	if !ok || c.w > 0 || len(c.Out) > 64<<10 {
		return c.Flush(write)
	}
	if err := c.allowRead(read); err != nil {
		return err
	}
	sent, n, err := s.Ask(c.Out, c.in)
	c.w = n
	if err != nil {
		c.readBy = 0
	}
	if sent < len(c.Out) && err != nil && !IsTimeout(err) {
		return err
	}
	c.Out = append(c.Out[:0], c.Out[sent:]...)
	return c.Flush(write)
}

// ReadWithin reads, and gives up after d at the earliest and after 2d at the
// latest: a deadline that needs no change for a while costs nothing.
func (c *Conn) ReadWithin(b []byte, d time.Duration) (int, error) {
	if err := c.allowRead(d); err != nil {
		return 0, err
	}
	n, err := c.Read(b)
	switch {
	case n == 0 && err == nil:
		err = io.ErrNoProgress
	case err != nil:
		c.readBy = 0 // somebody else may have moved the deadline, to wake us
	}
	return n, err
}

func (c *Conn) allowRead(d time.Duration) error {
	now := time.Since(c.begun) // half of what time.Now costs
	if left := c.readBy - now; left >= d && left <= 2*d {
		return nil
	}
	c.readBy = now + 2*d
	return c.SetReadDeadline(c.begun.Add(c.readBy))
}

// TryRead reads what is there; sock.ErrAgain says that nothing is, or that the connection
// cannot say.
func (c *Conn) TryRead(b []byte) (int, error) {
	if s, ok := c.Conn.(*sock.Conn); ok {
		return s.TryRead(b)
	}
	return 0, sock.ErrAgain
}

// TryWrite writes what is taken without waiting; sock.ErrAgain says that this was not all.
func (c *Conn) TryWrite(b []byte) (int, error) {
	if s, ok := c.Conn.(*sock.Conn); ok {
		return s.TryWrite(b)
	}
	return 0, sock.ErrAgain
}

// Await waits, without a buffer, up to d for something to read, and buffers it.
func (c *Conn) Await(p *Buffers, d time.Duration) error {
	c.Rest(p)
	c.readBy = 0
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	var one [1]byte
	n, err := c.Read(one[:])
	if n == 0 {
		return err
	}
	c.Wake(p)
	c.Replace(one[:])
	return nil
}

// Rouse lets a read that waits, in another goroutine, time out at once.
func (c *Conn) Rouse() { _ = c.SetReadDeadline(time.Unix(1, 0)) }

// WriteWithin writes all of b, and gives up as ReadWithin does if nothing of it,
// or of the part that is left, is taken.
func (c *Conn) WriteWithin(b []byte, d time.Duration) error {
	for len(b) > 0 {
		part := b
		if len(part) > 64<<10 {
			part = part[:64<<10] // so that slow progress is progress
		}
		now := time.Since(c.begun)
		if left := c.writeBy - now; left < d || left > 2*d {
			c.writeBy = now + 2*d
			if err := c.SetWriteDeadline(c.begun.Add(c.writeBy)); err != nil {
				return err
			}
		}
		n, err := c.Write(part)
		if b = b[n:]; err != nil && !(n > 0 && IsTimeout(err) && c.Plain() != nil) {
			return err
		}
	}
	return nil
}

// Flush writes Out.
func (c *Conn) Flush(d time.Duration) error {
	err := c.WriteWithin(c.Out, d)
	if c.Out = c.Out[:0]; cap(c.Out) > Large && c.box != nil {
		c.Out = c.box.out[:0]
	}
	return err
}

// Unhurried takes the deadlines away.
func (c *Conn) Unhurried() {
	c.readBy, c.writeBy = 0, 0
	_ = c.SetDeadline(time.Time{})
}

// UnhurriedRead takes the deadline of reads away, and UnhurriedWrite that of writes, for
// somebody who is beside another goroutine that does the other.
func (c *Conn) UnhurriedRead() {
	c.readBy = 0
	_ = c.SetReadDeadline(time.Time{})
}

// UnhurriedWrite: see UnhurriedRead.
func (c *Conn) UnhurriedWrite() {
	c.writeBy = 0
	_ = c.SetWriteDeadline(time.Time{})
}

// IsTimeout reports whether a read or write gave up waiting.
func IsTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// Gone reports whether the peer has closed, at least its sending side, or the
// connection is broken. It does not wait.
func (c *Conn) Gone() bool { return c.poll(unix.POLLRDHUP) }

// Stale reports whether a connection without an exchange can begin none: what
// the peer sends now is no answer.
func (c *Conn) Stale() bool { return c.poll(unix.POLLRDHUP | unix.POLLIN) }

func (c *Conn) poll(events int16) (ready bool) {
	raw, err := c.tcp.SyscallConn()
	if err != nil {
		return true
	}
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
		n, err := unix.Poll(fds, 0)
		ready = err == nil && n > 0
	})
	return ready || err != nil
}

// Linger lets the peer read what was written before the connection is closed:
// what it still sends would else make the kernel throw that away (RFC 9112, section 9.6).
func (c *Conn) Linger(d time.Duration, most int64) {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(d))
	_, _ = io.Copy(io.Discard, io.LimitReader(c.Conn, most))
}
