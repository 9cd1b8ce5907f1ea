package proxy

import (
	"net/http"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// reviseResponse changes the response of an endpoint, whose head is in c.response,
// before it is passed on. If it returns true it has answered in its place, through
// the exchange's writer, and the endpoint's response is dropped.
func (c *call) reviseResponse() bool {
	x, r := &c.exchange, &c.response
	if !x.replaces(r.Status, false) {
		x.revise(r.Status, r.Values)
		return false
	}
	if c.pump != nil {
		_ = c.pump.end() // what it reads belongs to nobody
	}
	x.fail(r.Status, "the endpoint says so")
	return true
}

// success has the statuses with which nginx's add_header adds.
func success(status int) bool {
	return slices.Contains([]int{200, 201, 204, 206, 301, 302, 303, 304, 307, 308}, status)
}

// revise prepares what the rule changes in the head of a response: fields of ours go
// into x.writer's header, names of fields that do not pass into x.drop. get returns
// the values that the endpoint gave; nil: the answer is ours.
func (x *exchange) revise(status int, get func(name string) []string) {
	if x.plan == nil || x.revised {
		return
	}
	x.revised = true
	if get == nil {
		if get = none; x.listener.TLS && x.plan.Options.HSTS != "" {
			x.writer.Header().Set("Strict-Transport-Security", x.plan.Options.HSTS)
		}
	}
	if len(x.cookies) > 0 && (x.cookiesAlways || success(status)) {
		h := x.writer.Header()
		h["Set-Cookie"] = append(h["Set-Cookie"], x.cookies...)
		x.cookies = nil
	}
	if x.rule == nil || x.rule.Edit == nil {
		return
	}
	e := x.rule.Edit
	for _, f := range e.Set {
		x.drop = append(x.drop, f.Name)
		if v := x.responseText(f, get); v != "" {
			x.writer.Header()[http.CanonicalHeaderKey(f.Name)] = []string{v}
		}
	}
	if success(status) {
		for _, f := range e.Add {
			if v := x.responseText(f, get); v != "" {
				x.writer.Header().Add(f.Name, v)
			}
		}
	}
	x.drop = append(x.drop, e.Hide...)
	x.reviseCookies(e, get)
	if !e.Redirect.From.IsZero() {
		x.reviseLocation(e, get)
	}
}

// drops says that a field of the endpoint's response does not pass.
func (x *exchange) drops(name []byte) bool {
	for _, d := range x.drop {
		if h1.SameName(name, d) {
			return true
		}
	}
	return false
}

// responseText is the value of a field, whose variables may be of the response.
func (x *exchange) responseText(f route.Field, get func(string) []string) string {
	v := f.Value.Expand(func(v dialect.Var) string {
		if name, ok := v.Header(dialect.ResponseVar); ok {
			return strings.Join(get(name), ", ")
		}
		return x.variable(v)
	})
	if !h1.Cleartext(v) {
		return ""
	}
	return v
}
