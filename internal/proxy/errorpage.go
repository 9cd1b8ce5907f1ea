package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/fairway-net/fairway/internal/plan/route"
)

// errorPage lets the backend of error pages answer in the place of an error. It
// returns false, having written nothing, if that cannot.
func (x *exchange) errorPage(status int, e *route.Errors) bool {
	x.paged = true // the page of an error of the page is ours
	var pool *pool
	for _, key := range e.Backends {
		if pool = x.server.live.Load().pools.Get(key); !pool.empty() {
			break
		}
	}
	if pool.empty() {
		x.fail(http.StatusNotFound, "there is nobody to ask for error pages")
		return true
	}
	endpoint := pool.choose(nil, wish{}, time.Now())
	if endpoint == nil {
		return false
	}
	r := &http.Request{Method: x.method, Host: x.host, Header: x.clientHeader(), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		URL: &url.URL{Scheme: "http", Host: endpoint.key.addr.String(), Path: "/", RawQuery: x.query}}
	x.describe(r.Header, status)
	resp, err := x.server.asker.client.Do(r)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	h := x.writer.Header()
	for name, values := range resp.Header {
		switch name {
		case "Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Server", "Date":
		default:
			h[name] = values
		}
	}
	coding := -1
	if o := x.plan.Options.Compress; o != nil && h.Get("Content-Encoding") == "" {
		var vary bool
		if coding, vary = x.coding(o, resp.StatusCode, h.Get("Content-Type"), resp.ContentLength); vary {
			h.Add("Vary", "Accept-Encoding")
		}
	}
	if coding >= 0 {
		h.Set("Content-Encoding", codingNames[coding])
		h.Del("Content-Length")
	} else if resp.ContentLength >= 0 {
		h.Set("Content-Length", fmt.Sprint(resp.ContentLength))
	}
	x.writer.WriteHeader(resp.StatusCode)
	switch {
	case x.method == http.MethodHead:
	case coding >= 0:
		x.server.encoders.copy(coding, x.plan.Options.Compress, x.writer, resp.Body)
	default:
		_, _ = io.Copy(x.writer, resp.Body)
	}
	return true
}

// describe adds the headers by which the backend of error pages knows what happened.
func (x *exchange) describe(h http.Header, status int) {
	for _, f := range x.reason(status) {
		h.Set(f.Name, f.Value)
	}
	h.Set("X-Original-Uri", x.requestURI())
	h.Set("X-Request-Id", x.id)
	h.Set("X-Forwarded-For", x.client)
}

// reason says what happened to whom.
func (x *exchange) reason(status int) []route.Header {
	out := []route.Header{{Name: "X-Code", Value: strconv.Itoa(status)}, {Name: "X-Namespace", Value: x.rule.Source.Ref.Namespace}, {Name: "X-Ingress-Name", Value: x.rule.Source.Ref.Name.Name}}
	if accept := x.fields.Get("Accept"); accept != "" {
		out = append(out, route.Header{Name: "X-Format", Value: accept})
	}
	if f := x.rule.Forward; f != nil {
		b := &f.Targets[0].Backend
		out = append(out, route.Header{Name: "X-Service-Name", Value: b.Service.Name}, route.Header{Name: "X-Service-Port", Value: b.Port.String()})
	}
	return out
}

// replaces says that an error is to be answered by the backend of error pages.
func (x *exchange) replaces(status int, own bool) bool {
	if x.rule == nil || x.rule.Errors == nil || x.paged {
		return false
	}
	e := x.rule.Errors
	return e.Replaces(status) && (own || !e.OwnOnly)
}
