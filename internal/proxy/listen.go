package proxy

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/sock"
)

// accept takes connections until the listener is closed.
func (s *Server) accept(name string, l net.Listener, config *tls.Config) error {
	for pause := time.Duration(0); ; {
		c, err := l.Accept()
		if err != nil {
			if s.ended.Load() || errors.Is(err, net.ErrClosed) {
				return nil
			}
			// Too many open files, or a client that was gone before we looked: neither
			// is a reason to leave the others without service.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.opts.Log.Warn("accept connection", "listener", name, "err", err, "pause", pause)
			time.Sleep(pause)
			continue
		}
		pause = 0
		if !s.room() {
			_ = c.Close()
			continue
		}
		s.arriving.Add(1)
		go func() {
			f := s.welcome(name, c, config)
			s.arriving.Add(-1)
			if f == nil {
				s.conns.Add(-1)
				return
			}
			f.serve()
		}()
	}
}

// allowedConns is half of what the limit of open files leaves.
func allowedConns() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 1<<30 {
		return 1 << 29
	}
	const ours = 256 // listeners, logs, the watch
	return max(64, (int(limit.Cur)-ours)/2)
}

// room counts one more connection. If there are too many, one has to go: one that waits
// for its next request, as in nginx, or one whose request has not come whole for a while,
// so that slow clients keep nobody out. If none is found, there is no room.
func (s *Server) room() bool {
	if s.conns.Add(1) <= int64(s.opts.MaxConns) || s.evict() {
		return true
	}
	s.conns.Add(-1)
	s.metrics.refused.Add(1)
	return false
}

// slowFor is how long the head of a request may take if there is no room: as long as
// one round trip that is lost, or around the world.
const slowFor = 300 * time.Millisecond

// evict closes a connection that nobody needs, if a look at a few finds one: an idle
// one, else that whose request has been incomplete for longest.
func (s *Server) evict() bool {
	s.frontsMu.Lock()
	defer s.frontsMu.Unlock()
	seen, least := 0, time.Now().Add(-slowFor).UnixNano()
	var slowest *front
	for f := range s.fronts {
		if f.mux.Load() == nil && !f.evicted.Load() {
			if f.idle.Load() {
				slowest = f
				break
			}
			if since := f.reading.Load(); since != 0 && since < least {
				slowest, least = f, since
			}
		}
		if seen++; seen == 64 {
			break
		}
	}
	if slowest == nil || !slowest.evicted.CompareAndSwap(false, true) {
		return false
	}
	slowest.conn.Rouse()
	return true
}

// welcome finds out who a connection is from, and whether it is for us. If it is not,
// it has been served when welcome returns nil.
func (s *Server) welcome(name string, c net.Conn, config *tls.Config) *front {
	from := peerOf(c.RemoteAddr(), c.LocalAddr())
	bare, _ := c.(*net.TCPConn)
	plan := s.live.Load().plan
	if s.wantsPreamble() && bare != nil {
		said, err := readPreamble(bare, s.live.Load().clients.Preamble)
		if err != nil {
			_ = c.Close()
			return nil
		}
		if !said.local {
			from.meet(said.from)
			from.at, from.told = netip.AddrPortFrom(said.to.Addr().Unmap(), said.to.Port()), true
		}
	}
	if config != nil && bare != nil && plan != nil && plan.Passthrough.Len() > 0 {
		name, err := peekName(bare, handshakeTime)
		if to, ok := plan.Passthrough.Lookup(route.CanonicalHost(name)); ok && err == nil {
			s.splice(bare, &route.Stream{Backend: to}, netip.AddrPort{}, netip.AddrPort{})
			return nil
		}
	}
	if bare != nil {
		c = sock.New(bare)
	}
	if config != nil {
		c = tls.Server(c, config)
	}
	f := newFront(s, name, c, from)
	s.frontsMu.Lock()
	s.fronts[f] = struct{}{}
	s.frontsMu.Unlock()
	return f
}

// wantsPreamble says that connections begin with a header of the PROXY protocol.
func (s *Server) wantsPreamble() bool {
	plan := s.live.Load().plan
	return s.opts.ProxyProtocol || plan != nil && plan.Options != nil && plan.Options.UseProxyProtocol
}

func (s *Server) forget(f *front) {
	s.frontsMu.Lock()
	defer s.frontsMu.Unlock()
	delete(s.fronts, f)
}

// rouse lets connections that wait for a request see that there will be none. It
// returns how many connections there are.
func (s *Server) rouse() int {
	s.frontsMu.Lock()
	defer s.frontsMu.Unlock()
	for f := range s.fronts {
		if mux := f.mux.Load(); mux != nil {
			mux.Drain()
		} else if f.idle.Load() {
			f.conn.Rouse()
		}
	}
	return len(s.fronts)
}

// cut closes what has not ended by itself.
func (s *Server) cut() {
	s.frontsMu.Lock()
	defer s.frontsMu.Unlock()
	for f := range s.fronts {
		_ = f.conn.Close()
	}
}

// stamp is a Date, which is the same for a second.
type stamp struct {
	second int64
	text   string
}

// date is the value of a Date field (RFC 9110, section 5.6.7).
func (s *Server) date(now time.Time) string {
	second := now.Unix()
	if d := s.stamp.Load(); d != nil && d.second == second {
		return d.text
	}
	d := &stamp{second, now.UTC().Format(http.TimeFormat)}
	s.stamp.Store(d)
	return d.text
}
