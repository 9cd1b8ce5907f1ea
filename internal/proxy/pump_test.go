package proxy

import (
	"io"
	"net"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// fourParts is a client that has sent all of its body, and an endpoint that takes it.
type fourParts struct {
	downstream
	n int
}

func (p *fourParts) part(scratch []byte) ([]byte, error) {
	if p.n++; p.n > 4 {
		return nil, io.EOF
	}
	return scratch[:4<<10], nil
}
func (p *fourParts) exhausted() bool                        { return p.n == 4 }
func (p *fourParts) trailer() []h1.Field                    { return nil }
func (p *fourParts) send([]byte, time.Duration) error       { return nil }
func (p *fourParts) finish([]h1.Field, time.Duration) error { return nil }
func (p *fourParts) spoil()                                 {}

// BenchmarkPump is what another goroutine for a body costs, and what it would cost to wait
// for client and endpoint in one: an epoll of the request's own. Neither has any system call
// that moves octets.
func BenchmarkPump(b *testing.B) {
	c := &call{server: &Server{}}
	c.exchange.rule = &route.Rule{Forward: &route.Forward{}}
	parts := &fourParts{}
	c.down = parts
	b.Run("same goroutine", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			parts.n = 0
			p := &pump{call: c, up: parts, buf: c.server.buffers.Large()}
			p.ends(p.move())
			p.free()
		}
	})
	b.Run("another goroutine", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			parts.n = 0
			c.startPump(parts)
			<-c.pump.finished
			c.pump.free()
		}
	})
	b.Run("epoll", func(b *testing.B) {
		b.ReportAllocs()
		one, other := httptest.NewServer(nil), httptest.NewServer(nil)
		defer one.Close()
		defer other.Close()
		client, endpoint := fdOf(b, one), fdOf(b, other)
		for b.Loop() {
			poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
			if err != nil {
				b.Fatal(err)
			}
			for _, fd := range []int{client, endpoint} {
				if err := unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
					b.Fatal(err)
				}
			}
			f := newPolled(poll) // as the runtime waits for it
			f.Close()
		}
	})
}

// fdOf is the descriptor of a connection to s.
func fdOf(b *testing.B, s *httptest.Server) (fd int) {
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	if err := control(c.(*net.TCPConn), func(n int) error { fd = n; return nil }); err != nil {
		b.Fatal(err)
	}
	return fd
}

func newPolled(poll int) *os.File {
	_ = unix.SetNonblock(poll, true)
	return os.NewFile(uintptr(poll), "epoll")
}
