package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/fairway-net/fairway/internal/plan/route"
)

// retrier is the transport of one exchange: it offers the request to endpoint
// after endpoint until one answers, and no endpoint twice.
type retrier struct {
	exchange *exchange
	target   route.BackendKey
}

func (t *retrier) RoundTrip(r *http.Request) (*http.Response, error) {
	x := t.exchange
	f := x.rule.Forward
	body := newReplayBody(r.Body)
	var tried []*endpoint
	var last error
	sticky := x.stickyToken(f.Affinity)
	for f.Tries == 0 || x.tries < f.Tries {
		// The pool of this moment: what has left since the request began is not tried.
		pool := x.server.live.Load().pools.Get(t.target)
		if pool == nil {
			break
		}
		e := pool.choose(tried, sticky, time.Now())
		if e == nil {
			break
		}
		tried = append(tried, e)
		x.use(e)
		others := (f.Tries == 0 || x.tries < f.Tries) && len(pool.endpoints) > len(tried)
		resp, err := x.attempt(r, e, pool.protocol(f), body, others)
		if err == nil {
			e.succeeded()
			return resp, nil
		}
		last = err
		if r.Context().Err() != nil {
			break // the client has gone
		}
		if isDialError(err) {
			e.failed(time.Now())
		}
		x.server.metrics.attemptFailed(err)
		if fresh := body.rewind(); !fresh || !isDialError(err) && !idempotent(r.Method) {
			break
		}
	}
	if last == nil {
		last = errNoEndpoint
	}
	return nil, last
}

// use makes e the endpoint of the exchange.
func (x *exchange) use(e *endpoint) {
	if x.endpoint != nil {
		x.endpoint.release()
	}
	e.acquire()
	x.endpoint = e
	x.tries++
}

// patience is how long a connection attempt may take while other endpoints are
// left to try: inside a cluster a connection takes a millisecond, or never comes.
const patience = time.Second

// attempt sends the request to e and waits for the head of the response.
func (x *exchange) attempt(r *http.Request, e *endpoint, p route.Protocol, body *replayBody, others bool) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	timeouts := x.rule.Forward.Timeouts
	dial := timeouts.Connect
	if others {
		dial = min(dial, patience)
	}
	ctx = context.WithValue(ctx, dialTimeoutKey{}, dial)
	watch := newWatchdog(cancel)
	out := r.WithContext(ctx)
	target := *r.URL
	target.Host = e.key.addr.String()
	if p == route.HTTPS || p == route.H2 {
		target.Scheme = "https"
	}
	out.URL = &target
	if body != nil {
		out.Body = body.offer(watch, timeouts.Send)
	}
	watch.start(timeouts.Connect+timeouts.Read, errReadTimeout)
	resp, err := e.transport(p).RoundTrip(out)
	watch.stop()
	if err != nil {
		cause := context.Cause(ctx)
		cancel(nil)
		if cause != nil && r.Context().Err() == nil {
			err = cause
		}
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		resp.Body = &receiveBody{ReadCloser: resp.Body, watch: watch, idle: timeouts.Read, cancel: cancel}
	}
	return resp, nil
}

// idempotent methods may be sent again although the first endpoint may have
// acted on them (RFC 9110, section 9.2.2).
func idempotent(method string) bool {
	return slices.Contains([]string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}, method)
}

// isDialError says that no connection came about, so that nothing was sent.
func isDialError(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// replayBody is the body of the client's request across attempts. It can be
// offered again as long as nothing has been read of it.
type replayBody struct {
	mu      sync.Mutex
	source  io.ReadCloser
	attempt int // who may read; a transport may still hold on to the body of an attempt that failed
	begun   bool
}

func newReplayBody(source io.ReadCloser) *replayBody {
	if source == nil || source == http.NoBody {
		return nil
	}
	return &replayBody{source: source}
}

// offer gives the body to the next attempt.
func (b *replayBody) offer(watch *watchdog, idle time.Duration) *sendBody {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &sendBody{body: b, attempt: b.attempt, watch: watch, idle: idle}
}

// rewind takes the body from the attempt before and says whether all of it is there.
func (b *replayBody) rewind() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.attempt++
	return !b.begun
}
