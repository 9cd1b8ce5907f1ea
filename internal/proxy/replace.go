package proxy

import (
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// replace does what r says with a value, as nginx's proxy_redirect does: a text is
// replaced where the value begins with it, a regular expression that matches has all
// of the value replaced. It returns false where nothing is.
func (x *exchange) replace(r *nginx.Replace, value string) (string, bool) {
	if r.From.Regex == nil {
		rest, ok := strings.CutPrefix(value, x.expand(r.From.Text))
		return x.expand(r.To) + rest, ok
	}
	groups := r.From.Regex.FindStringSubmatch(value)
	if groups == nil {
		return value, false
	}
	return r.To.Expand(func(v dialect.Var) string {
		if n, ok := v.Group(); ok {
			return groups[n]
		}
		return x.variable(v)
	}), true
}

// reviseCookies rewrites Domain and Path of the endpoint's cookies.
func (x *exchange) reviseCookies(e *route.HeaderEdit, get func(string) []string) {
	if e.CookieDomain.From.IsZero() && e.CookiePath.From.IsZero() {
		return
	}
	cookies := get("Set-Cookie")
	if len(cookies) == 0 {
		return
	}
	x.drop = append(x.drop, "Set-Cookie")
	for _, c := range cookies {
		if revised := x.reviseCookie(c, &e.CookieDomain, &e.CookiePath); h1.Cleartext(revised) {
			c = revised
		}
		x.writer.Header().Add("Set-Cookie", c)
	}
}

func (x *exchange) reviseCookie(cookie string, domain, path *nginx.Replace) string {
	parts := strings.Split(cookie, ";")
	for i, p := range parts[1:] {
		p = strings.TrimSpace(p)
		parts[i+1] = " " + p
		name, value, _ := strings.Cut(p, "=")
		changed, ok := value, false
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "domain":
			changed, ok = x.replaceDomain(domain, value)
		case "path":
			if !path.From.IsZero() {
				changed, ok = x.replace(path, value)
			}
		}
		if ok {
			parts[i+1] = " " + name + "=" + changed
		}
	}
	return strings.Join(parts, ";")
}

// replaceDomain is replace for a Domain, all of which a text must be, whatever the case and
// with or without a dot before it.
func (x *exchange) replaceDomain(r *nginx.Replace, value string) (string, bool) {
	switch {
	case r.From.IsZero():
		return value, false
	case r.From.Regex != nil:
		return x.replace(r, value)
	}
	bare := strings.TrimPrefix(value, ".")
	dot := value[:len(value)-len(bare)] // stays
	return dot + x.expand(r.To), strings.EqualFold(bare, strings.TrimPrefix(x.expand(r.From.Text), "."))
}

// reviseLocation rewrites Location and the URL in Refresh.
func (x *exchange) reviseLocation(e *route.HeaderEdit, get func(string) []string) {
	for _, name := range []string{"Location", "Refresh"} {
		var out []string
		changed := false
		for _, url := range get(name) {
			before := ""
			if name == "Refresh" {
				if i := strings.Index(strings.ToLower(url), "url="); i >= 0 {
					before, url = url[:i+4], url[i+4:]
				} else {
					out = append(out, url)
					continue
				}
			}
			if v, ok := x.replace(&e.Redirect, url); ok && h1.Cleartext(v) {
				url, changed = v, true
			}
			out = append(out, before+url)
		}
		if changed {
			x.drop = append(x.drop, name)
			x.writer.Header()[name] = out
		}
	}
}
