package dns

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/fairway-net/fairway/internal/dns/wire"
)

// pipelined bounds the queries of one connection that wait for upstream.
const pipelined = 64

// serveTCP accepts connections. Beyond the limit they wait in the kernel.
func (s *Server) serveTCP(l net.Listener) error {
	stats := s.stats.reader("tcp")
	for {
		s.conns <- struct{}{}
		c, err := l.Accept()
		if err != nil {
			<-s.conns
			if closed(err) {
				return nil
			}
			s.o.Log.Warn("accept failed, will retry", "err", err)
			time.Sleep(100 * time.Millisecond) // out of file descriptors: spinning would not help
			continue
		}
		s.mu.Lock()
		s.open[c] = struct{}{}
		s.mu.Unlock()
		s.wg.Go(func() {
			defer func() { <-s.conns }()
			s.serveConn(c, stats)
		})
	}
}

// stream writes whole messages to a connection from several goroutines.
type stream struct {
	mu   sync.Mutex
	conn net.Conn
	idle time.Duration
}

// send writes b after its length. A client that does not read is cut off: it
// must not hold our goroutines.
func (t *stream) send(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.conn.SetWriteDeadline(time.Now().Add(t.idle))
	size := [2]byte{byte(len(b) >> 8), byte(len(b))}
	bufs := net.Buffers{size[:], b}
	if _, err := bufs.WriteTo(t.conn); err != nil {
		t.conn.Close()
	}
}

// serveConn answers the queries of a connection as they come (RFC 7766):
// those that wait for upstream do not hold up the others.
func (s *Server) serveConn(c net.Conn, stats *counters) {
	var waiting sync.WaitGroup
	slots := make(chan struct{}, pipelined)
	defer func() {
		waiting.Wait() // the client may have closed its sending side only
		c.Close()
		s.mu.Lock()
		delete(s.open, c)
		s.mu.Unlock()
	}()
	k := &worker{s: s, stats: stats}
	t := &stream{conn: c, idle: s.o.Idle}
	in := bufio.NewReaderSize(c, 2048)
	client := netip.Addr{}
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		client = a.AddrPort().Addr().Unmap()
	}
	var pkt, out []byte
	for {
		_ = c.SetReadDeadline(time.Now().Add(s.o.Idle))
		var err error
		if pkt, err = readMessage(in, pkt); err != nil {
			if err == errOversized {
				k.oversized()
			}
			return
		}
		came := s.now()
		what, b := k.answer(pkt, out, wire.MaxTCP, client, came)
		switch what {
		case drop:
			return
		case wait:
			slots <- struct{}{}
			waiting.Add(1)
			b = k.resume(pkt, wire.MaxTCP, func(b []byte) { t.send(b); <-slots; waiting.Done() })
			if b != nil {
				<-slots
				waiting.Done()
			}
		default:
			out = b[:0]
		}
		if b != nil {
			t.send(b)
			stats.duration.observe(s.now()-came, 1)
		}
	}
}

var errOversized = errors.New("longer than any query")

// readMessage reads one message into buf. A query longer than maxQuery is no
// query that anybody means.
func readMessage(r io.Reader, buf []byte) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return buf, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n > maxQuery {
		return buf, errOversized
	}
	if cap(buf) < n {
		buf = make([]byte, maxQuery)
	}
	buf = buf[:n]
	_, err := io.ReadFull(r, buf)
	return buf, err
}
