package proxy

import (
	"io"
	"net"
	"net/http"
	"time"

	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// deliver passes the response of an endpoint, whose head is in f.response, on to
// the client. From here on nothing can be tried again.
func (f *front) deliver(up *h1.Conn) {
	x, r := &f.exchange, &f.response
	x.writer.status = r.Status
	f.answer.wrote = true
	f.answer.bodiless = true // the framing is done here
	f.conn.Out = f.respondHead(f.conn.Out)
	if r.Status == http.StatusSwitchingProtocols {
		f.tunnel(up)
		return
	}
	whole, err := f.carry(up)
	if f.pump != nil {
		if f.pump.end() != nil {
			whole = false
		}
	}
	switch {
	case err != nil:
		x.err, f.broken = err, true // what was promised cannot be kept; the client sees it end early
		_ = f.conn.Flush(clientTimeout)
		f.discard(up)
	case whole && !r.Close:
		up.Compact()
		x.endpoint.keep(up, &f.server.buffers)
	default:
		f.discard(up)
	}
}

// carry moves the body. It says whether the connection could have another exchange.
func (f *front) carry(up *h1.Conn) (bool, error) {
	r, b := &f.response, &f.back
	here := up.Buffered()
	switch {
	case r.Bodiless:
		return len(here) == 0, nil
	case r.Length >= 0 && r.Length <= int64(len(here)):
		f.send(here[:r.Length], false)
		up.Take(int(r.Length))
		return len(up.Buffered()) == 0, nil
	}
	since := time.Now()
	read := func(into []byte) (int, error) { return f.receive(up, into, &since) }
	if r.UntilClose() {
		b.ToEnd(here, read)
	} else {
		b.Reset(&r.Head, here, read)
	}
	up.Take(len(here))
	scratch := f.server.buffers.Large()
	defer f.server.buffers.Return(scratch)
	chunks := r.Length < 0 && f.request.Minor == 1
	for {
		part, err := b.Next(scratch[:])
		if err == io.EOF {
			break
		}
		if err != nil {
			return false, err
		}
		f.send(part, chunks)
		if !b.Pending() || len(f.conn.Out) >= h1.Large {
			if err := f.conn.Flush(clientTimeout); err != nil {
				return false, errClientGone
			}
			if err := f.splice(up, b, &since); err != nil {
				return false, err
			}
		}
	}
	if chunks {
		f.conn.Out = h1.AppendLast(f.conn.Out, b.Trailer())
	}
	return !r.UntilClose() && len(b.Rest()) == 0, nil
}

// send puts a part of the body behind what is to be written.
func (f *front) send(part []byte, chunk bool) {
	f.exchange.writer.bytes += int64(len(part))
	if chunk {
		f.conn.Out = h1.AppendChunk(f.conn.Out, part)
	} else {
		f.conn.Out = append(f.conn.Out, part...)
	}
}

// receive reads more of the response.
func (f *front) receive(up *h1.Conn, into []byte, since *time.Time) (int, error) {
	*since = time.Now()
	for {
		n, err := up.ReadWithin(into, lookAround(*since))
		if n > 0 || !h1.IsTimeout(err) {
			return n, err
		}
		if err := f.patient(since); err != nil {
			return 0, err
		}
	}
}

// Bodies from this length on go from socket to socket inside the kernel, in
// pieces that a slow client can take within its time.
const (
	spliceFrom  = 64 << 10
	splicePiece = 1 << 20
)

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
		_ = from.SetReadDeadline(time.Now().Add(lookAround(*since)))
		_ = to.SetWriteDeadline(time.Now().Add(clientTimeout))
		n, err := to.ReadFrom(&io.LimitedReader{R: from, N: min(b.Left(), splicePiece)})
		b.Took(n)
		f.exchange.writer.bytes += n
		switch {
		case n > 0 && (err == nil || h1.IsTimeout(err)):
			*since = time.Now()
		case h1.IsTimeout(err):
			if err := f.patient(since); err != nil {
				return err
			}
		case err == nil:
			return io.ErrUnexpectedEOF
		default:
			return err
		}
	}
	return nil
}

// tunnel connects client and endpoint after an upgrade until either ends.
func (f *front) tunnel(up *h1.Conn) {
	f.broken = true // HTTP has ended here
	_ = f.conn.WriteWithin(append(f.conn.Out, up.Buffered()...), clientTimeout)
	f.conn.Out = nil
	_ = up.WriteWithin(f.body.Rest(), clientTimeout)
	f.conn.Unhurried()
	up.Unhurried()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(up.Conn, f.conn.Conn)
		closeBoth(up, f.conn)
	}()
	n, _ := io.Copy(f.conn.Conn, up.Conn)
	closeBoth(up, f.conn)
	<-done
	f.exchange.writer.bytes += n
	f.discard(up)
}

func closeBoth(a, b net.Conn) {
	_ = a.Close()
	_ = b.Close()
}
