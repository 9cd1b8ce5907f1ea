package proxy

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/plan/route"
)

// cookie is the value of an affinity cookie: "KEY|BACKEND", as in ingress-nginx. In the
// mode persistent KEY is the token of an endpoint, and the client stays there until it
// leaves. In the mode balanced it is a random text that is hashed, so that endpoints that
// come take over their share of the clients, and one that leaves hands on only its own.
type cookie struct {
	key, backend string
	balanced     bool
}

// stickyCookie is the client's affinity cookie; without a key if there is none.
func (x *exchange) stickyCookie(a *route.Affinity) cookie {
	c := cookie{balanced: !a.Persistent}
	c.key, c.backend, _ = strings.Cut(x.cookie(a.Cookie), "|")
	if len(c.key) > 64 {
		c.key = ""
	}
	return c
}

// tag tells apart the backends of a rule in a cookie, and tells clients nothing.
func (p *pool) tag() string { return fmt.Sprintf("%x", rendezvous("backend", p.backend.Key.String())) }

// owner is the endpoint that a cookie belongs to, if it was not tried and fits.
func (p *pool) owner(tried []*endpoint, c cookie, fit func(*endpoint) bool) *endpoint {
	if c.balanced {
		return topOf(p.endpoints, tried, c.key, fit)
	}
	if e := p.named(c.key); e != nil && !slices.Contains(tried, e) && fit(e) {
		return e
	}
	return nil
}

// named returns the endpoint with a token, nil if it has left.
func (p *pool) named(token string) *endpoint {
	for _, e := range p.endpoints {
		if e.token == token {
			return e
		}
	}
	return nil
}

// renew gives the exchange a cookie of the mode balanced if the client has none, or is to
// get another one because its endpoint failed. The key is one that does not lead to
// an endpoint that was tried, if that is to be had.
func (x *exchange) renew(w *wish, p *pool, tried []*endpoint) {
	a := x.rule.Forward.Affinity
	if a == nil || a.Persistent || w.sticky.key != "" && (len(tried) == 0 || !a.ChangeOnFailure) {
		return
	}
	now := time.Now()
	for range 20 {
		var b [8]byte
		for i := range b {
			b[i] = byte(rand.Uint32())
		}
		w.sticky.key = hex.EncodeToString(b[:])
		if e := topOf(p.endpoints, nil, w.sticky.key, func(*endpoint) bool { return true }); e == nil || !slices.Contains(tried, e) && e.well(now) {
			break
		}
	}
	x.newCookie = w.sticky.key
}

// keeps says that a client's cookie still stands for an endpoint, although another one
// has to be asked this time.
func (p *pool) keeps(c cookie) bool { return c.key != "" && (c.balanced || p.named(c.key) != nil) }

// stick gives the client the cookie of its endpoint, unless it has it.
func (x *exchange) stick(a *route.Affinity, h http.Header) {
	if x.endpoint == nil || x.keepCookie {
		return
	}
	key := x.endpoint.token
	if !a.Persistent {
		key = x.newCookie
	}
	if key == "" || x.stickyCookie(a).key == key {
		return
	}
	c := http.Cookie{Name: a.Cookie, Value: key + "|" + x.served.tag(), Path: a.Path, Domain: a.Domain, MaxAge: a.MaxAge, HttpOnly: true, Secure: x.listener.TLS}
	if a.Secure != nil {
		c.Secure = *a.Secure
	}
	if a.Expires > 0 {
		c.Expires = x.start.Add(time.Duration(a.Expires) * time.Second)
	}
	switch a.SameSite {
	case "None":
		if !a.LaxNone || understandsNone(x.fields.Get("User-Agent")) {
			c.SameSite = http.SameSiteNoneMode
		}
	case "Lax":
		c.SameSite = http.SameSiteLaxMode
	case "Strict":
		c.SameSite = http.SameSiteStrictMode
	}
	h.Add("Set-Cookie", c.String())
}

// understandsNone says that a browser does not take SameSite=None for Strict, nor
// refuses such a cookie: Chrome 51 to 66, UC before 12.13.2, and Safari of iOS 12 and
// macOS 10.14 do (https://www.chromium.org/updates/same-site/incompatible-clients).
func understandsNone(agent string) bool {
	switch {
	case strings.Contains(agent, "CPU iPhone OS 12_"), strings.Contains(agent, "iPad; CPU OS 12_"):
		return false
	case strings.Contains(agent, "OS X 10_14") && strings.Contains(agent, "Version/") && strings.Contains(agent, "Safari"):
		return false
	}
	for _, product := range []string{"Chrome/", "Chromium/"} {
		if _, after, ok := strings.Cut(agent, product); ok {
			version := 0
			_, _ = fmt.Sscan(after, &version) // up to the first dot
			if version >= 51 && version <= 66 {
				return false
			}
		}
	}
	return true
}
