package proxy

import (
	"net/http"
	"testing"

	"github.com/fairway-net/fairway/internal/dialect/fairway"
)

// TestConditions: the same path goes by method, header and argument, in every version.
func TestConditions(t *testing.T) {
	w := newWorld(t)
	for name, condition := range map[string]string{"rest": "", "methods": "PUT,DELETE", "headers": `X-Env~^canary\b,X-Debug`, "query": "v=a b"} {
		ing := ingress(name, "h.example", "/ "+name)
		if condition != "" {
			ing.Annotations[fairway.Prefix+"match-"+name] = condition
		}
		w.set(service(name), slice(name, addrOf(w.backend(name))), ing)
	}
	for _, c := range []struct {
		method, query string
		header        http.Header
		want          string
	}{
		{"GET", "", nil, "rest"},
		{"PUT", "", nil, "methods"},
		{"PUT", "", http.Header{"X-Env": {"canary"}, "X-Debug": {""}}, "methods"},
		{"HEAD", "", http.Header{"X-Env": {"canary"}, "X-Debug": {""}}, "headers"},
		{"GET", "", http.Header{"X-Env": {"canary", "eu"}, "X-Debug": {"1"}}, "headers"},
		{"GET", "", http.Header{"X-Env": {"eu", "canary"}, "X-Debug": {"1"}}, "rest"},
		{"GET", "v=a%20b", http.Header{"X-Env": {"canary"}}, "query"},
		{"GET", "w=1&v=a+b&v=c", nil, "query"},
		{"GET", "v=c&v=a+b", nil, "rest"},
		{"GET", "V=a+b", nil, "rest"},
	} {
		for _, scheme := range []string{"http", "https"} {
			var fields []string
			for name, values := range c.header {
				for _, v := range values {
					fields = append(fields, name, v)
				}
			}
			resp, _ := w.request(c.method, scheme+"://h.example/x?"+c.query, nil, fields...)
			if got := resp.Header.Get("X-Backend"); got != c.want {
				t.Errorf("%s %s ?%s %v: %q, want %q", scheme, c.method, c.query, c.header, got, c.want)
			}
		}
	}
}
