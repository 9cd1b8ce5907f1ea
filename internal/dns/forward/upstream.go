package forward

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fairway-net/fairway/internal/dns/wire"
)

// Back-off of an upstream that does not answer.
const (
	failuresToDown = 2
	firstBackoff   = 250 * time.Millisecond
	maxBackoff     = 5 * time.Second
)

// upstream is one server with its health. A server that is down is tried again
// by one live question after each back-off.
type upstream struct {
	Server
	secure *secure // nil: over UDP and TCP

	looping atomic.Bool // it asks us; see ProbeLoops

	mu       sync.Mutex
	failures int
	backoff  time.Duration
	retryAt  time.Time
}

// available says whether to ask u now. For one that is down it is true once
// per back-off.
func (u *upstream) available(now time.Time) bool {
	if u.looping.Load() {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.failures < failuresToDown {
		return true
	}
	if now.Before(u.retryAt) {
		return false
	}
	u.retryAt = now.Add(u.backoff)
	return true
}

// up says whether u answered lately.
func (u *upstream) up() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.failures < failuresToDown
}

func (u *upstream) report(err error, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err == nil {
		u.failures, u.backoff = 0, 0
		return
	}
	u.failures++
	// A refusal by the kernel or the network is certain, a timeout is not.
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EACCES) {
		u.failures = max(u.failures, failuresToDown)
	}
	if u.failures >= failuresToDown {
		u.backoff = min(max(2*u.backoff, firstBackoff), maxBackoff)
		u.retryAt = now.Add(u.backoff)
	}
}

// question is what is asked of an upstream.
type question struct {
	name   []byte // wire form, lower case
	rrtype uint16
	do, cd bool
}

// pack appends the query with id to b. edns is off for servers that choke on it.
func (q question) pack(b []byte, id uint16, edns bool) []byte {
	flags := uint16(wire.FlagRD)
	if q.cd {
		flags |= wire.FlagCD
	}
	var extra byte
	if edns {
		extra = 1
	}
	b = binary.BigEndian.AppendUint16(b, id)
	b = binary.BigEndian.AppendUint16(b, flags)
	b = append(b, 0, 1, 0, 0, 0, 0, 0, extra)
	b = append(b, q.name...)
	b = binary.BigEndian.AppendUint16(b, q.rrtype)
	b = append(b, 0, wire.ClassIN)
	if edns {
		var do byte
		if q.do {
			do = 0x80
		}
		b = append(b, 0, 0, wire.TypeOPT, wire.MaxUDP>>8, wire.MaxUDP&0xFF, 0, 0, do, 0, 0, 0)
	}
	return b
}

// exchange asks u over TLS, or over UDP, and over TCP if the answer is truncated.
func (u *upstream) exchange(ctx context.Context, q question) (wire.Message, error) {
	if u.secure != nil {
		return u.askTLS(ctx, q)
	}
	m, err := u.ask(ctx, "udp", q, true)
	if err == nil && m.Rcode == wire.FormErr {
		// RFC 6891, section 7: a server from before EDNS.
		m, err = u.ask(ctx, "udp", q, false)
	}
	if err == nil && m.Flags&wire.FlagTC != 0 {
		return u.ask(ctx, "tcp", q, m.Rcode != wire.FormErr)
	}
	return m, err
}

// ask uses a socket of its own, and so a source port that nobody can guess.
func (u *upstream) ask(ctx context.Context, network string, q question, edns bool) (wire.Message, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, u.Addr.String())
	if err != nil {
		return wire.Message{}, err
	}
	defer conn.Close()
	deadline, ok := ctx.Deadline()
	if !ok {
		return wire.Message{}, errors.New("ask upstream: no deadline")
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return wire.Message{}, err
	}
	id := uint16(rand.Uint32())
	if network == "tcp" {
		return askTCP(conn, q, id, edns)
	}
	return askUDP(conn, q, id, edns)
}

// askUDP ignores whatever is not the answer and waits on, so that a guess by
// somebody else costs nothing.
func askUDP(conn net.Conn, q question, id uint16, edns bool) (wire.Message, error) {
	if _, err := conn.Write(q.pack(make([]byte, 0, 300), id, edns)); err != nil {
		return wire.Message{}, err
	}
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return wire.Message{}, err
		}
		if m, ok := wire.ParseMessage(buf[:n]); ok && q.answeredBy(&m, id) {
			m.Raw = append([]byte(nil), buf[:n]...) // what is kept must not hold 4 KiB
			return m, nil
		}
	}
}

func askTCP(conn net.Conn, q question, id uint16, edns bool) (wire.Message, error) {
	b := q.pack([]byte{0, 0}, id, edns)
	binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	if _, err := conn.Write(b); err != nil {
		return wire.Message{}, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return wire.Message{}, err
	}
	raw := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, raw); err != nil {
		return wire.Message{}, err
	}
	m, ok := wire.ParseMessage(raw)
	if !ok || !q.answeredBy(&m, id) {
		return m, fmt.Errorf("ask %s: the answer is to another question", conn.RemoteAddr())
	}
	return m, nil
}

func (q question) answeredBy(m *wire.Message, id uint16) bool {
	return m.ID == id && m.Flags&wire.FlagQR != 0 && m.Type == q.rrtype && m.Class == wire.ClassIN &&
		string(m.Question) == string(q.name) && m.Body == wire.HeaderLen+len(q.name)+4
}
