package proxy

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"net"
	"strconv"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/sys/unix"
)

// generation makes the identifiers of connections, which begin with two octets that tell
// this process from the one before and the next. They are shorter than any that a client
// chooses (RFC 9000, section 7.2), so that a datagram says whose it is.
type generation uint16

const idLength = 7

// GenerateConnectionID implements quic.ConnectionIDGenerator.
func (g generation) GenerateConnectionID() (quic.ConnectionID, error) {
	var id [idLength]byte
	if _, err := rand.Read(id[2:]); err != nil {
		return quic.ConnectionID{}, err
	}
	binary.BigEndian.PutUint16(id[:], uint16(g))
	return quic.ConnectionIDFromBytes(id[:]), nil
}

// ConnectionIDLen implements quic.ConnectionIDGenerator.
func (generation) ConnectionIDLen() int { return idLength }

// takeOurs gives the younger process its own connections and new ones, and the older one
// all others (see listenPacket): RFC 9000, sections 17.2 and 17.3.
func (g generation) takeOurs() []unix.SockFilter {
	const octet, pair = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, unix.BPF_LD | unix.BPF_H | unix.BPF_ABS
	const equal, set, ret = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	return []unix.SockFilter{
		{Code: octet, K: 0},
		{Code: set, K: 0x80, Jt: 2},               // a long header
		{Code: pair, K: 1},                        // short: the identifier follows
		{Code: equal, K: uint32(g), Jt: 4, Jf: 5}, // and is ours
		{Code: octet, K: 5},
		{Code: equal, K: idLength, Jf: 2}, // not chosen by a server: a new connection
		{Code: pair, K: 6},
		{Code: equal, K: uint32(g), Jf: 1},
		{Code: ret, K: 1},
		{Code: ret, K: 0},
	}
}

// openThird opens the port; requests come to the same rules as those over TCP.
func (s *Server) openThird(listener string, addr net.Addr) (*third, error) {
	var mine [2]byte
	if _, err := rand.Read(mine[:]); err != nil {
		return nil, err
	}
	ids := generation(binary.BigEndian.Uint16(mine[:]))
	conn, err := listenPacket(addr.String(), ids.takeOurs())
	if err != nil {
		return nil, err
	}
	t := &third{server: s, listener: listener, conns: map[*thirdConn]struct{}{}}
	t.accepting, t.stop = context.WithCancel(context.Background())
	t.transport = &quic.Transport{Conn: conn, ConnectionIDGenerator: ids, ConnContext: t.admit, VerifySourceAddress: t.doubts}
	return t, nil
}

// config is what a connection that begins now may have.
func (t *third) config(*quic.ClientInfo) (*quic.Config, error) {
	return &quic.Config{
		MaxIncomingStreams: int64(t.server.live.Load().clients.Streams), MaxIncomingUniStreams: maxUniStreams,
		HandshakeIdleTimeout: handshakeTime, MaxIdleTimeout: silentFor, KeepAlivePeriod: pingAfter,
		InitialStreamReceiveWindow: streamWindow, MaxStreamReceiveWindow: 4 * streamWindow,
		InitialConnectionReceiveWindow: connWindow, MaxConnectionReceiveWindow: 4 * connWindow,
	}, nil
}

// A client that waits for an answer sends nothing, and may do so for as long as it likes:
// whether it is there still is asked. How long a connection may be without a request is
// another question (see thirdConn).
const (
	silentFor     = 60 * time.Second
	pingAfter     = 20 * time.Second
	maxUniStreams = 8 // RFC 9114, section 6.2, wants three
)

// altSvc tells clients of HTTP/1 and 2 that there is HTTP/3 (RFC 7838); "" if there is not.
func (s *Server) altSvc(x *exchange) string {
	if s.third == nil || x.listener == nil || !x.listener.TLS || x.listener.Port == 0 || s.wantsPreamble() {
		return ""
	}
	if v := s.advert.Load(); v != nil && v.port == x.listener.Port {
		return v.text
	}
	v := &advert{x.listener.Port, `h3=":` + strconv.Itoa(int(x.listener.Port)) + `"; ma=86400`}
	s.advert.Store(v)
	return v.text
}

type advert struct {
	port uint16
	text string
}
