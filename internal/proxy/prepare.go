package proxy

import (
	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// forwardTo prepares what depends on the request, and hands it to a backend.
func (x *exchange) forwardTo(live *live) {
	f := x.rule.Forward
	for _, field := range f.Vars {
		v := x.expand(field.Value)
		if !h1.Cleartext(v) {
			continue
		}
		if field.Name == "Host" {
			x.vhost = v
			continue
		}
		x.send = append(x.send, route.Header{Name: field.Name, Value: v})
	}
	if live.plan.Options.OriginalURI {
		x.send = append(x.send, route.Header{Name: "X-Original-URI", Value: x.requestURI()})
	}
	if m := x.rule.Mirror; m != nil && !x.connects() {
		x.mirror(m)
	}
	if b := x.rule.Bandwidth; b != nil {
		x.call.down = &throttle{downstream: x.call.down, limit: b}
	}
	x.proxy(live)
}
