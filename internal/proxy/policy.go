package proxy

import (
	"net/http"
	"slices"

	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// allowed says whether the client's address may ask.
func (x *exchange) allowed(a *route.Access) bool {
	return x.remote.IsValid() && a.Allows(x.remote)
}

// welcome says whether the rule lets the client in; if not, it has been answered.
func (x *exchange) welcome(r *route.Rule) bool {
	var guards [3]func(*route.Rule) (bool, func())
	n := 0
	if r.Access != nil {
		guards[n] = x.fromHere
		n++
	}
	if r.Password != nil {
		guards[n] = x.named
		n++
	}
	if r.Auth != nil {
		guards[n] = x.approved
		n++
	}
	var answer func()
	for _, guard := range guards[:n] {
		ok, deny := guard(r)
		if ok == r.Any { // one is enough, or one is too many
			if !ok {
				deny()
			}
			return ok
		}
		if !ok {
			answer = deny // the last one: who can say who he is gets to know how
		}
	}
	if r.Any {
		answer()
		return false
	}
	return true
}

func (x *exchange) fromHere(r *route.Rule) (bool, func()) {
	return x.allowed(r.Access), func() { x.fail(http.StatusForbidden, "requests from your address are not allowed here") }
}

func (x *exchange) named(r *route.Rule) (bool, func()) {
	ok, challenge := x.identified(r.Password)
	return ok, func() { x.unauthorized(challenge) }
}

func (x *exchange) approved(r *route.Rule) (bool, func()) { return x.permitted(r.Auth) }

// corsHeaders are ours where a rule has CORS; a backend's are replaced.
var corsHeaders = [...]string{"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Allow-Methods",
	"Access-Control-Allow-Headers", "Access-Control-Expose-Headers", "Access-Control-Max-Age"}

func ownedByCORS(name []byte) bool {
	return slices.ContainsFunc(corsHeaders[:], func(ours string) bool { return h1.SameName(name, ours) })
}

// cors puts the headers on the response, whoever makes it, and answers OPTIONS
// itself. It returns whether it has.
func (x *exchange) cors(c *route.CORS) bool {
	origin := c.Allow(x.fields.Get("Origin"))
	if origin == "" {
		return false
	}
	h := x.writer.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	if origin != "*" {
		h.Add("Vary", "Origin")
	}
	if c.Credentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	h.Set("Access-Control-Allow-Methods", c.Methods)
	h.Set("Access-Control-Allow-Headers", c.Headers)
	if c.Expose != "" {
		h.Set("Access-Control-Expose-Headers", c.Expose)
	}
	h.Set("Access-Control-Max-Age", c.MaxAge)
	x.ownsCORS = true
	if x.method != http.MethodOptions {
		return false
	}
	h.Set("Content-Type", "text/plain charset=UTF-8")
	h.Set("Content-Length", "0")
	x.writer.WriteHeader(http.StatusNoContent)
	return true
}

func (x *exchange) cookie(name string) string {
	r := http.Request{Header: http.Header{"Cookie": x.fields.Values("Cookie")}}
	c, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}
