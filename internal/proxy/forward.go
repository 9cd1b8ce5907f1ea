package proxy

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"

	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// proxy hands the exchange to one of the rule's backends.
func (x *exchange) proxy(live *live) {
	f := x.rule.Forward
	target := pick(f.Targets)
	if c := f.Canary; c != nil && c.Takes(x.fields.Get, x.cookie, int(randomBelow(uint64(c.Total)))) {
		target = c.Backend
	}
	pool := live.pools.Get(target)
	if pool == nil || len(pool.endpoints) == 0 {
		text := "Service " + target.Service.String() + " is not known"
		if pool != nil {
			text = pool.backend.Problem
		}
		x.err = errNoEndpoint
		x.fail(http.StatusServiceUnavailable, text)
		return
	}
	if x.front != nil {
		if pool.protocol(f) == route.HTTP1 {
			x.front.relay(target)
			return
		}
		defer x.front.adapt()()
	}
	if x.rule.MaxBody > 0 {
		x.request.Body = http.MaxBytesReader(x.writer, x.request.Body, x.rule.MaxBody)
	}
	rp := &httputil.ReverseProxy{
		Rewrite:        x.rewrite,
		Transport:      &retrier{exchange: x, target: target},
		ModifyResponse: x.modifyResponse,
		ErrorHandler:   func(_ http.ResponseWriter, _ *http.Request, err error) { x.answerError(err) },
		BufferPool:     buffers,
		ErrorLog:       quiet,
	}
	ctx, cancel := context.WithCancel(x.request.Context())
	defer cancel() // releases what the attempts hold, whatever has become of them
	rp.ServeHTTP(x.writer, x.request.WithContext(ctx))
	if x.endpoint != nil {
		x.endpoint.release()
	}
}

// quiet takes the messages of ReverseProxy; what matters is in x.err.
var quiet = log.New(io.Discard, "", 0)

// rewrite prepares the request for a backend; the endpoint is filled in by retrier.
func (x *exchange) rewrite(pr *httputil.ProxyRequest) {
	path, query := x.outPath()
	out := pr.Out
	out.URL = &url.URL{Scheme: "http", Host: "endpoint", Path: path, RawQuery: query}
	if strings.IndexByte(path, '%') >= 0 {
		if decoded, err := url.PathUnescape(path); err == nil {
			out.URL.Path, out.URL.RawPath = decoded, path
		}
	}
	out.Host = x.outHost()
	dropAmbiguous(out.Header)
	x.setForwarded(out.Header)
	for _, h := range x.rule.Forward.Set {
		out.Header.Set(h.Name, h.Value)
	}
}

// outPath is the escaped path and the query for a backend.
func (x *exchange) outPath() (path, query string) {
	if r := x.rule.Rewrite; r != nil {
		return r.Apply(x.match.Path, x.query)
	}
	return x.forward, x.query
}

func (x *exchange) outHost() string {
	if f := x.rule.Forward; f.Host != "" {
		return f.Host
	}
	return x.host
}

func (x *exchange) modifyResponse(r *http.Response) error {
	delete(r.Header, "Server") // ours is set already; ingress-nginx, too, speaks for itself
	if x.ownsCORS {
		for _, name := range corsHeaders {
			delete(r.Header, name)
		}
	}
	if a := x.rule.Forward.Affinity; a != nil {
		x.stick(a, r.Header)
	}
	if x.server.draining.Load() && r.StatusCode != http.StatusSwitchingProtocols {
		x.writer.Header().Set("Connection", "close")
	}
	return nil
}

// Why an exchange failed; see answerError.
var (
	errNoEndpoint  = errors.New("no endpoint")
	errReadTimeout = errors.New("no answer within the read timeout")
	errSendTimeout = errors.New("request not taken within the send timeout")
	errClientGone  = errors.New("the client went away")
	errSlowBody    = errors.New("the client sends nothing of its body")
)

// answerError turns the failure of all attempts into a status, with nginx's choice.
func (x *exchange) answerError(err error) {
	x.err = err
	service := ""
	if x.endpoint != nil {
		service = x.endpoint.key.addr.String()
	}
	tooLarge, malformed := (*http.MaxBytesError)(nil), (*h1.Error)(nil)
	switch {
	case errors.As(err, &tooLarge):
		x.tooLarge()
	case errors.As(err, &malformed) && x.front != nil && x.front.blames(err):
		x.fail(malformed.Status, "the body of the request is malformed: "+malformed.Text)
	case errors.Is(err, errSlowBody):
		x.fail(http.StatusRequestTimeout, err.Error())
	case errors.Is(err, errClientGone), x.request != nil && x.request.Context().Err() != nil:
		x.writer.status = 499 // the client has gone: nobody reads an answer
	case errors.Is(err, errNoEndpoint):
		x.fail(http.StatusServiceUnavailable, "the Service has no endpoint any more")
	case errors.Is(err, errReadTimeout), errors.Is(err, errSendTimeout):
		x.fail(http.StatusGatewayTimeout, "endpoint "+service+": "+err.Error())
	case isDialError(err):
		x.fail(http.StatusBadGateway, "no connection to endpoint "+service)
	default:
		x.fail(http.StatusBadGateway, "endpoint "+service+" gave no valid answer")
	}
}

// pick chooses a target by weight. With one target, the rule of an Ingress, it
// is that.
func pick(targets []route.Target) route.BackendKey {
	if len(targets) == 1 {
		return targets[0].Backend
	}
	var sum uint64
	for _, t := range targets {
		sum += uint64(t.Weight)
	}
	n := randomBelow(sum)
	for _, t := range targets {
		if n < uint64(t.Weight) {
			return t.Backend
		}
		n -= uint64(t.Weight)
	}
	return targets[len(targets)-1].Backend
}

// buffers are what bodies are copied with.
var buffers = &bufferPool{sync.Pool{New: func() any { return new([32 << 10]byte) }}}

type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) Get() []byte  { return p.pool.Get().(*[32 << 10]byte)[:] }
func (p *bufferPool) Put(b []byte) { p.pool.Put((*[32 << 10]byte)(b)) }
