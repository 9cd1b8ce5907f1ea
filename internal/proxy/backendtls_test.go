package proxy

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestBackendTLS: certificates of endpoints are verified where the Ingress asks
// for it, and TLS can pass as it is.
func TestBackendTLS(t *testing.T) {
	w := newWorld(t)
	s := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { fmt.Fprint(rw, "sni ", r.TLS.ServerName) }))
	t.Cleanup(s.Close)
	own := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	other, _ := issued(t, "x")
	w.set(service("a"), slice("a", addrOf(s)), opaque("own", "ca.crt", own), opaque("other", "ca.crt", other),
		annotate(ingress("a", "any.example", "/ a"), "backend-protocol", "HTTPS"),
		annotate(ingress("b", "own.example", "/ a"), "backend-protocol", "HTTPS", "proxy-ssl-secret", "default/own", "proxy-ssl-verify", "on", "proxy-ssl-name", "example.com", "proxy-ssl-server-name", "on"),
		annotate(ingress("c", "other.example", "/ a"), "backend-protocol", "HTTPS", "proxy-ssl-secret", "default/other", "proxy-ssl-verify", "on", "proxy-ssl-name", "example.com"),
		annotate(ingress("d", "name.example", "/ a"), "backend-protocol", "HTTPS", "proxy-ssl-secret", "default/own", "proxy-ssl-verify", "on", "proxy-ssl-name", "wrong.example"),
		annotate(ingress("e", "auto.example", "/ a"), "backend-protocol", "AUTO_HTTP"),
		annotate(ingress("f", "passed.example", "/ a"), "ssl-passthrough", "true"))
	for _, c := range []struct {
		url    string
		status int
		text   string
	}{{"http://any.example/", 200, "sni "}, {"http://own.example/", 200, "sni example.com"}, {"http://other.example/", 502, ""}, {"http://name.example/", 502, ""},
		{"https://auto.example/", 200, "sni "}, {"https://passed.example/", 200, "sni passed.example"}} {
		resp, text := w.get(c.url)
		if resp.StatusCode != c.status || c.status == 200 && text != c.text {
			t.Errorf("%s: %d %q, want %d %q", c.url, resp.StatusCode, text, c.status, c.text)
		}
	}
}
