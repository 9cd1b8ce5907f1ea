package proxy

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// identify believes what a load balancer in front of us says of the client, if
// the operator has said that it may. As in nginx with real_ip_recursive the client
// is the last address of the list that is not a load balancer's.
func (x *exchange) identify(o *route.Options) {
	if !o.Believes(x.remote) {
		x.forwarded.by = x.client
		return
	}
	if proto := first(x.fields.Get("X-Forwarded-Proto")); proto == "http" || proto == "https" {
		x.forwarded.scheme = proto
	}
	x.forwarded.by = x.client
	x.forwarded.host = first(x.fields.Get("X-Forwarded-Host"))
	if port := first(x.fields.Get("X-Forwarded-Port")); port != "" {
		x.forwarded.port = port
	}
	list := strings.Split(strings.Join(x.fields.Values(o.ForwardedForHeader), ","), ",")
	for i := len(list) - 1; i >= 0; i-- {
		addr, err := netip.ParseAddr(strings.TrimSpace(list[i]))
		if err != nil {
			if with, err := netip.ParseAddrPort(strings.TrimSpace(list[i])); err == nil {
				addr = with.Addr()
			} else {
				return
			}
		}
		x.remote, x.client = addr.Unmap(), addr.Unmap().String()
		if !o.Believes(x.remote) {
			return
		}
	}
}

// arrived takes over where the client arrived, as the PROXY protocol says: at port 443 it
// was over TLS, which the load balancer has taken off.
func (x *exchange) arrived() {
	x.forwarded.port = strconv.Itoa(int(x.at.Port()))
	if x.at.Port() == 443 {
		x.forwarded.scheme = "https"
	}
}

// forwarded is what a trusted load balancer says of the request; "" where it does not.
type forwarded struct {
	scheme, host, port string
	by                 string // the load balancer's own address
}

// addForwarded gives an endpoint the headers that ingress-nginx gives it. What the
// client claims about itself in them is replaced, unless it is to be trusted; its
// X-Forwarded-For survives under another name (see call.head).
func (x *exchange) addForwarded(add func(name, value string)) {
	scheme, host, port, list := x.scheme(), x.host, x.forwarded.port, x.client
	if x.forwarded.host != "" {
		host = x.forwarded.host
	}
	if port == "" {
		port = strconv.Itoa(int(x.listener.Port))
	}
	if o := x.plan.Options; o.FullForwardedFor && o.UseForwardedHeaders {
		if claimed := strings.Join(x.fields.Values(o.ForwardedForHeader), ", "); claimed != "" && h1.Cleartext(claimed) {
			list = claimed + ", " + x.forwarded.by
		}
	}
	add("X-Request-Id", x.id)
	add("X-Real-Ip", x.client)
	add("X-Forwarded-For", list)
	add("X-Forwarded-Host", host)
	add("X-Forwarded-Port", port)
	add("X-Forwarded-Proto", scheme)
	add("X-Forwarded-Scheme", scheme)
	add("X-Scheme", scheme)
}

func first(list string) string {
	one, _, _ := strings.Cut(list, ",")
	return strings.TrimSpace(one)
}

// blocked says that the operator lets nobody in who is like this client.
func (x *exchange) blocked(b *route.Block) bool {
	for _, p := range b.Clients {
		if p.Contains(x.remote) {
			return true
		}
	}
	agent, referer := x.fields.Get("User-Agent"), x.fields.Get("Referer")
	for _, re := range b.Agents {
		if re.MatchString(agent) {
			return true
		}
	}
	for _, re := range b.Referers {
		if re.MatchString(referer) {
			return true
		}
	}
	return false
}
