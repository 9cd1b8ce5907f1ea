package proxy

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// call is an exchange on its way through us: who asked, the heads of both messages
// in the form of HTTP/1, whatever the two sides speak, and what is under way.
type call struct {
	server   *Server
	down     downstream // the client, perhaps with something between
	client   downstream
	exchange exchange
	recorder recorder

	request  *h1.Request
	response h1.Response
	pump     *pump  // of the request's body, if it had not all come with the head
	held     *held  // of the request's body; nil: nothing
	small    []byte // the request's body, if it had
	whole    bool   // small is
	framed   bool   // the response is HTTP/1's, where a length says that there is no trailer
	empty    bool   // the response has ended with its head
	coded    bool   // its body is compressed here
	buffers  bool   // the endpoint wants it to be taken as fast as it comes
	streams  bool   // or as fast as the client takes it
}

// downstream is the side of a call that asked.
type downstream interface {
	// all returns the body of the request if it is short and has come already, and takes it.
	all() ([]byte, bool)
	// part returns the next part of the body, valid until the call after. At the end
	// it returns io.EOF, and errTakenBack after interrupt until resume.
	part(scratch []byte) ([]byte, error)
	// exhausted says that part will return io.EOF without waiting, if that is known.
	exhausted() bool
	trailer() []h1.Field
	interrupt()
	resume()
	// invite asks a client that waits for it to send the body.
	invite() error
	// gone says that nobody waits for the response any more.
	gone() bool

	// inform passes on an interim response, which is in call.response.
	inform() error
	// open begins the response with the head in call.response.
	open() error
	// flush lets the client have what was passed on, the head at least, before a wait.
	flush() error
	// write passes on a part of its body; more says that another one is at hand.
	write(part []byte, more bool) error
	// shut ends it.
	shut(trailer []h1.Field) error
	// abort lets the client see that the response is not complete, and why, where its
	// protocol can say so.
	abort(why error)
	// tunnel turns the exchange, whose response is a change of protocol, into a pipe.
	tunnel(up io.ReadWriteCloser, already []byte)
}

// upstream is the side of a call that answers: one connection or stream.
type upstream interface {
	// offer sends the request, and reads the head of the response into call.response.
	offer(c *call) error
	// carry moves the response's body to the client, and ends it there.
	carry(c *call) error
	// pipe is what is left after a change of protocol, with what was read already.
	pipe() (io.ReadWriteCloser, []byte)
	// end gives the connection back, or closes it if the exchange did not end well.
	end(c *call, well bool)
	// stale says that an attempt failed because the connection had waited too long, so
	// that nobody has seen the request.
	stale() bool
}

// begin makes c ready for the exchange of c.request.
func (c *call) begin(s *Server, down downstream, w http.ResponseWriter, proto string) *exchange {
	r := c.request
	c.server, c.down, c.client, c.recorder = s, down, down, recorder{ResponseWriter: w}
	c.pump, c.held, c.small, c.whole, c.empty, c.coded, c.buffers, c.streams = nil, nil, nil, false, false, false, false, false
	path, length := r.Path, r.Length
	if !r.Plain {
		path = escaped(path)
	}
	if !r.HasBody() {
		length = 0
	} else if r.Chunked {
		length = -1
	}
	c.exchange = exchange{
		server: s, writer: &c.recorder, start: time.Now(), call: c,
		method: r.Method, host: r.Host, path: path, query: r.Query, proto: proto,
		length: length, fields: &r.Head,
	}
	return &c.exchange
}

// relay offers the request to endpoint after endpoint until one answers, and no
// endpoint twice. All of it is done by the goroutine of the client.
func (c *call) relay(target route.BackendKey) {
	x := &c.exchange
	forward := x.rule.Forward
	var room [4]*endpoint
	tried, last := room[:0], errNoEndpoint
	var w wish
	defer func() {
		if x.endpoint != nil {
			x.endpoint.release()
		}
	}()
	for forward.Tries == 0 || x.tries < forward.Tries {
		// The pool of this moment: what has left since the request began is not tried.
		pool := x.server.live.Load().pools.Get(target)
		if pool == nil {
			break
		}
		if x.tries == 0 {
			w = x.wish(pool)
		}
		if forward.Affinity != nil {
			x.renew(&w, pool, tried)
		}
		e, pool, err := x.server.take(pool, tried, w, forward.Timeouts.Connect, c.down.gone)
		if err != nil {
			if x.tries == 0 || err != errNoEndpoint {
				last = err
			}
			break
		}
		if x.tries == 0 {
			pool.budget.request()
		}
		x.keepCookie = x.tries > 0 && forward.Affinity != nil && !forward.Affinity.ChangeOnFailure && x.newCookie == "" && pool.keeps(w.sticky)
		tried = append(tried, e)
		x.use(e, pool)
		dial := forward.Timeouts.Connect
		if (forward.Tries == 0 || x.tries < forward.Tries) && len(pool.endpoints) > len(tried) {
			dial = min(dial, patience)
		}
		begun := time.Now()
		up, err := c.attempt(e, pool.protocol(forward, x.scheme() == "https"), dial)
		if x.plan.Options.Log != nil {
			x.tried(e, begun, err)
		}
		if err == nil {
			took := time.Since(begun)
			e.observe(took, begun.Add(took))
			others := (forward.Tries == 0 || x.tries < forward.Tries) && len(pool.endpoints) > len(tried)
			if !others || !c.unwanted() || !pool.budget.retry() {
				e.succeeded()
				c.deliver(up)
				return
			}
			up.end(c, false)
			continue
		}
		last = err
		c.blame(e, err)
		x.server.metrics.attemptFailed(err)
		if !c.mayRepeat(err) || !isDialError(err) && !pool.budget.retry() {
			break
		}
	}
	x.answerError(last)
}

// blame lets an endpoint rest that fails.
func (c *call) blame(e *endpoint, err error) {
	switch {
	case isDialError(err):
		e.failed(time.Now())
	case !isClientGone(err) && !isRefused(err) && !c.blames(err):
		e.suspect(time.Now())
	}
}

// mayRepeat says whether the request may go to another endpoint after err.
func (c *call) mayRepeat(err error) bool {
	r := c.exchange.rule.Forward.Retry
	if isClientGone(err) || r != nil && r.Within > 0 && time.Since(c.exchange.start) > r.Within {
		return false
	}
	switch {
	case isDialError(err):
		return true
	case isRefused(err):
		return c.intact()
	case r == nil:
		return c.repeatable()
	case errors.Is(err, errReadTimeout), errors.Is(err, errSendTimeout):
		return r.Timeout && c.repeatable()
	case errors.Is(err, errNoHead):
		return r.InvalidHeader && c.repeatable()
	}
	return r.Error && c.repeatable()
}

// unwanted says that the rule prefers another endpoint's response to this one.
func (c *call) unwanted() bool {
	r := c.exchange.rule.Forward.Retry
	return r != nil && slices.Contains(r.Statuses, c.response.Status) && c.repeatable() &&
		(r.Within == 0 || time.Since(c.exchange.start) < r.Within)
}

// intact says that all of the request is still there.
func (c *call) intact() bool {
	return c.pump == nil || c.held != nil && c.held.more == nil
}

// repeatable says that the request does no harm if it was acted on already, and
// that all of it is still there.
func (c *call) repeatable() bool {
	r := c.exchange.rule.Forward.Retry
	return (idempotent(c.exchange.method) || r != nil && r.NonIdempotent) && c.intact()
}

// patience is how long a connection attempt may take while other endpoints are
// left to try: inside a cluster a connection takes a millisecond, or never comes.
const patience = time.Second

// attempt sends the request to e and waits for the head of the response. A
// connection that turns out to be dead is no failure of the endpoint.
func (c *call) attempt(e *endpoint, p route.Protocol, dial time.Duration) (upstream, error) {
	for {
		c.rewind()
		up, err := e.connect(c, p, dial)
		if err != nil {
			return nil, err
		}
		if err = up.offer(c); err == nil {
			return up, nil
		}
		if c.pump != nil {
			if why := c.pump.end(); why != nil && why != errRefusedBody && why != errTakenBack {
				err = why
			}
		}
		again := up.stale() && c.repeatable() && !isClientGone(err) && err != errReadTimeout && err != errSendTimeout
		up.end(c, false)
		if !again {
			return nil, err
		}
	}
}

// use makes e, which was acquired, the endpoint of the exchange.
func (x *exchange) use(e *endpoint, p *pool) {
	if x.endpoint != nil {
		x.endpoint.release()
	}
	x.endpoint, x.served = e, p
	x.tries++
}

// take takes a body that came with the head, once.
func (c *call) take() ([]byte, bool) {
	if !c.whole && c.pump == nil && c.held == nil {
		c.small, c.whole = c.down.all()
	}
	return c.small, c.whole
}

// deliver passes the response of an endpoint, whose head is in c.response, on to
// the client. From here on nothing can be tried again.
func (c *call) deliver(up upstream) {
	x, r := &c.exchange, &c.response
	switch up.(type) {
	case *link, *script:
		c.framed = true
	default:
		c.framed = false
	}
	if r.Accel && c.obeyAccel() || c.reviseResponse() {
		if c.pump != nil {
			_ = c.pump.end()
		}
		up.end(c, false)
		return
	}
	x.writer.status = r.Status
	if r.Status == http.StatusSwitchingProtocols || x.connects() {
		pipe, already := up.pipe()
		c.down.tunnel(pipe, already)
		up.end(c, false)
		return
	}
	if o := x.plan.Options.Compress; o != nil {
		c.compress(o)
	}
	if b := x.rule.Forward.Backlog; (b != nil || c.buffers) && !c.streams && !r.Bodiless && !c.empty {
		if b == nil {
			usual := usualBacklog()
			b = &usual
		}
		c.buffer(*b)
	}
	err := c.down.open()
	if err == nil {
		err = up.carry(c)
	}
	well := err == nil
	if c.pump != nil && c.pump.end() != nil {
		well = false
	}
	if err != nil {
		x.err = err
		c.down.abort(err) // what was promised cannot be kept; the client sees it end early
	}
	up.end(c, well)
	if b, ok := c.down.(*backlog); ok && err == nil {
		if x.err = b.drain(); x.err != nil {
			b.downstream.abort(x.err)
		}
	}
}

// passes says whether a field of the response is for the client.
func (c *call) passes(field *h1.Field) bool {
	x := &c.exchange
	if len(x.drop) > 0 && x.drops(field.Name) || x.listener.TLS && x.plan.Options.HSTS != "" && h1.SameName(field.Name, "Strict-Transport-Security") {
		return false
	}
	switch field.Known {
	case h1.Other:
		return !c.response.Hop(field)
	case h1.Accel:
		return false
	}
	return !c.response.Hop(field) && (field.Known != h1.Server || x.plan.Options.ServerHeader) && !(field.Known == h1.AccessControl && x.ownsCORS && ownedByCORS(field.Name))
}

// lookAround is how long to wait before patient is asked again.
func lookAround(since time.Time) time.Duration {
	return min(max(time.Since(since)/4, tick), time.Second)
}

// patient decides whether to go on waiting for an endpoint. Timeouts are nginx's:
// they bound the wait between two successful reads, never the whole.
func (c *call) patient(since *time.Time) error {
	if p := c.pump; p != nil {
		done, err := p.done()
		if !done {
			*since = time.Now() // the body's turn; it has times of its own
			return nil
		}
		if err != nil && err != errRefusedBody {
			return err
		}
		if p.ended.After(*since) {
			*since = p.ended
		}
	}
	if c.down.gone() {
		return errClientGone
	}
	if limit := c.exchange.rule.Forward.Timeouts.Read; limit > 0 && time.Since(*since) >= limit {
		return errReadTimeout
	}
	return nil
}

// head gives the fields of the request for an endpoint: those of the client that
// are for it, and those that setForwarded describes. Framing is the caller's.
func (c *call) head(copy func(*h1.Field), add func(name, value string)) {
	x, r := &c.exchange, c.request
	claimed, hosted := false, false
	for i := range r.Fields {
		field := &r.Fields[i]
		switch field.Known {
		case h1.Other, h1.Accel:
			if !r.Hop(field) && (!underscored(field.Name) || x.plan.Options.Underscores) && !x.sets(field.Name) {
				copy(field)
			}
		case h1.Trailer:
			if r.Chunked {
				copy(field)
			}
		case h1.ForwardedFor:
			claimed = true
		case h1.ForwardedHost:
			hosted = true
		case h1.Date, h1.Server, h1.AccessControl:
			if !r.Hop(field) {
				copy(field)
			}
		}
	}
	if claimed {
		add("X-Original-Forwarded-For", strings.Join(r.Values("X-Forwarded-For"), ", "))
	}
	if hosted {
		add("X-Original-Forwarded-Host", strings.Join(r.Values("X-Forwarded-Host"), ", "))
	}
	x.addForwarded(add)
	for _, list := range [2][]route.Header{x.rule.Forward.Set, x.send} {
		for i := range list {
			if h := &list[i]; h.Value != "" && h1.Cleartext(h.Value) {
				add(h.Name, h.Value)
			}
		}
	}
	if r.Has(h1.TE, "trailers") {
		add("Te", "trailers")
	}
}

// sets says that the rule has a value of its own for a field, perhaps none.
func (x *exchange) sets(name []byte) bool {
	for _, list := range [2][]route.Header{x.rule.Forward.Set, x.send} {
		for i := range list {
			if h1.SameName(name, list[i].Name) {
				return true
			}
		}
	}
	return false
}
