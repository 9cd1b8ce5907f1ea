package proxy

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// answer writes a response to an HTTP/1 client that does not come from an HTTP/1
// endpoint: one of our own, or one that net/http received.
type answer struct {
	front    *front
	header   http.Header // nil until somebody asks for it
	wrote    bool
	bodiless bool
	chunked  bool
	left     int64 // of the length that was announced; -1: none
	trailers []string
}

func (a *answer) reset() { *a = answer{front: a.front, left: -1} }

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header {
	if a.header == nil {
		a.header = http.Header{}
	}
	return a.header
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	f := a.front
	if a.wrote {
		return
	}
	if status < 200 && status != http.StatusSwitchingProtocols {
		if f.request.Minor == 1 && status != http.StatusContinue {
			f.conn.Out = h1.AppendStatus(f.conn.Out, status, []byte(http.StatusText(status)))
			f.conn.Out = a.fields(f.conn.Out)
			f.conn.Out = append(f.conn.Out, "\r\n"...)
			a.Flush()
		}
		return
	}
	a.wrote = true
	a.bodiless = f.exchange.method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified
	if strings.EqualFold(a.header.Get("Connection"), "close") || f.server.draining.Load() || f.unread() {
		f.closing = true
	}
	if n, err := strconv.ParseInt(a.header.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		a.left = n
	}
	for _, line := range a.header["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			a.trailers = append(a.trailers, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
	if len(a.trailers) > 0 && f.request.Minor == 1 {
		a.left = -1 // only chunks have trailers
	}
	out := h1.AppendStatus(f.conn.Out, status, []byte(http.StatusText(status)))
	out = h1.AppendField(out, "Server", serverName)
	if a.header.Get("Date") == "" {
		out = h1.AppendField(out, "Date", f.server.date(time.Now()))
	}
	out = a.fields(out)
	switch {
	case status == http.StatusNoContent:
	case a.left >= 0:
		out = h1.AppendLength(out, a.left)
	case a.bodiless:
	case f.request.Minor == 1:
		a.chunked = true
		out = h1.AppendChunked(out)
	default:
		f.closing = true
	}
	f.conn.Out = append(f.persistence(out), "\r\n"...)
}

// persistence says what becomes of the connection, where that needs saying.
func (f *front) persistence(out []byte) []byte {
	switch {
	case f.closing:
		return h1.AppendField(out, "Connection", "close")
	case f.request.Minor == 0:
		return h1.AppendField(out, "Connection", "keep-alive")
	}
	return out
}

// fields adds the header, but for what frames the message and what the backend
// may not say for us.
func (a *answer) fields(out []byte) []byte {
	for _, name := range slices.Sorted(maps.Keys(a.header)) {
		switch name {
		case "Content-Length", "Transfer-Encoding", "Connection", "Server", "Keep-Alive", "Upgrade":
			continue
		}
		if strings.HasPrefix(name, http.TrailerPrefix) || slices.Contains(a.trailers, name) {
			continue
		}
		for _, value := range a.header[name] {
			if h1.Cleartext(value) {
				out = h1.AppendField(out, name, value)
			}
		}
	}
	return out
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	if !a.wrote {
		a.WriteHeader(http.StatusOK)
	}
	f := a.front
	switch {
	case f.broken:
		return 0, errClientGone
	case a.bodiless:
		return 0, http.ErrBodyNotAllowed
	case a.chunked:
		f.conn.Out = h1.AppendChunk(f.conn.Out, b)
	case a.left >= 0 && int64(len(b)) > a.left:
		return 0, http.ErrContentLength
	default:
		if a.left >= 0 {
			a.left -= int64(len(b))
		}
		f.conn.Out = append(f.conn.Out, b...)
	}
	if len(f.conn.Out) >= h1.Large {
		if err := a.FlushError(); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// Flush implements http.Flusher.
func (a *answer) Flush() { _ = a.FlushError() }

// FlushError is what http.ResponseController looks for.
func (a *answer) FlushError() error {
	err := a.front.conn.Flush(clientTimeout)
	if err != nil {
		a.front.broken = true
	}
	return err
}

// end ends the body, if there is one.
func (a *answer) end() {
	switch {
	case !a.wrote:
	case a.chunked:
		var trailer []h1.Field
		for name, values := range a.header {
			plain, prefixed := strings.CutPrefix(name, http.TrailerPrefix)
			if prefixed || slices.Contains(a.trailers, name) {
				for _, v := range values {
					if h1.Cleartext(v) {
						trailer = append(trailer, h1.Field{Name: []byte(plain), Value: []byte(v)})
					}
				}
			}
		}
		a.front.conn.Out = h1.AppendLast(a.front.conn.Out, trailer)
	case a.left > 0 && !a.bodiless:
		a.FlushError()
		a.front.broken = true // less than was announced
	}
}
