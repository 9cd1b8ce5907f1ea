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
	"github.com/fairway-net/fairway/internal/proxy/h1"
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
// one, else that whose request, handshake or preamble has been incomplete for longest.
func (s *Server) evict() bool {
	s.frontsMu.Lock()
	defer s.frontsMu.Unlock()
	before := time.Now().Add(-slowFor).UnixNano()
	f, since := s.spare(before)
	if f == nil && s.third != nil && s.third.evict() {
		return true
	}
	if c := s.undecided(min(since, before)); c != nil {
		_ = c.SetReadDeadline(time.Unix(1, 0))
		delete(s.arrivals, c)
		return true
	}
	if f == nil || !f.evicted.CompareAndSwap(false, true) {
		return false
	}
	if f.mux.Load() == nil { // else it has been told
		f.conn.Rouse()
	}
	return true
}

// mostLooks is how many connections evict looks at.
const mostLooks = 64

// spare is a connection that may go, and since when it has been slow, if it has not been
// idle. Under frontsMu.
func (s *Server) spare(least int64) (slowest *front, since int64) {
	seen := 0
	for f := range s.fronts {
		mux := f.mux.Load()
		switch slow := f.reading.Load(); {
		case f.evicted.Load():
		case mux != nil:
			if mux.Retire(slowFor) {
				return f, 0
			}
		case f.idle.Load():
			return f, 0
		case slow != 0 && slow < least:
			slowest, least = f, slow
		}
		if seen++; seen == mostLooks {
			break
		}
	}
	return slowest, least
}

// undecided is a connection of which we do not know since before whether it is for us.
// Under frontsMu.
func (s *Server) undecided(before int64) (slowest *net.TCPConn) {
	seen := 0
	for c, since := range s.arrivals {
		if since < before {
			slowest, before = c, since
		}
		if seen++; seen == mostLooks {
			break
		}
	}
	return slowest
}

// decide lets look find out what a connection is, and whether it is there so long.
func (s *Server) decide(c *net.TCPConn, look func() error) error {
	s.frontsMu.Lock()
	s.arrivals[c] = time.Now().UnixNano()
	s.frontsMu.Unlock()
	defer func() {
		s.frontsMu.Lock()
		delete(s.arrivals, c)
		s.frontsMu.Unlock()
	}()
	return look()
}

// welcome finds out who a connection is from, and whether it is for us. If it is not,
// it has been served when welcome returns nil.
func (s *Server) welcome(name string, c net.Conn, config *tls.Config) *front {
	from := peerOf(c.RemoteAddr(), c.LocalAddr())
	bare, _ := c.(*net.TCPConn)
	plan := s.live.Load().plan
	if s.wantsPreamble() && bare != nil {
		var said proxied
		err := s.decide(bare, func() (err error) {
			said, err = readPreamble(bare, s.live.Load().clients.Preamble)
			return err
		})
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
		var name string
		err := s.decide(bare, func() (err error) {
			name, err = peekName(bare, handshakeTime)
			return err
		})
		if h1.IsTimeout(err) {
			_ = c.Close()
			return nil
		}
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
