package proxy

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
)

// requestID is the client's X-Request-ID, or a new one.
func requestID(claimed string) string {
	if claimed != "" && len(claimed) <= 200 {
		return claimed
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // does not fail (crypto/rand)
	return hex.EncodeToString(b[:])
}

// setForwarded gives the request to a backend the headers that ingress-nginx
// gives it. What the client claims about itself in them is replaced, for nobody
// has said that it is to be trusted; its X-Forwarded-For survives under another name.
func (x *exchange) setForwarded(h http.Header) {
	client, scheme := x.client, x.scheme()
	if claimed := x.fields.Values("X-Forwarded-For"); len(claimed) > 0 {
		h["X-Original-Forwarded-For"] = []string{strings.Join(claimed, ", ")}
	} else {
		delete(h, "X-Original-Forwarded-For")
	}
	h["X-Request-Id"] = []string{x.id}
	h["X-Real-Ip"] = []string{client}
	h["X-Forwarded-For"] = []string{client}
	h["X-Forwarded-Host"] = []string{x.host}
	h["X-Forwarded-Port"] = []string{fmt.Sprint(x.listener.Port)}
	h["X-Forwarded-Proto"] = []string{scheme}
	h["X-Forwarded-Scheme"] = []string{scheme}
	h["X-Scheme"] = []string{scheme}
}

// dropAmbiguous removes request headers that backends may take for others:
// names with an underscore, which CGI cannot tell from a dash (nginx's
// underscores_in_headers), and Proxy, which CGI turns into HTTP_PROXY
// (CVE-2016-5385).
func dropAmbiguous(h http.Header) {
	delete(h, "Proxy")
	for name := range h {
		if strings.Contains(name, "_") {
			delete(h, name)
		}
	}
}
