package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairway-net/fairway/internal/dns/index"
	"github.com/fairway-net/fairway/internal/dns/wire"
)

// Upstream answers names that are not ours.
type Upstream interface {
	// Cached completes the reply if that needs no waiting.
	Cached(*wire.Writer) bool
	// Reply completes the reply, waiting if need be.
	Reply(context.Context, *wire.Writer) error
	// Follow completes a reply whose last CNAME points at target; owner is
	// where target stands in the reply.
	Follow(ctx context.Context, w *wire.Writer, target []byte, owner int) error
	// Search completes the reply to a question that began a walk through a
	// search path for the name meant; ttl is that of the CNAME to what it finds.
	// Without a ctx it does not wait, and false says that it would have to.
	Search(ctx context.Context, w *wire.Writer, meant []byte, ttl uint32) (bool, error)
}

// Options of a Server. Zero values mean the defaults given.
type Options struct {
	Zone     *index.Index
	Upstream Upstream
	Listen   []netip.AddrPort // UDP and TCP; port 0: any, the same for both
	Sockets  int              // UDP sockets per address; GOMAXPROCS
	Waiting  int              // clients that wait for upstream at once; 4096
	Conns    int              // TCP connections at once; 1024
	Idle     time.Duration    // of a TCP connection; 10 s
	Keeper   string           // socket of the Keeper that holds this server's sockets too; "": none
	Name     string           // what the Keeper knows this server by, and the next one in its place
	Log      *slog.Logger
}

// Server listens from New until Serve returns, or Close.
type Server struct {
	o       Options
	stats   Stats
	log     *queryLog
	start   time.Time
	waiting chan struct{} // a token per client that waits for upstream
	conns   chan struct{} // a token per TCP connection
	udp     []*socket
	tcp     []net.Listener
	wg      sync.WaitGroup // accepters and connections
	readers sync.WaitGroup // of UDP
	jobs    sync.WaitGroup // clients that wait
	ending  atomic.Bool

	kept     *kept // nil: by nobody
	inherits bool  // the sockets of a predecessor

	mu   sync.Mutex
	open map[net.Conn]struct{}
}

// New opens the sockets.
func New(o Options) (*Server, error) {
	if o.Sockets == 0 {
		o.Sockets = runtime.GOMAXPROCS(0)
	}
	if o.Waiting == 0 {
		o.Waiting = 4096
	}
	if o.Conns == 0 {
		o.Conns = 1024
	}
	if o.Idle == 0 {
		o.Idle = 10 * time.Second
	}
	s := &Server{o: o, log: newQueryLog(), start: time.Now(), waiting: make(chan struct{}, o.Waiting), conns: make(chan struct{}, o.Conns), open: map[net.Conn]struct{}{}}
	if err := s.openOrInherit(); err != nil {
		s.closeSockets()
		return nil, err
	}
	return s, nil
}

// listen opens TCP first: with port 0 it chooses the port for both.
func (s *Server) listen(addr netip.AddrPort) error {
	lc := net.ListenConfig{Control: reusePort}
	l, err := lc.Listen(context.Background(), "tcp", spell(addr))
	if err != nil {
		return fmt.Errorf("listen on TCP %s: %w", addr, err)
	}
	s.tcp = append(s.tcp, l)
	addr = l.Addr().(*net.TCPAddr).AddrPort()
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	for range s.o.Sockets {
		sock, err := newSocket(addr)
		if err != nil {
			return fmt.Errorf("listen on UDP %s: %w", addr, err)
		}
		s.udp = append(s.udp, sock)
	}
	return nil
}

// spell writes a wildcard address without its family: it is then any of those
// that the machine has.
func spell(addr netip.AddrPort) string {
	if addr.Addr().IsUnspecified() {
		return fmt.Sprintf(":%d", addr.Port())
	}
	return addr.String()
}

// reusePort lets several sockets share the port: the kernel spreads clients
// over them, and a new server can open it before the old one has let go.
func reusePort(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); e != nil {
		return e
	}
	return err
}

// Addrs are the addresses that the server listens on.
func (s *Server) Addrs() []netip.AddrPort {
	var out []netip.AddrPort
	for _, l := range s.tcp {
		out = append(out, l.Addr().(*net.TCPAddr).AddrPort())
	}
	return out
}

// Serve answers until ctx ends, then lets the clients that wait for upstream
// have their answers, for at most grace.
func (s *Server) Serve(ctx context.Context, grace time.Duration) error {
	if err := s.takeOver(); err != nil {
		return err
	}
	if s.kept != nil {
		end, kept := make(chan struct{}), make(chan struct{})
		go func() { s.beKept(end); close(kept) }()
		defer func() { close(end); <-kept }()
	}
	logging, endLog := context.WithCancel(context.Background())
	defer endLog()
	go s.log.write(logging, s.o.Log)
	failed := make(chan error, len(s.tcp))
	for _, sock := range s.udp {
		s.readers.Go(func() { s.serveUDP(sock) })
	}
	for _, l := range s.tcp {
		s.wg.Go(func() { failed <- s.serveTCP(l) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	// Stop reading first; replies still go out through the open sockets.
	s.ending.Store(true)
	for _, l := range s.tcp {
		l.Close()
	}
	s.readers.Wait()
	done := make(chan struct{})
	go func() { s.jobs.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(grace):
	}
	s.closeSockets()
	s.wg.Wait()
	return err
}

// now is a clock that costs little and goes only forwards.
func (s *Server) now() time.Duration { return time.Since(s.start) }

// Close ends a Server that does not serve.
func (s *Server) Close() {
	s.closeSockets()
	if s.kept != nil {
		s.kept.close()
	}
}

func (s *Server) closeSockets() {
	for _, sock := range s.udp {
		sock.close()
	}
	for _, l := range s.tcp {
		l.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		c.Close()
	}
}

// closed tells the end of a socket's life from a failure.
func closed(err error) bool {
	return errors.Is(err, net.ErrClosed)
}
