package proxy

import (
	"errors"
	"net"
	"net/http"
	"slices"

	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// proxy hands the exchange to one of the rule's backends.
func (x *exchange) proxy(live *live) {
	f := x.rule.Forward
	target := pick(f.Targets)
	if c := f.Canary; c != nil && x.takesCanary(live, c, target) {
		target = c.Backend
	}
	pool := live.pools.Get(target)
	if pool.empty() && f.Fallback != nil && !x.connects() && !live.pools.Get(*f.Fallback).empty() {
		target, pool = *f.Fallback, live.pools.Get(*f.Fallback)
		x.send = append(x.send, x.reason(http.StatusServiceUnavailable)...)
	}
	if pool.empty() {
		if f.Optional {
			x.fail(http.StatusNotFound, "no Ingress has a rule for this request")
			return
		}
		text := "Service " + target.Service.String() + " is not known"
		if pool != nil {
			text = pool.backend.Problem
		}
		x.err = errNoEndpoint
		x.fail(http.StatusServiceUnavailable, text)
		return
	}
	if f.Hold > 0 && x.call.request.HasBody() && x.separate(pool) && !x.call.hold(f.Hold) {
		return
	}
	x.call.relay(target)
}

// takesCanary decides whether the canary has the request, which it never has without an
// endpoint. Whoever has the affinity cookie of one of its endpoints, or of the others, stays there.
func (x *exchange) takesCanary(live *live, c *route.Canary, main route.BackendKey) bool {
	if live.pools.Get(c.Backend).empty() {
		return false
	}
	if a := x.rule.Forward.Affinity; a != nil && a.Canary {
		if c0 := x.stickyCookie(a); c0.key != "" {
			if p := live.pools.Get(main); p != nil && p.knows(c0) {
				return false
			}
			if p := live.pools.Get(c.Backend); p != nil && p.knows(c0) {
				return true
			}
		}
	}
	return c.Takes(x.fields.Get, x.cookie, int(randomBelow(uint64(c.Total))))
}

// knows says that a cookie is of this backend, and can go on to be.
func (p *pool) knows(c cookie) bool {
	return len(p.endpoints) > 0 && c.backend == p.tag() && (c.balanced || p.named(c.key) != nil)
}

// outPath is the escaped path and the query for a backend.
func (x *exchange) outPath() (path, query string) {
	if r := x.rule.Rewrite; r != nil {
		return r.Apply(x.match.Path, x.query)
	}
	return x.forward, x.query
}

func (x *exchange) outHost() string {
	if x.vhost != "" {
		return x.vhost
	}
	if f := x.rule.Forward; f.Host != "" {
		return f.Host
	}
	return x.host
}

// Why an exchange failed; see answerError.
var (
	errSick        = errors.New("the answer says that it is not well")
	errNoEndpoint  = errors.New("no endpoint")
	errReadTimeout = errors.New("no answer within the read timeout")
	errSendTimeout = errors.New("request not taken within the send timeout")
	errClientGone  = errors.New("the client went away")
	errSlowBody    = errors.New("the client sends nothing of its body")
	errTakenBack   = errors.New("body was given to another attempt")
)

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
	case errors.As(err, &malformed) && x.call.blames(err):
		x.fail(malformed.Status, "the body of the request is malformed: "+malformed.Text)
	case errors.Is(err, errSlowBody):
		x.fail(http.StatusRequestTimeout, err.Error())
	case errors.Is(err, errClientGone):
		x.writer.status = clientGone
	case errors.Is(err, errNoEndpoint):
		x.fail(http.StatusServiceUnavailable, "the Service has no endpoint any more")
	case errors.Is(err, errFull):
		x.fail(http.StatusServiceUnavailable, "all endpoints have as many requests as the Service allows")
	case errors.Is(err, errNoUpgrade):
		x.fail(http.StatusBadGateway, "endpoint "+service+": "+err.Error())
	case errors.Is(err, errReadTimeout), errors.Is(err, errSendTimeout):
		x.fail(http.StatusGatewayTimeout, "endpoint "+service+": "+err.Error())
	case isDialError(err):
		x.fail(http.StatusBadGateway, "no connection to endpoint "+service)
	case x.call.resets(err):
		x.writer.status = http.StatusBadGateway // in logs and metrics
		x.call.down.abort(err)
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
