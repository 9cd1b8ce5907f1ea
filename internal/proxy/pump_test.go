package proxy

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// TestBodyAtHand: bodies that come at once and in pieces, to endpoints that take them at
// once and late, arrive as they were sent, and so does what follows them.
func TestBodyAtHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.backendFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/late" {
			time.Sleep(300 * time.Millisecond) // until the buffers in between are full
		}
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		fmt.Fprintf(rw, "%d %x %v %s", n, sum.Sum(nil), err, r.Trailer.Get("X-Sum"))
	})
	w.set(service("a"), slice("a", s), ingress("i", "", "/ a"))
	for _, path := range []string{"/", "/late"} {
		for _, size := range []int{5 << 10, 33 << 10, 200 << 10, 300 << 10, 1 << 20} {
			for _, pause := range []time.Duration{0, 20 * time.Millisecond} {
				for _, chunked := range []bool{false, true} {
					body := make([]byte, size)
					for i := range body {
						body[i] = byte(i * 7 >> 3)
					}
					want := fmt.Sprintf("%d %x <nil> ", size, sha256.Sum256(body))
					text := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", path, size, body)
					if chunked {
						want += "7"
						text = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n", path)
						for part := range slices.Chunk(body, 7001) {
							text = fmt.Appendf(text, "%x\r\n%s\r\n", len(part), part)
						}
						text = append(text, "0\r\nX-Sum: 7\r\n\r\n"...)
					}
					text = append(text, "GET /next HTTP/1.1\r\nHost: h\r\n\r\n"...)
					c := w.raw("http")
					go func() {
						for part := range slices.Chunk(text, len(text)/3+1) {
							c.Write(part)
							time.Sleep(pause)
						}
					}()
					for _, want := range []string{want, fmt.Sprintf("0 %x <nil> ", sha256.Sum256(nil))} {
						resp, err := http.ReadResponse(c.Reader, nil)
						if err != nil {
							t.Fatalf("%s %d octets, pauses of %v, chunked %v: %v", path, size, pause, chunked, err)
						}
						if got, err := io.ReadAll(resp.Body); err != nil || string(got) != want {
							t.Errorf("%s %d octets, pauses of %v, chunked %v: %q %v, want %q", path, size, pause, chunked, got, err, want)
						}
					}
					c.Close()
				}
			}
		}
	}
}

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
