package proxy

import (
	"net"
	"net/http"
	"time"

	"github.com/fairway-net/fairway/internal/plan/route"
)

// exchange is one request and its response, as far as the proxy is concerned.
type exchange struct {
	server   *Server
	listener *route.Listener
	request  *http.Request
	writer   *recorder
	start    time.Time
	id       string // X-Request-ID

	match   route.Request
	forward string // the escaped path for a backend, if no rule rewrites it
	rule    *route.Rule

	endpoint *endpoint // the last one tried; nil if none was
	tries    int
	err      error // why the proxy, and not a backend, answered
}

// handler is the entrance of one listener.
type handler struct {
	server   *Server
	listener string
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := h.server
	s.active.Add(1)
	rec := &recorder{ResponseWriter: w}
	x := &exchange{server: s, request: r, writer: rec, start: time.Now()}
	defer func() { // also when a broken response ends in a panic
		s.active.Add(-1)
		s.metrics.done(x)
		if s.opts.AccessLog != nil {
			x.log(s.opts.AccessLog)
		}
	}()
	w.Header().Set("Server", serverName)
	if s.draining.Load() {
		w.Header().Set("Connection", "close") // over HTTP/2 this makes a GOAWAY
	}
	live := s.live.Load()
	if live.plan != nil {
		x.listener = live.plan.Listener(h.listener)
	}
	if x.listener == nil {
		x.fail(http.StatusServiceUnavailable, "the gateway is starting and does not know its routes yet")
		return
	}
	x.id = requestID(r)
	x.route(live)
}

// route finds the rule of the request and does what it says.
func (x *exchange) route(live *live) {
	r := x.request
	if r.Method == http.MethodConnect || r.Method == http.MethodTrace {
		x.fail(http.StatusMethodNotAllowed, "method "+r.Method+" is not allowed")
		return
	}
	var err error
	x.match.Host = route.CanonicalHost(r.Host)
	x.match.Path, x.forward, err = route.CanonicalPath(r.URL.EscapedPath())
	if err != nil {
		x.fail(http.StatusBadRequest, "the path of the request is malformed or ambiguous")
		return
	}
	host, rule := x.listener.Hosts.Match(&x.match)
	x.rule = rule
	switch {
	case rule == nil:
		x.notFound(host)
	case !x.listener.TLS && rule.Redirects(&x.match, x.listener.Certs):
		x.redirectToTLS(live.plan)
	case rule.Respond != nil:
		x.fail(rule.Respond.Status, rule.Respond.Text)
	default:
		x.proxy(live)
	}
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

// client is the address of the client without its port.
func (x *exchange) client() string {
	host, _, err := net.SplitHostPort(x.request.RemoteAddr)
	if err != nil {
		return x.request.RemoteAddr
	}
	return host
}
