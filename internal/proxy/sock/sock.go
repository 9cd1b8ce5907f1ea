// Package sock is TCP as a proxy needs it: connections whose reads and writes cost the
// least that the kernel and Go's runtime allow.
//
// A system call of package syscall tells the scheduler first that the thread may be
// gone for long. On a server that sleeps often that wakes a thread of the runtime which
// watches for it (sysmon): at half load nearly one futex call and one more context switch
// per request, on the one processor that there may be. Sockets never block, so that
// nothing has to be told. Waiting is the runtime's as ever (its poller, and deadlines).
package sock

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// Conn is a TCP connection. Only one goroutine may read at a time, and only one write.
type Conn struct {
	*net.TCPConn
	raw     syscall.RawConn
	in, out transfer
}

// transfer is what a read or write that is under way has, and did.
type transfer struct {
	buf []byte
	n   int
	err error
	now bool                  // do not wait
	ask bool                  // a read: what is in the other transfer is to be written before
	try func(fd uintptr) bool // one attempt; false: wait until it may do better
}

// New returns a Conn over c. If that is not possible, because c is closed, it says so
// when it is used.
func New(c *net.TCPConn) *Conn {
	s := &Conn{TCPConn: c}
	s.raw, _ = c.SyscallConn() // never fails
	s.in.try, s.out.try = s.tryRead, s.tryWrite
	return s
}

// Bare returns what c is a Conn over, else c: the package net, and thereby splice(2),
// knows only its own types.
func Bare[T any](c T) T {
	if s, ok := any(c).(*Conn); ok {
		if tcp, ok := any(s.TCPConn).(T); ok {
			return tcp
		}
	}
	return c
}

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	return c.read(b, false)
}

func (c *Conn) read(b []byte, ask bool) (int, error) {
	t := &c.in
	t.buf, t.n, t.err, t.ask = b, 0, nil, ask
	err := c.raw.Read(t.try)
	t.buf = nil
	if err == nil {
		err = t.err
	}
	return t.n, err
}

// ErrAgain says that something cannot be done without waiting.
var ErrAgain = errors.New("would have to wait")

// TryRead is Read, but for waiting.
func (c *Conn) TryRead(b []byte) (int, error) {
	c.in.now = true
	n, err := c.Read(b)
	c.in.now = false
	return n, again(err)
}

// TryWrite is Write, but for waiting: it writes what is taken at once.
func (c *Conn) TryWrite(b []byte) (int, error) {
	c.out.now = true
	n, err := c.Write(b)
	c.out.now = false
	return n, again(err)
}

// again: a deadline that is over bounds a wait, and there was none.
func again(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ErrAgain
	}
	return err
}

func (c *Conn) tryRead(fd uintptr) bool {
	t := &c.in
	if t.ask {
		t.ask = false
		if c.tryWrite(fd); c.out.err != nil || c.out.n < len(c.out.buf) {
			return true
		}
		return false // there is no answer yet
	}
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&t.buf[0])), uintptr(len(t.buf)), 0, 0, 0)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == syscall.EAGAIN && t.now:
			t.err = ErrAgain
		case errno == syscall.EAGAIN:
			return false
		case errno != 0:
			t.err = os.NewSyscallError("recvfrom", errno)
		case n == 0:
			t.err = io.EOF
		default:
			t.n = int(n)
		}
		return true
	}
}

// Write implements net.Conn.
func (c *Conn) Write(b []byte) (int, error) {
	t := &c.out
	t.buf, t.n, t.err = b, 0, nil
	err := c.raw.Write(t.try)
	t.buf = nil
	if err == nil {
		err = t.err
	}
	return t.n, err
}

func (c *Conn) tryWrite(fd uintptr) bool {
	t := &c.out
	for t.n < len(t.buf) {
		left := t.buf[t.n:]
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&left[0])), uintptr(len(left)), syscall.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			t.n += int(n)
		case syscall.EINTR:
		case syscall.EAGAIN:
			if t.now {
				t.err = ErrAgain
			}
			return t.now
		default:
			t.err = os.NewSyscallError("sendto", errno)
			return true
		}
	}
	return true
}

// Ask writes a question, and waits for what comes back before it reads, so that there
// is no look for an answer that cannot be there. Whatever the peer may have sent before
// is found when more comes, or by the Read after a deadline. If not all of the question
// could be written, written says how much was, and there was no read.
func (c *Conn) Ask(question, b []byte) (written, n int, err error) {
	t := &c.out
	t.buf, t.n, t.err = question, 0, nil
	n, err = c.read(b, true)
	written = t.n
	if t.buf = nil; t.err != nil {
		err = t.err
	}
	return written, n, err
}
