package proxy

import (
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/plan/route"
)

// exchange is one request and its response, as far as the proxy is concerned.
type exchange struct {
	server   *Server
	plan     *route.Plan // that the exchange began with
	listener *route.Listener
	writer   *recorder
	start    time.Time
	id       string // X-Request-ID

	// The request, wherever it comes from.
	method, host string
	path, query  string // as received: escaped
	proto        string
	length       int64 // of the body; -1: not known
	fields       fields
	protocol     string // of an extended CONNECT (RFC 8441); "" for all others
	peer

	call *call // what it is part of

	match   route.Request
	forward string      // the escaped path for a backend, if no rule rewrites it
	site    *route.Host // nil until the rule was looked for
	rule    *route.Rule

	ownsCORS bool // the CORS headers of the response are set

	// What the rule adds to the request and takes from the response.
	send          []route.Header // for the endpoint, in the place of the client's; an empty value removes the field
	vhost         string         // Host header for the endpoint, if not ""
	drop          []string       // fields of the endpoint's response that do not pass
	cookies       []string       // of the authentication service, for the response
	cookiesAlways bool           // also for errors
	revised       bool           // revise was called
	paged         bool           // a page for an error was asked for
	forwarded     forwarded
	// What is known of the client's certificate.
	subject, issuer, verify string

	span *span // of our part of a trace; nil: not traced

	copy *spool // of the body, for a mirror; nil: none under way

	kept   []route.Header // of responses that sent the request on
	inside string         // the URI that an endpoint sends the request on to; "": none
	asked  string         // the URI that the client asked for, if it is another one than path and query

	attempts   []attempt // if the log wants them
	endpoint   *endpoint // the last one tried; nil if none was
	served     *pool     // that it is of
	tries      int
	newCookie  string // key of the affinity cookie that the client is to get; "": none
	keepCookie bool   // the endpoint of the client's affinity cookie is only failing, so that it stays the client's
	err        error  // why the proxy, and not a backend, answered
}

// fields are the header of a request.
type fields interface {
	Get(name string) string
	Values(name string) []string
}

// run answers the exchange and takes note of it.
func (x *exchange) run(listener string) {
	s := x.server
	s.active.Add(1)
	defer func() { // also when a broken response ends in a panic
		s.active.Add(-1)
		if x.call != nil {
			x.call.letGo()
		}
		if x.copy != nil {
			x.copy.end(errCutOff) // unless it has ended
		}
		s.metrics.done(x)
		if s.log != nil && !x.unlogged() {
			s.log.add(x)
		}
		if x.span != nil {
			s.tracer.end(x)
		}
	}()
	live := s.live.Load()
	if live.plan != nil {
		x.plan = live.plan
		x.listener = live.plan.Listener(listener)
	}
	if x.listener == nil {
		x.fail(http.StatusServiceUnavailable, "the gateway is starting and does not know its routes yet")
		return
	}
	x.id = requestID(x.fields.Get("X-Request-Id"))
	x.route(live)
	for n := 0; x.inside != ""; n++ {
		x.goInside(live, n)
	}
}

// route finds the rule of the request and does what it says.
func (x *exchange) route(live *live) {
	if x.method == http.MethodTrace {
		x.notAllowed()
		return
	}
	if strings.EqualFold(x.protocol, "h2c") { // see call.upgrade
		x.fail(http.StatusNotImplemented, "HTTP/2 inside of HTTP/2 is not passed on")
		return
	}
	o := live.plan.Options
	if x.told {
		x.arrived()
	}
	if o.UseForwardedHeaders {
		x.identify(o)
	}
	var err error
	x.match.Host = route.CanonicalHost(x.host)
	if x.connects() {
		x.match.Path, x.forward = "/", "/"
	} else {
		x.match.Path, x.forward, err = route.CanonicalPath(x.path)
	}
	if x.call.request.EmptyQuery {
		x.forward += "?" // as it came
	}
	if err != nil {
		x.fail(http.StatusBadRequest, "the path of the request is malformed or ambiguous")
		return
	}
	if o.Block != nil && x.blocked(o.Block) {
		x.fail(http.StatusForbidden, "requests like yours are not allowed here")
		return
	}
	x.enter(live)
}

// enter finds the rule of the path, and follows it.
func (x *exchange) enter(live *live) {
	x.match.Method, x.match.Query, x.match.Header = x.method, x.query, x.fields
	host, rule := x.listener.Hosts.Match(&x.match)
	x.site, x.rule = host, rule
	if to := x.server.tracer.to.Load(); to != nil && x.span == nil {
		to.beginSpan(x)
	}
	switch {
	case x.connects() && (rule == nil || rule.Forward == nil || !rule.Forward.Connect):
		x.notAllowed()
	case x.connects() && !x.hasAuthority():
		x.fail(http.StatusBadRequest, "CONNECT has no authority of host and port, or it has a body")
	case host.Client != nil && x.listener.TLS && !x.certified(host):
	case rule == nil:
		x.notFound(host)
	default:
		x.obey(live, host)
	}
}

// obey does what the rule says, in the order of nginx's phases: what can be said at
// once, then who may ask, then the content.
func (x *exchange) obey(live *live, host *route.Host) {
	r := x.rule
	switch {
	case r.CORS != nil && x.cors(r.CORS):
		// The preflight request is answered; all other answers have the headers.
	case r.MaxBody > 0 && x.length > r.MaxBody:
		x.tooLarge()
	case r.Redirect != nil && !r.Redirect.AfterTLS:
		x.follow(r.Redirect)
	case x.scheme() == "http" && r.Redirects(&x.match, x.listener.Certs, live.plan.Options):
		x.redirectToTLS(live.plan)
	case x.nameless(host) && !live.plan.Options.Exempt(&x.match):
		x.fail(http.StatusForbidden, "client certificate unauthorized")
	case r.Respond != nil:
		x.respond(r.Respond)
	default:
		x.admit(live)
	}
}

// admit lets in whom the rule lets in.
func (x *exchange) admit(live *live) {
	r := x.rule
	if r.Limits != nil {
		done, status := x.limited(r.Limits)
		if status != 0 {
			x.fail(status, "you ask more often than is allowed here")
			return
		}
		defer done()
	}
	if (r.Access != nil || r.Auth != nil || r.Password != nil) && !x.welcome(r) {
		return
	}
	if r.Redirect != nil {
		x.follow(r.Redirect)
		return
	}
	x.forwardTo(live)
}

// recorder notes what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// Unwrap lets http.ResponseController flush and hijack.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

func (x *exchange) scheme() string {
	if x.forwarded.scheme != "" {
		return x.forwarded.scheme
	}
	if x.listener.TLS {
		return "https"
	}
	return "http"
}

// hostName is the Host header without its port.
func (x *exchange) hostName() string {
	host := x.host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
		if strings.Contains(h, ":") {
			host = "[" + h + "]"
		}
	}
	return host
}

// requestURI is the escaped path, with dot segments resolved, and the query.
func (x *exchange) requestURI() string {
	if x.asked != "" {
		return x.asked
	}
	if x.query != "" {
		return x.forward + "?" + x.query
	}
	return x.forward
}

// askedURI is the URI as the client wrote it.
func (x *exchange) askedURI() string {
	switch {
	case x.asked != "":
		return x.asked
	case x.query != "":
		return x.path + "?" + x.query
	}
	return x.path
}
