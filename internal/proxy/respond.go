package proxy

import (
	"fmt"
	"io"
	"net/http"

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
	if x.method != http.MethodHead {
		_, _ = io.WriteString(x.writer, body)
	}
}

func (x *exchange) notFound(host *route.Host) {
	name := printable(x.host)
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
	host := x.hostName()
	if host == "" {
		x.fail(http.StatusBadRequest, "the request has no Host, and this path is served over HTTPS only")
		return
	}
	if l := p.Listener("https"); l != nil && l.Port != 443 {
		host = fmt.Sprintf("%s:%d", host, l.Port)
	}
	// A path like //evil.example would name another host if it stood alone;
	// behind a host it cannot.
	x.redirect("https://"+host+x.requestURI(), http.StatusPermanentRedirect)
}

func (x *exchange) redirect(location string, status int) {
	h := x.writer.Header()
	h.Set("Location", location)
	h.Set("Content-Length", "0")
	x.writer.WriteHeader(status)
}

func (x *exchange) tooLarge() {
	x.fail(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than the %d bytes that are allowed here", x.rule.MaxBody))
}
