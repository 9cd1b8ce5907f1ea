package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/h1"
)

const serverName = "fairway"

// fail answers in the place of a backend, in plain text for the person who
// wonders why.
func (x *exchange) fail(status int, text string) {
	x.revise(status, nil)
	if x.replaces(status, true) && x.errorPage(status, x.rule.Errors) {
		return
	}
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

// none is what the endpoint says of an answer that is ours.
func none(string) []string { return nil }

// respond answers as the rule says.
func (x *exchange) respond(r *route.Respond) {
	if r.Text != "" || len(r.Body) == 0 {
		text := r.Text
		if text == "" {
			text = "the rule of this path says so"
		}
		if r.Status < 300 {
			x.say(r.Status, "")
			return
		}
		x.fail(r.Status, text)
		return
	}
	x.say(r.Status, x.expand(r.Body))
}

// say answers with a text as it is.
func (x *exchange) say(status int, body string) {
	x.revise(status, nil)
	h := x.writer.Header()
	if h.Get("Content-Type") == "" && body != "" {
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	if status != http.StatusNoContent {
		h.Set("Content-Length", fmt.Sprint(len(body)))
	}
	x.writer.WriteHeader(status)
	if x.method != http.MethodHead && body != "" {
		_, _ = io.WriteString(x.writer, body)
	}
}

// follow answers with another URL.
func (x *exchange) follow(r *route.Redirect) {
	location := x.expand(r.Location)
	if r.DropSlash {
		location = strings.TrimSuffix(location, "/")
	}
	if !h1.Cleartext(location) {
		x.fail(http.StatusBadRequest, "the request cannot be part of a URL")
		return
	}
	x.redirect(location, r.Status)
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

// redirectToTLS answers with 308, unless the operator prefers another status, which keeps method and
// body. Like ingress-nginx it drops the slash at the end of the URI unless told otherwise.
func (x *exchange) redirectToTLS(p *route.Plan) {
	host := x.hostName()
	if host == "" {
		x.fail(http.StatusBadRequest, "the request has no Host, and this path is served over HTTPS only")
		return
	}
	if l := p.Listener("https"); l != nil && (l.Port != 443 || x.rule.WithPort) {
		host = fmt.Sprintf("%s:%d", host, l.Port)
	}
	uri := x.requestURI()
	if !x.rule.KeepSlash {
		uri = strings.TrimSuffix(uri, "/")
	}
	// A path like //evil.example would name another host if it stood alone;
	// behind a host it cannot.
	x.redirect("https://"+host+uri, p.Options.RedirectCode)
}

func (x *exchange) redirect(location string, status int) {
	x.revise(status, nil)
	if x.replaces(status, true) && x.errorPage(status, x.rule.Errors) {
		return
	}
	h := x.writer.Header()
	h.Set("Location", location)
	h.Set("Content-Length", "0")
	x.writer.WriteHeader(status)
}

func (x *exchange) tooLarge() {
	x.fail(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than the %d bytes that are allowed here", x.rule.MaxBody))
}
