package proxy

import (
	"context"
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

	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// third serves HTTP/3 beside an HTTPS listener, on the UDP port of the same number.
type third struct {
	server *http3.Server
	conn   net.PacketConn
}

// openThird opens the port; requests come to the same rules as those over TCP.
func (s *Server) openThird(listener string, addr net.Addr) (*third, error) {
	conn, err := net.ListenPacket("udp", addr.String())
	if err != nil {
		return nil, err
	}
	return &third{conn: conn, server: &http3.Server{
		TLSConfig: http3.ConfigureTLSConfig(s.tlsConfig(listener)),
		QUICConfig: &quic.Config{MaxIncomingStreams: maxStreams, MaxIdleTimeout: idleTimeout, HandshakeIdleTimeout: handshakeTime,
			InitialStreamReceiveWindow: streamWindow, MaxStreamReceiveWindow: 4 * streamWindow,
			InitialConnectionReceiveWindow: connWindow, MaxConnectionReceiveWindow: 4 * connWindow},
		MaxHeaderBytes: maxHeader, IdleTimeout: idleTimeout,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serveThird(listener, w, r) }),
		Logger:  slog.New(slog.DiscardHandler),
	}}, nil
}

func (t *third) serve() error {
	if err := t.server.Serve(t.conn); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// end lets the requests that there are end, until ctx does.
func (t *third) end(ctx context.Context) {
	_ = t.server.Shutdown(ctx)
	_ = t.server.Close()
	_ = t.conn.Close()
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
	x.peer = peerOf(textAddr(r.RemoteAddr))
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

func (e *errand) part(scratch []byte) ([]byte, error) {
	_ = e.control.SetReadDeadline(time.Now().Add(bodyTimeout))
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

func (e *errand) inform() error { return nil }

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

func (e *errand) abort() { e.aborted = true }

// tunnel ends what nobody has asked for: an upgrade is not known to HTTP/3, and
// extended CONNECT (RFC 9220) is not offered.
func (e *errand) tunnel(up io.ReadWriteCloser, _ []byte) {
	_ = up.Close()
	e.aborted = true
}
