package proxy

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// This file is what responses of pods say to nginx, in fields whose names begin with
// X-Accel-. Clients never get them (ngx_http_upstream_module). Redirect, Limit-Rate and
// Buffering are followed; Expires is for a cache, Charset for a filter, and ingress-nginx has neither.

// maxInside is how often a request may be sent on, as in nginx.
const maxInside = 10

// obeyAccel does what the response says. If it returns true the response is not for the
// client: the request is to be sent on to exchange.inside.
func (c *call) obeyAccel() bool {
	x, r := &c.exchange, &c.response
	if uri := r.Get("X-Accel-Redirect"); uri != "" {
		x.inside = uri
		x.carryOver(r)
		return true
	}
	if rate, err := strconv.ParseInt(r.Get("X-Accel-Limit-Rate"), 10, 64); err == nil && rate >= 0 {
		c.throttle(rate)
	}
	said := r.Get("X-Accel-Buffering")
	c.buffers, c.streams = strings.EqualFold(said, "yes"), strings.EqualFold(said, "no")
	return false
}

// throttle bounds the response to so many octets per second, whatever the rule says; 0
// is no limit.
func (c *call) throttle(rate int64) {
	t, throttled := c.down.(*throttle)
	switch {
	case throttled && rate == 0:
		c.down = t.downstream
	case throttled:
		t.limit = &route.Bandwidth{PerSecond: rate, After: t.limit.After}
	case rate > 0:
		c.down = &throttle{downstream: c.down, limit: &route.Bandwidth{PerSecond: rate}}
	}
}

// carriedOver are fields of a response with X-Accel-Redirect that the next one has, too.
var carriedOver = [...]string{"Set-Cookie", "Content-Disposition", "Cache-Control", "Expires", "Accept-Ranges"}

func (x *exchange) carryOver(r *h1.Response) {
	for _, name := range carriedOver {
		for _, v := range r.Values(name) {
			x.kept = append(x.kept, route.Header{Name: name, Value: v})
		}
	}
}

// goInside begins again with the URI that an endpoint has named, as a GET without a body
// to the same host. All that the rules of that path say holds. n is how often that was
// done before. (nginx sends a body on with the GET, which nobody expects.)
func (x *exchange) goInside(live *live, n int) {
	uri := x.inside
	c := x.call
	x.restart()
	path, query, _ := strings.Cut(uri, "?")
	canonical, forward, err := route.CanonicalPath(escaped(path))
	switch {
	case n == maxInside:
		x.fail(http.StatusInternalServerError, "an endpoint sends the request around in circles")
		return
	case uri[0] != '/':
		x.fail(http.StatusNotFound, "an endpoint sends the request to what is no path")
		return
	case err != nil || !h1.Cleartext(query) || strings.ContainsAny(query, " \t"):
		x.fail(http.StatusInternalServerError, "an endpoint sends the request to a path that is none")
		return
	}
	if x.method != http.MethodHead {
		x.method = http.MethodGet
	}
	c.dropBody()
	x.match.Path, x.forward, x.query = canonical, forward, query
	h := x.writer.Header()
	for _, f := range x.kept {
		h.Add(f.Name, f.Value)
	}
	x.enter(live)
}

// restart forgets what the rule before has done to the exchange.
func (x *exchange) restart() {
	if x.asked == "" {
		x.asked = x.requestURI()
	}
	h := x.writer.Header()
	server := h["Server"]
	clear(h)
	if server != nil {
		h["Server"] = server
	}
	x.call.down = x.call.client
	x.rule, x.inside, x.send, x.vhost, x.drop, x.cookies = nil, "", nil, "", nil, nil
	x.ownsCORS, x.cookiesAlways, x.revised, x.paged, x.newCookie, x.keepCookie = false, false, false, false, "", false
	x.endpoint, x.served, x.tries = nil, nil, 0
	x.passSpan()
}

// dropBody makes the request one without a body. What has come of it is nobody's.
func (c *call) dropBody() {
	c.dropPump()
	c.letGo()
	c.request.Chunked, c.request.Length, c.exchange.length = false, -1, 0
	c.small, c.whole, c.empty = nil, false, false
}
