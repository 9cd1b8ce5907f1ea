package forward

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/fairway-net/fairway/internal/dns/wire"
)

// Connections to a server over TLS are kept for the next question, as RFC 7858,
// section 3.4, wants it.
const (
	idleTime  = 10 * time.Second
	idleConns = 8
)

// secure holds the connections of one server over TLS. Each carries one
// question at a time.
type secure struct {
	config *tls.Config

	mu   sync.Mutex
	idle []kept // the one used last is at the end
}

type kept struct {
	conn  net.Conn
	close *time.Timer
}

func newSecure(name string, roots *x509.CertPool) *secure {
	return &secure{config: &tls.Config{
		ServerName: name, RootCAs: roots, MinVersion: tls.VersionTLS12, NextProtos: []string{"dot"},
		ClientSessionCache: tls.NewLRUClientSessionCache(idleConns),
	}}
}

// askTLS asks u over a kept connection or a new one. A server may close an idle
// connection at any time: a kept one that fails says nothing about the server.
func (u *upstream) askTLS(ctx context.Context, q question) (wire.Message, error) {
	for {
		conn := u.secure.take()
		reused := conn != nil
		if !reused {
			var err error
			d := tls.Dialer{Config: u.secure.config}
			if conn, err = d.DialContext(ctx, "tcp", u.Addr.String()); err != nil {
				return wire.Message{}, err
			}
		}
		deadline, _ := ctx.Deadline()
		err := conn.SetDeadline(deadline)
		var m wire.Message
		if err == nil {
			m, err = askTCP(conn, q, uint16(rand.Uint32()), true)
		}
		if err == nil {
			u.secure.keep(conn)
			return m, nil
		}
		conn.Close()
		if !reused || ctx.Err() != nil || isTimeout(err) {
			return m, err
		}
	}
}

// take returns an idle connection, or nil.
func (s *secure) take() net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.idle) > 0 {
		last := s.idle[len(s.idle)-1]
		s.idle = s.idle[:len(s.idle)-1]
		if last.close.Stop() {
			return last.conn
		}
	}
	return nil
}

func (s *secure) keep(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.idle) == idleConns {
		conn.Close()
		return
	}
	s.idle = append(s.idle, kept{conn, time.AfterFunc(idleTime, func() { conn.Close() })})
}
