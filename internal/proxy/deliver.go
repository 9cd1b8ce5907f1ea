package proxy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/fairway-net/fairway/internal/proxy/h1"
	"github.com/fairway-net/fairway/internal/proxy/sock"
)

// This file is what front is as the client of a call.

func (f *front) all() ([]byte, bool) {
	r, pending := &f.head, f.body.Rest()
	if r.Chunked || r.Length > int64(len(pending)) || int64(len(pending)) > h1.Large {
		return nil, false
	}
	part, _ := f.body.Next(nil)
	return part, true
}

func (f *front) part(scratch []byte) ([]byte, error) { return f.body.Next(scratch) }

func (f *front) exhausted() bool { return f.body.Whole() }

func (f *front) trailer() []h1.Field { return f.body.Trailer() }

func (f *front) interrupt() {
	f.stop.Store(true)
	f.closing = true
	f.conn.Rouse()
}

func (f *front) resume() { f.stop.Store(false) }

func (f *front) invite() error {
	if !f.head.Expects || len(f.conn.Buffered()) > 0 {
		return nil
	}
	f.head.Expects = false
	f.conn.Out = append(f.conn.Out, "HTTP/1.1 100 Continue\r\n\r\n"...)
	return f.conn.Flush(clientTimeout)
}

func (f *front) gone() bool { return f.conn.Gone() }

func (f *front) inform() error {
	if f.head.Minor == 0 {
		return nil
	}
	c, r := f.conn, &f.response
	c.Out = h1.AppendStatus(c.Out, r.Status, r.Reason)
	for i := range r.Fields {
		if field := &r.Fields[i]; !r.Hop(field) {
			c.Out = h1.AppendCopy(c.Out, field)
		}
	}
	c.Out = append(c.Out, "\r\n"...)
	return c.Flush(clientTimeout)
}

func (f *front) open() error {
	f.answer.wrote = true
	f.answer.bodiless = true // the framing is done here
	f.conn.Out = f.respondHead(f.conn.Out)
	return nil
}

// respondHead builds the head of the response for the client.
func (f *front) respondHead(out []byte) []byte {
	x, r := &f.exchange, &f.response
	f.closing = f.closing || f.server.draining.Load()
	reason := r.Reason
	if len(reason) == 0 {
		reason = []byte(http.StatusText(r.Status))
	}
	out = h1.AppendStatus(out, r.Status, reason)
	if !x.plan.Options.ServerHeader {
		out = h1.AppendField(out, "Server", serverName)
	}
	if x.listener.TLS && x.plan.Options.HSTS != "" {
		out = h1.AppendField(out, "Strict-Transport-Security", x.plan.Options.HSTS)
	}
	dated := false
	for i := range r.Fields {
		field := &r.Fields[i]
		if field.Known != h1.Trailer || !r.Chunked || f.head.Minor == 0 {
			if !f.passes(field) {
				continue
			}
			dated = dated || field.Known == h1.Date
		}
		out = h1.AppendCopy(out, field)
	}
	if !dated {
		out = h1.AppendField(out, "Date", f.server.date(x.start))
	}
	if a := x.rule.Forward.Affinity; a != nil {
		x.stick(a, f.answer.Header())
	}
	if v := f.server.altSvc(x); v != "" {
		out = h1.AppendField(out, "Alt-Svc", v)
	}
	if f.answer.header != nil {
		out = f.answer.fields(out)
	}
	switch {
	case r.Status == http.StatusSwitchingProtocols:
		out = append(out, "Connection: Upgrade\r\n"...)
		out = h1.AppendField(out, "Upgrade", r.Get("Upgrade"))
		return append(out, "\r\n"...)
	case r.Status == http.StatusNoContent:
	case f.length() >= 0:
		out = h1.AppendLength(out, r.Length)
	case r.Bodiless:
	case f.empty:
		out = h1.AppendLength(out, 0)
	case f.head.Minor == 1:
		f.chunks = true
		out = h1.AppendChunked(out)
	default:
		f.closing = true // HTTP/1.0 knows no chunks: the end of the connection is that of the body
	}
	return append(f.persistence(out), "\r\n"...)
}

func (f *front) flush() error { return f.conn.Flush(clientTimeout) }

func (f *front) write(part []byte, more bool) error {
	f.exchange.writer.bytes += int64(len(part))
	if f.chunks {
		f.conn.Out = h1.AppendChunk(f.conn.Out, part)
	} else {
		f.conn.Out = append(f.conn.Out, part...)
	}
	if more && len(f.conn.Out) < h1.Large {
		return nil
	}
	return f.conn.Flush(clientTimeout)
}

// shut leaves what is not written yet to finish, which comes next.
func (f *front) shut(trailer []h1.Field) error {
	if f.chunks {
		f.conn.Out = h1.AppendLast(f.conn.Out, trailer)
	}
	return nil
}

func (f *front) abort(error) {
	f.broken = true
	_ = f.conn.Flush(clientTimeout)
}

// Bodies from this length on go from socket to socket inside the kernel, in
// pieces that a slow client can take within its time.
const (
	spliceFrom  = 64 << 10
	splicePiece = 256 << 10
)

var errStuck = errors.New("the other side takes nothing")

// splicePart moves a piece of what is left from socket to socket. It waits for from as
// long as read says, and for to as long as write does. After errStuck, which says that to
// is what it waited for, there is no going on: what was between the two is lost.
func splicePart(to, from *net.TCPConn, left int64, read, write time.Duration) (int64, error) {
	write = max(write, 2*read) // or it could not be told which of the two it was
	begun := time.Now()
	_ = from.SetReadDeadline(begun.Add(read))
	_ = to.SetWriteDeadline(begun.Add(write))
	n, err := to.ReadFrom(&io.LimitedReader{R: from, N: min(left, splicePiece)})
	switch {
	case h1.IsTimeout(err) && time.Since(begun) >= write:
		err = errStuck
	case err == nil && n == 0:
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// splice moves what is left of a long body, if both connections allow it.
func (f *front) splice(up *h1.Conn, b *h1.Body, since *time.Time) error {
	from, to := up.Plain(), f.conn.Plain()
	if f.response.Length < 0 || b.Left() < spliceFrom || b.Pending() || from == nil || to == nil || f.pump != nil {
		return nil
	}
	defer up.Unhurried() // the deadlines are others now
	defer f.conn.Unhurried()
	*since = time.Now()
	for b.Left() > 0 {
		n, err := splicePart(to, from, b.Left(), lookAround(*since), clientTimeout)
		b.Took(n)
		f.exchange.writer.bytes += n
		switch {
		case n > 0 && (err == nil || h1.IsTimeout(err)):
			*since = time.Now()
		case h1.IsTimeout(err):
			if err := f.patient(since); err != nil {
				return err
			}
		default:
			return err
		}
	}
	return nil
}

func (f *front) tunnel(up io.ReadWriteCloser, already []byte) {
	f.answer.wrote = true
	f.broken = true // HTTP has ended here
	if f.exchange.connects() {
		f.closing = false // the tunnel is what follows
	}
	_ = f.conn.WriteWithin(append(f.respondHead(f.conn.Out), already...), clientTimeout)
	f.conn.Out = nil
	if rest := f.body.Rest(); len(rest) > 0 {
		_, _ = up.Write(rest)
	}
	f.conn.Unhurried()
	f.exchange.writer.bytes += join(f.conn.Conn, up)
}

// join moves octets both ways until either side ends, and closes both. It returns
// how many went to the client.
func join(client, up io.ReadWriteCloser) int64 {
	client, up = sock.Bare(client), sock.Bare(up) // of which the kernel can do it
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(up, client)
		_ = up.Close()
		_ = client.Close()
	}()
	n, _ := io.Copy(client, up)
	_ = up.Close()
	_ = client.Close()
	<-done
	return n
}
