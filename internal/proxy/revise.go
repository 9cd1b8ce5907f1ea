package proxy

import (
	"net/http"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/dialect/nginx"
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
	if e.RedirectFrom != "" {
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

// reviseCookies rewrites Domain and Path of the endpoint's cookies.
func (x *exchange) reviseCookies(e *route.HeaderEdit, get func(string) []string) {
	if e.CookieDomain.From == "" && e.CookiePath.From == "" {
		return
	}
	cookies := get("Set-Cookie")
	if len(cookies) == 0 {
		return
	}
	x.drop = append(x.drop, "Set-Cookie")
	for _, c := range cookies {
		x.writer.Header().Add("Set-Cookie", reviseCookie(c, e.CookieDomain, e.CookiePath))
	}
}

func reviseCookie(cookie string, domain, path nginx.Replace) string {
	parts := strings.Split(cookie, ";")
	for i, p := range parts[1:] {
		name, value, _ := strings.Cut(p, "=")
		space := name[:len(name)-len(strings.TrimLeft(name, " "))]
		switch key := strings.ToLower(strings.TrimSpace(name)); {
		case key == "domain" && domain.From != "" && strings.EqualFold(strings.TrimPrefix(value, "."), strings.TrimPrefix(domain.From, ".")):
			parts[i+1] = space + strings.TrimSpace(name) + "=" + domain.To
		case key == "path" && path.From != "" && strings.HasPrefix(value, path.From):
			parts[i+1] = space + strings.TrimSpace(name) + "=" + path.To + value[len(path.From):]
		}
	}
	return strings.Join(parts, ";")
}

// reviseLocation rewrites the beginning of Location and of the URL in Refresh.
func (x *exchange) reviseLocation(e *route.HeaderEdit, get func(string) []string) {
	for _, name := range []string{"Location", "Refresh"} {
		values := get(name)
		if len(values) != 1 {
			continue
		}
		before, url := "", values[0]
		if name == "Refresh" {
			i := strings.Index(strings.ToLower(url), "url=")
			if i < 0 {
				continue
			}
			before, url = url[:i+4], url[i+4:]
		}
		rest, ok := strings.CutPrefix(url, e.RedirectFrom)
		if !ok {
			continue
		}
		if v := before + x.expand(e.RedirectTo) + rest; h1.Cleartext(v) {
			x.drop = append(x.drop, name)
			x.writer.Header()[name] = []string{v}
		}
	}
}
