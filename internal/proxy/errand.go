package proxy

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// errand is a request of a client that speaks HTTP/3, and the downstream of its call.
type errand struct {
	call
	head    h1.Request
	writer  http.ResponseWriter
	from    *http.Request
	control *http.ResponseController
	stop    atomic.Bool // the body is not wanted any more
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
	x.protocol = e.extended()
	if !ok {
		x.id = requestID("")
		x.fail(http.StatusBadRequest, "the head of the request is malformed")
		s.metrics.done(x)
		return
	}
	x.run(listener)
	e.dropPump()
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
	if e.extended() != "" {
		return e.head.Compose("GET", r.Host, path, false)
	}
	// A body that is not announced cannot be told from none before it is read, and
	// nobody sends one with these methods.
	body := r.ContentLength > 0 || r.ContentLength < 0 && r.Method != "GET" && r.Method != "HEAD" && r.Method != "OPTIONS" && r.Method != "DELETE"
	return e.head.Compose(r.Method, r.Host, path, body)
}

// extended is the protocol of an extended CONNECT (RFC 9220); "" for all other requests.
func (e *errand) extended() string {
	if r := e.from; r.Method == http.MethodConnect && !strings.HasPrefix(r.Proto, "HTTP/") {
		return r.Proto
	}
	return ""
}

func (e *errand) all() ([]byte, bool) { return nil, false }

func (e *errand) exhausted() bool { return false }

func (e *errand) part(scratch []byte) ([]byte, error) {
	by := time.Time{}
	if !grpc(e.request) {
		by = time.Now().Add(e.server.live.Load().clients.Body)
	}
	_ = e.control.SetReadDeadline(by)
	if e.stop.Load() { // which has set a deadline of its own, perhaps before
		return nil, errTakenBack
	}
	n, err := e.from.Body.Read(scratch)
	switch {
	case n > 0:
		return scratch[:n], nil
	case e.stop.Load():
		return nil, errTakenBack
	case err != nil && err != io.EOF && h1.IsTimeout(err):
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

func (e *errand) interrupt() {
	e.stop.Store(true)
	_ = e.control.SetReadDeadline(time.Unix(1, 0))
}

func (e *errand) resume() { e.stop.Store(false) }

func (e *errand) invite() error {
	if e.head.Expects {
		e.head.Expects = false
		e.writer.WriteHeader(http.StatusContinue)
	}
	return nil
}

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
	if n := e.length(); n >= 0 && r.Status != http.StatusNoContent {
		h.Set("Content-Length", strconv.FormatInt(n, 10))
	}
	e.writer.WriteHeader(r.Status)
	if r.Bodiless && e.length() < 0 {
		return e.control.Flush() // or quic-go would say that it has no octet
	}
	return nil
}

func (e *errand) flush() error { return e.control.Flush() }

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

// tunnel is the answer to an extended CONNECT: 200 is what 101 is to HTTP/1.
func (e *errand) tunnel(up io.ReadWriteCloser, already []byte) {
	r, h := &e.response, e.writer.Header()
	for i := range r.Fields {
		if f := &r.Fields[i]; !r.Hop(f) && !h1.Is(f.Name, "sec-websocket-accept") {
			h.Add(string(f.Name), string(f.Value))
		}
	}
	e.writer.WriteHeader(http.StatusOK)
	_ = e.control.Flush()
	streamer, ok := e.writer.(http3.HTTPStreamer)
	if !ok || e.exchange.protocol == "" && !e.exchange.connects() {
		_ = up.Close()
		e.aborted = true
		return
	}
	stream, err := streamer.HTTPStream()
	if err != nil {
		_ = up.Close()
		return
	}
	pipe := &thirdPipe{stream}
	if len(already) > 0 {
		if _, err := pipe.Write(already); err != nil {
			_, _ = pipe.Close(), up.Close()
			return
		}
	}
	e.exchange.writer.bytes += join(pipe, up)
}

// thirdPipe is a stream whose body is the octets of another protocol.
type thirdPipe struct{ *http3.Stream }

func (p *thirdPipe) Read(b []byte) (int, error) { return p.Stream.Read(b) }

func (p *thirdPipe) Write(b []byte) (int, error) {
	_ = p.SetWriteDeadline(time.Now().Add(clientTimeout))
	return p.Stream.Write(b)
}

// Close ends our side; the client's may still say something, which nobody hears.
func (p *thirdPipe) Close() error {
	p.CancelRead(quic.StreamErrorCode(http3.ErrCodeNoError))
	return p.Stream.Close()
}
