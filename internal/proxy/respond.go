package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/fairway-net/fairway/internal/plan/route"
)

const serverName = "fairway"

// fail answers in the place of a backend, in plain text for the person who
// wonders why.
func (x *exchange) fail(status int, text string) {
	h := x.writer.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
	body := fmt.Sprintf("%d %s\n%s\n", status, http.StatusText(status), text)
	h.Set("Content-Length", fmt.Sprint(len(body)))
	x.writer.WriteHeader(status)
	if x.request.Method != http.MethodHead {
		_, _ = io.WriteString(x.writer, body)
	}
}

func (x *exchange) notFound(host *route.Host) {
	name := printable(x.request.Host)
	if host.Pattern == "" && len(host.Rules) == 0 {
		x.fail(http.StatusNotFound, fmt.Sprintf("no Ingress has a rule for host %s", name))
		return
	}
	x.fail(http.StatusNotFound, fmt.Sprintf("the Ingress rules for host %s have no path that matches %s", name, printable(x.forward)))
}

// printable keeps what comes from the client short and harmless.
func printable(s string) string {
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return fmt.Sprintf("%q", s)
}

// redirectToTLS answers 308, which keeps method and body.
func (x *exchange) redirectToTLS(p *route.Plan) {
	host := x.request.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
		if strings.Contains(h, ":") {
			host = "[" + h + "]"
		}
	}
	if host == "" {
		x.fail(http.StatusBadRequest, "the request has no Host, and this path is served over HTTPS only")
		return
	}
	if l := p.Listener("https"); l != nil && l.Port != 443 {
		host = fmt.Sprintf("%s:%d", host, l.Port)
	}
	// A path like //evil.example would make the location name another host if
	// it stood alone; behind a host it cannot.
	location := "https://" + host + x.forward
	if q := x.request.URL.RawQuery; q != "" {
		location += "?" + q
	}
	h := x.writer.Header()
	h.Set("Location", location)
	h.Set("Content-Length", "0")
	x.writer.WriteHeader(http.StatusPermanentRedirect)
}
