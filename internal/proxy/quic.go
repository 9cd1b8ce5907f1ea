package proxy

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/sys/unix"

	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// third serves HTTP/3 beside an HTTPS listener, on the UDP port of the same number.
type third struct {
	server    *http3.Server
	transport *quic.Transport
	config    *quic.Config
}

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
	return &third{transport: &quic.Transport{Conn: conn, ConnectionIDGenerator: ids},
		config: &quic.Config{MaxIncomingStreams: maxStreams, MaxIdleTimeout: idleTimeout, HandshakeIdleTimeout: handshakeTime,
			InitialStreamReceiveWindow: streamWindow, MaxStreamReceiveWindow: 4 * streamWindow,
			InitialConnectionReceiveWindow: connWindow, MaxConnectionReceiveWindow: 4 * connWindow},
		server: &http3.Server{
			TLSConfig:      http3.ConfigureTLSConfig(s.tlsConfig(listener)),
			MaxHeaderBytes: maxHeader, IdleTimeout: idleTimeout,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serveThird(listener, w, r) }),
			Logger:  slog.New(slog.DiscardHandler),
		}}, nil
}

func (t *third) serve() error {
	l, err := t.transport.ListenEarly(t.server.TLSConfig, t.config)
	if err != nil {
		return err
	}
	if err := t.server.ServeListener(l); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, quic.ErrServerClosed) {
		return err
	}
	return nil
}

// end lets the requests that there are end, until ctx does.
func (t *third) end(ctx context.Context) {
	_ = t.server.Shutdown(ctx)
	_ = t.server.Close()
	_ = t.transport.Close()
	_ = t.transport.Conn.Close()
}

// altSvc tells clients of HTTP/1 and 2 that there is HTTP/3 (RFC 7838); "" if there is not.
func (s *Server) altSvc(x *exchange) string {
	if s.third == nil || x.listener == nil || !x.listener.TLS || x.listener.Port == 0 {
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

// errand is a request of a client that speaks HTTP/3, and the downstream of its call.
type errand struct {
	call
	head    h1.Request
	writer  http.ResponseWriter
	from    *http.Request
	control *http.ResponseController
	aborted bool
}

func (s *Server) serveThird(listener string, w http.ResponseWriter, r *http.Request) {
	e := &errand{writer: w, from: r, control: http.NewResponseController(w)}
	e.request = &e.head
	ok := e.compose()
	w.Header().Set("Server", serverName)
	x := e.begin(s, e, w, "HTTP/3.0")
	at, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	x.peer = peerOf(textAddr(r.RemoteAddr), at)
	x.peer.tls = r.TLS
	if !ok {
		x.id = requestID("")
		x.fail(http.StatusBadRequest, "the head of the request is malformed")
		s.metrics.done(x)
		return
	}
	x.run(listener)
	if e.pump != nil {
		_ = e.pump.end()
		e.pump.free()
	}
	if e.aborted {
		panic(http.ErrAbortHandler) // which is how the stream is told
	}
}

type textAddr string

func (a textAddr) Network() string { return "udp" }
func (a textAddr) String() string  { return string(a) }

// compose makes the head one of HTTP/1.
func (e *errand) compose() bool {
	r := e.from
	for name, values := range r.Header {
		for _, value := range values {
			f, ok := h1.Make([]byte(strings.ToLower(name)), []byte(strings.TrimSpace(value)))
			if !ok {
				return false
			}
			e.head.Fields = append(e.head.Fields, f)
		}
	}
	for name := range r.Trailer { // announced
		if f, ok := h1.Make([]byte("trailer"), []byte(name)); ok {
			e.head.Fields = append(e.head.Fields, f)
		}
	}
	path := r.RequestURI
	if path == "" {
		path = r.URL.RequestURI()
	}
	// A body that is not announced cannot be told from none before it is read, and
	// nobody sends one with these methods.
	body := r.ContentLength > 0 || r.ContentLength < 0 && r.Method != "GET" && r.Method != "HEAD" && r.Method != "OPTIONS" && r.Method != "DELETE"
	return e.head.Compose(r.Method, r.Host, path, body)
}

func (e *errand) all() ([]byte, bool) { return nil, false }

func (e *errand) exhausted() bool { return false }

func (e *errand) part(scratch []byte) ([]byte, error) {
	_ = e.control.SetReadDeadline(time.Now().Add(headerTimeout))
	n, err := e.from.Body.Read(scratch)
	if n > 0 {
		return scratch[:n], nil
	}
	if err != nil && err != io.EOF && h1.IsTimeout(err) {
		return nil, errSlowBody
	}
	return nil, err
}

func (e *errand) trailer() (out []h1.Field) {
	for name, values := range e.from.Trailer {
		for _, value := range values {
			if f, ok := h1.Make([]byte(strings.ToLower(name)), []byte(value)); ok {
				out = append(out, f)
			}
		}
	}
	return out
}

func (e *errand) interrupt() { _ = e.control.SetReadDeadline(time.Unix(1, 0)) }

func (e *errand) resume() {}

func (e *errand) invite() error { return nil }

func (e *errand) gone() bool { return e.from.Context().Err() != nil }

func (e *errand) inform() error {
	r, h := &e.response, e.writer.Header()
	for i := range r.Fields {
		if f := &r.Fields[i]; !r.Hop(f) {
			h.Add(string(f.Name), string(f.Value))
		}
	}
	e.writer.WriteHeader(r.Status)
	for i := range r.Fields { // the response has fields of its own
		h.Del(string(r.Fields[i].Name))
	}
	return nil
}

func (e *errand) open() error {
	x, r, h := &e.exchange, &e.response, e.writer.Header()
	if a := x.rule.Forward.Affinity; a != nil {
		x.stick(a, h)
	}
	for i := range r.Fields {
		if f := &r.Fields[i]; e.passes(f) {
			h.Add(string(f.Name), string(f.Value))
		}
	}
	if hsts := x.plan.Options.HSTS; hsts != "" {
		h.Set("Strict-Transport-Security", hsts)
	}
	if r.Length >= 0 && r.Status != http.StatusNoContent {
		h.Set("Content-Length", strconv.FormatInt(r.Length, 10))
	}
	e.writer.WriteHeader(r.Status)
	return nil
}

func (e *errand) write(part []byte, more bool) error {
	e.exchange.writer.bytes += int64(len(part))
	_ = e.control.SetWriteDeadline(time.Now().Add(clientTimeout))
	if _, err := e.writer.Write(part); err != nil {
		return err
	}
	if more {
		return nil
	}
	return e.control.Flush()
}

func (e *errand) shut(trailer []h1.Field) error {
	for i := range trailer {
		if f := &trailer[i]; !f.Known.Hop() {
			e.writer.Header().Add(http.TrailerPrefix+string(f.Name), string(f.Value))
		}
	}
	return nil
}

func (e *errand) abort(error) { e.aborted = true }

// tunnel ends what nobody has asked for: an upgrade is not known to HTTP/3, and
// extended CONNECT (RFC 9220) is not offered.
func (e *errand) tunnel(up io.ReadWriteCloser, _ []byte) {
	_ = up.Close()
	e.aborted = true
}
