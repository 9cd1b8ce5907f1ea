package proxy

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/fairway-net/fairway/internal/plan/route"
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
		s.arriving.Add(1)
		go func() {
			f := s.welcome(name, c, config)
			s.arriving.Add(-1)
			if f != nil {
				f.serve()
			}
		}()
	}
}

// welcome finds out who a connection is from, and whether it is for us. If it is not,
// it has been served when welcome returns nil.
func (s *Server) welcome(name string, c net.Conn, config *tls.Config) *front {
	from := peerOf(c.RemoteAddr())
	bare, _ := c.(*net.TCPConn)
	plan := s.live.Load().plan
	if (s.opts.ProxyProtocol || plan != nil && plan.Options != nil && plan.Options.UseProxyProtocol) && bare != nil {
		said, err := readPreamble(bare, handshakeTime)
		if err != nil {
			_ = c.Close()
			return nil
		}
		if !said.local {
			from.remote = said.from.Addr().Unmap()
			from.client = from.remote.String()
		}
	}
	if config != nil && bare != nil && plan != nil && plan.Passthrough.Len() > 0 {
		name, err := peekName(bare, handshakeTime)
		if to, ok := plan.Passthrough.Lookup(route.CanonicalHost(name)); ok && err == nil {
			s.splice(bare, to, 0, netip.AddrPort{}, netip.AddrPort{})
			return nil
		}
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
