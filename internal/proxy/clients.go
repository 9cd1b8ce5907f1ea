package proxy

import (
	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/h2"
)

// bound makes l have what options say of connections of clients. What is alike is that of
// the plan before: connections of HTTP/2 share more than numbers by it.
func (s *Server) bound(l, before *live) {
	l.clients = before.clients
	if l.plan != nil && l.plan.Options != nil {
		l.clients = l.plan.Options.Clients
	}
	if before.h2 != nil && l.clients == before.clients {
		l.h2 = before.h2
		return
	}
	l.h2 = map[string]*h2.Options{}
	for name := range s.opts.Listen {
		l.h2[name] = s.streamOptions(name, &l.clients)
	}
}

// newLive is what holds before there is a plan.
func (s *Server) newLive() *live {
	l := &live{}
	s.bound(l, &live{clients: nginx.NewOptions().Clients})
	return l
}

// unlogged says that the exchange is not to be in the access log.
func (x *exchange) unlogged() bool {
	if x.rule != nil && x.rule.Unlogged {
		return true
	}
	if x.plan == nil || len(x.plan.Options.Unlogged) == 0 {
		return false
	}
	uri := x.askedURI()
	for _, re := range x.plan.Options.Unlogged {
		if re.MatchString(uri) {
			return true
		}
	}
	return false
}

// last says whether the nth request of a connection is its last.
func last(limits *nginx.Clients, n int) bool {
	return limits.Idle == 0 || limits.Requests > 0 && n >= limits.Requests
}

// tlsOf is what the plan says of TLS for all hosts.
func tlsOf(p *route.Plan) (o tlsOptions) {
	if p.Options != nil {
		o = tlsOptions{p.Options.TLSMin, p.Options.TLSMax, p.Options.NoHTTP2}
	}
	return o
}

type tlsOptions struct {
	min, max uint16
	noHTTP2  bool
}
