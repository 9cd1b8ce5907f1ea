package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"strings"
	"testing"

	"github.com/fairway-net/fairway/internal/testkit"
)

// issued makes an authority (PEM) and a certificate of it for a client called cn.
func issued(t *testing.T, cn string) (ca string, client tls.Certificate) {
	t.Helper()
	a := (*testkit.Authority)(nil).Authority(t, "authority")
	return a.PEM(), *ofClient(t, a, &x509.Certificate{Subject: pkix.Name{CommonName: cn}})
}

// TestClientCertificates: the answer comes in HTTP, whatever the certificate.
func TestClientCertificates(t *testing.T) {
	w := newWorld(t)
	backend, got := seen(t)
	ca, alice := issued(t, "alice")
	_, mallory := issued(t, "alice")
	w.set(service("a"), slice("a", addrOf(backend)), opaque("ca", "ca.crt", ca),
		annotate(ingress("on", "on.example", "/ a"), "auth-tls-secret", "default/ca", "auth-tls-pass-certificate-to-upstream", "true"),
		annotate(ingress("opt", "opt.example", "/ a"), "auth-tls-secret", "ca", "auth-tls-verify-client", "optional"),
		annotate(ingress("noca", "noca.example", "/ a"), "auth-tls-secret", "ca", "auth-tls-verify-client", "optional_no_ca"),
		annotate(ingress("cn", "cn.example", "/ a"), "auth-tls-secret", "ca", "auth-tls-match-cn", "CN=(bob|carol)"),
		annotate(ingress("gone", "gone.example", "/ a"), "auth-tls-secret", "nowhere"), ingress("open", "open.example", "/ a"))
	for _, c := range []struct {
		host   string
		cert   *tls.Certificate
		status int
		verify string // as the endpoint sees it; "" where it does not
	}{
		{"on.example", nil, 400, ""}, {"on.example", &alice, 200, "SUCCESS"}, {"on.example", &mallory, 400, ""},
		{"opt.example", nil, 200, "NONE"}, {"opt.example", &alice, 200, "SUCCESS"}, {"opt.example", &mallory, 400, ""},
		{"noca.example", nil, 200, "NONE"}, {"noca.example", &mallory, 200, "FAILED:"},
		{"cn.example", &alice, 403, ""}, {"gone.example", &alice, 403, ""}, {"open.example", &alice, 200, ""},
	} {
		client := w.client()
		if c.cert != nil {
			client.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{*c.cert}
		}
		got.Del("Ssl-Client-Verify")
		resp, text, err := w.try(client, "GET", "https://"+c.host+"/", nil, "Ssl-Client-Subject-Dn", "CN=root")
		if err != nil {
			t.Errorf("%+v: %v", c.host, err)
			continue
		}
		if resp.StatusCode != c.status || c.verify != "" && !strings.HasPrefix(got.Get("Ssl-Client-Verify"), c.verify) {
			t.Errorf("%s, certificate %v: %d %s, endpoint sees %q", c.host, c.cert != nil, resp.StatusCode, text, got.Get("Ssl-Client-Verify"))
		}
		if subject := got.Get("Ssl-Client-Subject-Dn"); c.verify == "SUCCESS" && subject != "CN=alice" || c.verify == "NONE" && subject != "" {
			t.Errorf("%s: the endpoint sees subject %q", c.host, subject)
		}
		if c.host == "on.example" && c.status == 200 && !strings.HasPrefix(got.Get("Ssl-Client-Cert"), "-----BEGIN%20CERTIFICATE-----%0A") {
			t.Errorf("certificate for the endpoint: %.60q", got.Get("Ssl-Client-Cert"))
		}
	}
	// Without TLS there is no name to match.
	for _, c := range []struct {
		url    string
		status int
	}{{"http://cn.example/", 403}, {"http://cn.example/.well-known/acme-challenge/x", 200}, {"http://on.example/", 200}} {
		if resp, _ := w.get(c.url); resp.StatusCode != c.status {
			t.Errorf("%s: %d, want %d", c.url, resp.StatusCode, c.status)
		}
	}
	// A connection that was made for a host without them is not good for one with.
	resp, _, err := w.try(w.client(), "GET", "https://open.example/", nil, "Host", "on.example")
	if err != nil || resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("by another host's connection: %v %v", resp, err)
	}
}
