package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// maxResponseHeader is how long the head of a response may be.
const maxResponseHeader = 256 << 10

// maxInterim is how many responses may come before the response.
const maxInterim = 10

// relay is what retrier is for HTTP/1 on both sides: it offers the request to
// endpoint after endpoint until one answers, and no endpoint twice. The request is
// written, and the response read, by the goroutine of the client's connection.
func (f *front) relay(target route.BackendKey) {
	x := &f.exchange
	forward := x.rule.Forward
	sticky := x.stickyToken(forward.Affinity)
	var room [4]*endpoint
	tried, last := room[:0], errNoEndpoint
	defer func() {
		if x.endpoint != nil {
			x.endpoint.release()
		}
	}()
	for forward.Tries == 0 || x.tries < forward.Tries {
		// The pool of this moment: what has left since the request began is not tried.
		pool := x.server.live.Load().pools.Get(target)
		if pool == nil || pool.protocol(forward) != route.HTTP1 {
			break
		}
		e := pool.choose(tried, sticky, time.Now())
		if e == nil {
			break
		}
		tried = append(tried, e)
		x.use(e)
		dial := forward.Timeouts.Connect
		if (forward.Tries == 0 || x.tries < forward.Tries) && len(pool.endpoints) > len(tried) {
			dial = min(dial, patience)
		}
		up, err := f.attempt(e, dial)
		if err == nil {
			e.succeeded()
			f.deliver(up)
			return
		}
		last = err
		if isDialError(err) {
			e.failed(time.Now())
		}
		x.server.metrics.attemptFailed(err)
		if errors.Is(err, errClientGone) || !isDialError(err) && !f.repeatable() {
			break
		}
	}
	x.answerError(last)
}

// repeatable says that the request does no harm if it was acted on already, and
// that all of it is still there.
func (f *front) repeatable() bool { return idempotent(f.exchange.method) && !f.request.HasBody() }

// attempt sends the request to e and waits for the head of the response. A
// connection that turns out to be dead is no failure of the endpoint.
func (f *front) attempt(e *endpoint, dial time.Duration) (*h1.Conn, error) {
	for {
		up, reused, err := e.link(!f.repeatable(), dial)
		if err != nil {
			return nil, err
		}
		up.Wake(&f.server.buffers)
		err = f.offer(up)
		if err == nil {
			return up, nil
		}
		if f.pump != nil {
			if why := f.pump.end(); why != nil && !errors.Is(why, errRefusedBody) && !errors.Is(why, errTakenBack) {
				err = why
			}
		}
		dead := reused && len(up.Buffered()) == 0 && f.repeatable() && !errors.Is(err, errClientGone) && !errors.Is(err, errReadTimeout) && !errors.Is(err, errSendTimeout)
		f.discard(up)
		if !dead {
			return nil, err
		}
	}
}

// discard closes a connection that holds no answer any more.
func (f *front) discard(up *h1.Conn) {
	_ = up.Close()
	up.Take(len(up.Buffered()))
	up.Rest(&f.server.buffers)
}

// offer writes the request and reads the head of the response.
func (f *front) offer(up *h1.Conn) error {
	x, r := &f.exchange, &f.request
	timeouts := &x.rule.Forward.Timeouts
	up.Out = f.head(up.Out[:0])
	pumped := r.HasBody()
	if pending := f.body.Rest(); !r.Chunked && r.Length > 0 && r.Length <= int64(len(pending)) && int64(len(pending)) <= h1.Large {
		part, _ := f.body.Next(nil) // all of it
		up.Out = append(up.Out, part...)
		pumped = false
	}
	if err := up.Flush(timeouts.Send); err != nil {
		if h1.IsTimeout(err) {
			return errSendTimeout
		}
		return fmt.Errorf("write request: %w", err)
	}
	if pumped {
		if err := f.invite(); err != nil {
			return errClientGone
		}
		f.startPump(up)
	}
	interim := 0
	for since := time.Now(); ; {
		n, err := f.response.Parse(up.Buffered(), x.method)
		if err != nil {
			return fmt.Errorf("read response: %w", errors.New(err.Error())) // not the client's error
		}
		if n > 0 {
			up.Take(n)
			if f.response.Status >= 200 || f.response.Status == http.StatusSwitchingProtocols {
				return f.checkUpgrade()
			}
			if interim++; interim > maxInterim {
				return errors.New("read response: too many interim responses")
			}
			if err := f.inform(); err != nil {
				return errClientGone
			}
			up.Compact()
			continue
		}
		if err := f.fill(up, &since); err != nil {
			return err
		}
	}
}

// checkUpgrade refuses a change of protocol that nobody asked for.
func (f *front) checkUpgrade() error {
	if f.response.Status == http.StatusSwitchingProtocols && (!f.request.Upgrade || f.request.Get("Upgrade") == "") {
		return errors.New("read response: upgrade that was not asked for")
	}
	return nil
}

// inform passes an interim response on (RFC 9110, section 15.2); 100 is between
// the endpoint and us.
func (f *front) inform() error {
	if f.response.Status == http.StatusContinue || f.request.Minor == 0 {
		return nil
	}
	c := f.conn
	c.Out = h1.AppendStatus(c.Out, f.response.Status, f.response.Reason)
	for i := range f.response.Fields {
		if field := &f.response.Fields[i]; !f.response.Hop(field) {
			c.Out = h1.AppendCopy(c.Out, field)
		}
	}
	c.Out = append(c.Out, "\r\n"...)
	return c.Flush(clientTimeout)
}

// fill reads from an endpoint once, and waits for as long as that makes sense.
func (f *front) fill(up *h1.Conn, since *time.Time) error {
	for {
		err := up.Fill(lookAround(*since), maxResponseHeader)
		if err == nil {
			return nil
		}
		if !h1.IsTimeout(err) {
			return fmt.Errorf("read response: %w", err)
		}
		if err := f.patient(since); err != nil {
			return err
		}
	}
}

// lookAround is how long to wait before patient is asked again.
func lookAround(since time.Time) time.Duration {
	return min(max(time.Since(since)/4, tick), time.Second)
}

// patient decides whether to go on waiting for an endpoint. Timeouts are nginx's:
// they bound the wait between two successful reads, never the whole.
func (f *front) patient(since *time.Time) error {
	if p := f.pump; p != nil {
		done, err := p.done()
		if !done {
			*since = time.Now() // the body's turn; it has times of its own
			return nil
		}
		if err != nil && !errors.Is(err, errRefusedBody) {
			return err
		}
		if p.ended.After(*since) {
			*since = p.ended
		}
	}
	if f.conn.Gone() {
		return errClientGone
	}
	if limit := f.exchange.rule.Forward.Timeouts.Read; limit > 0 && time.Since(*since) >= limit {
		return errReadTimeout
	}
	return nil
}

// head builds the head of the request for an endpoint, with the header fields
// that setForwarded describes.
func (f *front) head(out []byte) []byte {
	x, r := &f.exchange, &f.request
	path, query := x.outPath()
	out = append(out, x.method...)
	out = append(out, ' ')
	out = append(out, path...)
	if query != "" {
		out = append(out, '?')
		out = append(out, query...)
	}
	out = append(out, " HTTP/1.1\r\n"...)
	out = h1.AppendField(out, "Host", x.outHost())
	claimed := false
	for i := range r.Fields {
		field := &r.Fields[i]
		switch field.Known {
		case h1.Other:
			if !r.Hop(field) && !underscored(field.Name) && !x.sets(field.Name) {
				out = h1.AppendCopy(out, field)
			}
		case h1.ForwardedFor:
			claimed = true
		case h1.Date, h1.Server, h1.AccessControl:
			if !r.Hop(field) {
				out = h1.AppendCopy(out, field)
			}
		}
	}
	if claimed {
		out = h1.AppendField(out, "X-Original-Forwarded-For", strings.Join(r.Values("X-Forwarded-For"), ", "))
	}
	scheme := x.scheme()
	out = h1.AppendField(out, "X-Request-Id", x.id)
	out = h1.AppendField(out, "X-Real-Ip", x.client)
	out = h1.AppendField(out, "X-Forwarded-For", x.client)
	out = h1.AppendField(out, "X-Forwarded-Host", x.host)
	out = h1.AppendNumber(out, "X-Forwarded-Port", int64(x.listener.Port))
	out = h1.AppendField(out, "X-Forwarded-Proto", scheme)
	out = h1.AppendField(out, "X-Forwarded-Scheme", scheme)
	out = h1.AppendField(out, "X-Scheme", scheme)
	for _, h := range x.rule.Forward.Set {
		if !h1.Cleartext(h.Value) {
			continue
		}
		out = h1.AppendField(out, h.Name, h.Value)
	}
	if r.Has(h1.TE, "trailers") {
		out = append(out, "Te: trailers\r\n"...)
	}
	if protocol := r.Get("Upgrade"); r.Upgrade && protocol != "" {
		out = append(out, "Connection: Upgrade\r\n"...)
		out = h1.AppendField(out, "Upgrade", protocol)
	}
	switch {
	case r.Chunked:
		out = h1.AppendChunked(out)
	case r.Length > 0, r.Length == 0 && !bodilessByHabit(x.method):
		out = h1.AppendLength(out, r.Length)
	case x.method == "POST", x.method == "PUT", x.method == "PATCH":
		out = h1.AppendLength(out, 0) // RFC 9110, section 8.6
	}
	return append(out, "\r\n"...)
}

func bodilessByHabit(method string) bool { return method == "GET" || method == "HEAD" }

// sets says that the rule has a value of its own for a field.
func (x *exchange) sets(name []byte) bool {
	for _, h := range x.rule.Forward.Set {
		if h1.SameName(name, h.Name) {
			return true
		}
	}
	return false
}

// respondHead builds the head of the response for the client.
func (f *front) respondHead(out []byte) []byte {
	x, r := &f.exchange, &f.response
	f.closing = f.closing || f.server.draining.Load()
	out = h1.AppendStatus(out, r.Status, r.Reason)
	out = h1.AppendField(out, "Server", serverName)
	dated := false
	for i := range r.Fields {
		field := &r.Fields[i]
		switch {
		case field.Known == h1.Trailer && r.Chunked && f.request.Minor == 1:
		case r.Hop(field), field.Known == h1.Server, field.Known == h1.AccessControl && x.ownsCORS && ownedByCORS(field.Name):
			continue
		case field.Known == h1.Date:
			dated = true
		}
		out = h1.AppendCopy(out, field)
	}
	if !dated {
		out = h1.AppendField(out, "Date", f.server.date(x.start))
	}
	if a := x.rule.Forward.Affinity; a != nil {
		x.stick(a, f.answer.Header())
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
	case r.Length >= 0:
		out = h1.AppendLength(out, r.Length)
	case r.Bodiless:
	case f.request.Minor == 1:
		out = h1.AppendChunked(out)
	default:
		f.closing = true // HTTP/1.0 knows no chunks: the end of the connection is that of the body
	}
	return append(f.persistence(out), "\r\n"...)
}
