package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/testkit"
)

// ofClient is a certificate that a issues to a client, if template does not say to whom.
func ofClient(t *testing.T, a *testkit.Authority, template *x509.Certificate) *tls.Certificate {
	if template.ExtKeyUsage == nil {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	return a.Issue(t, template)
}

// TestClientCertificatesLikeNginx asks Debian's nginx, configured as ingress-nginx
// would, and a gateway with the same certificates, and compares the answers and what the
// endpoint is told of the client.
func TestClientCertificatesLikeNginx(t *testing.T) {
	w := &twins{world: newWorld(t), seen: map[string]*sight{}}
	main := w.endpoint("main")
	root := (*testkit.Authority)(nil).Authority(t, "root")
	one := root.Authority(t, "one")
	two := one.Authority(t, "two")
	server := secret(t, "server", "on.example")
	hosts := []struct{ host, annotations, nginx string }{
		{"on.example", "auth-tls-pass-certificate-to-upstream=true", "ssl_verify_client on; ssl_verify_depth 1;"},
		{"optional.example", "auth-tls-verify-client=optional", "ssl_verify_client optional; ssl_verify_depth 1;"},
		{"any.example", "auth-tls-verify-client=optional_no_ca", "ssl_verify_client optional_no_ca; ssl_verify_depth 1;"},
		{"depth0.example", "auth-tls-verify-depth=0", "ssl_verify_client on; ssl_verify_depth 0;"},
		{"depth2.example", "auth-tls-verify-depth=2", "ssl_verify_client on; ssl_verify_depth 2;"},
		{"cn.example", "auth-tls-match-cn=CN=(bob|alice)", `ssl_verify_client on; ssl_verify_depth 1; if ($ssl_client_s_dn !~ "CN=(bob|alice)") { return 403; }`},
		{"cnopt.example", "auth-tls-match-cn=CN=bob;auth-tls-verify-client=optional", `ssl_verify_client optional; ssl_verify_depth 1; if ($ssl_client_s_dn !~ "CN=bob") { return 403; }`},
		{"page.example", "auth-tls-error-page=https://help.example/", "ssl_verify_client on; ssl_verify_depth 1; error_page 495 496 = https://help.example/;"},
	}
	var conf strings.Builder
	w.nginx = "127.0.0.1:" + freePorts(t, 1)[0]
	conf.WriteString(`  access_log off; server_tokens off; ssl_certificate server.crt; ssl_certificate_key server.key; ssl_client_certificate ca.crt;
  proxy_set_header Host $http_host; proxy_set_header ssl-client-cert ""; proxy_set_header ssl-client-verify $ssl_client_verify; proxy_set_header ssl-client-subject-dn $ssl_client_s_dn; proxy_set_header ssl-client-issuer-dn $ssl_client_i_dn;
`)
	objects := []any{opaque("ca", "ca.crt", root.PEM()), service("main"), slice("main", netip.MustParseAddrPort(main))}
	for i, h := range hosts {
		cert := ""
		if i == 0 {
			cert = "proxy_set_header ssl-client-cert $ssl_client_escaped_cert; proxy_set_header ssl-client-verify $ssl_client_verify; proxy_set_header ssl-client-subject-dn $ssl_client_s_dn; proxy_set_header ssl-client-issuer-dn $ssl_client_i_dn; "
		}
		fmt.Fprintf(&conf, "  server { listen %s ssl; server_name %s; %s location / { %sproxy_pass http://%s; } }\n", w.nginx, h.host, h.nginx, cert, main)
		ing := annotate(ingress(strings.TrimSuffix(h.host, ".example"), h.host, "/ main"), "auth-tls-secret", "ca")
		for _, a := range strings.Split(h.annotations, ";") {
			key, value, _ := strings.Cut(a, "=")
			annotate(ing, key, value)
		}
		objects = append(objects, ing)
	}
	w.runNginx(conf.String(), map[string]string{"ca.crt": root.PEM(), "server.crt": string(server.Data["tls.crt"]), "server.key": string(server.Data["tls.key"])})
	w.set(objects...)
	email := pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, Value: "alice@example.com"}
	unit := pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}, Value: "corp"}
	full := pkix.Name{CommonName: `alice, "A" <a>+b=c;d\e`, Organization: []string{"Acme #1"}, OrganizationalUnit: []string{"dev", "ops"}, Country: []string{"DE"}, Province: []string{"BY"}, Locality: []string{" München "},
		StreetAddress: []string{"Road 1"}, PostalCode: []string{"80331"}, SerialNumber: "7", ExtraNames: []pkix.AttributeTypeAndValue{email, unit}}
	alice := pkix.Name{CommonName: "alice"}
	hour := time.Hour
	clients := map[string]*tls.Certificate{
		"nobody": nil, "alice": ofClient(t, root, &x509.Certificate{Subject: alice}), "full": ofClient(t, root, &x509.Certificate{Subject: full}),
		"one between": ofClient(t, one, &x509.Certificate{Subject: alice}), "two between": ofClient(t, two, &x509.Certificate{Subject: alice}),
		"a stranger":    ofClient(t, (*testkit.Authority)(nil).Authority(t, "root"), &x509.Certificate{Subject: alice}),
		"expired":       ofClient(t, root, &x509.Certificate{Subject: alice, NotBefore: time.Now().Add(-2 * hour), NotAfter: time.Now().Add(-hour)}),
		"too early":     ofClient(t, root, &x509.Certificate{Subject: alice, NotBefore: time.Now().Add(hour), NotAfter: time.Now().Add(2 * hour)}),
		"a server":      ofClient(t, root, &x509.Certificate{Subject: alice, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}),
		"nobody at all": ofClient(t, root, &x509.Certificate{Subject: pkix.Name{Organization: []string{"CN=alice"}}}),
	}
	for _, h := range hosts {
		for who, cert := range clients {
			theirs, ours := w.asClient(t, w.nginx, h.host, cert), w.asClient(t, w.server.Addr("https").String(), h.host, cert)
			if theirs != ours {
				t.Errorf("%s, %s:\n  %s\n  nginx: %s", h.host, who, ours, theirs)
			}
		}
	}
}

// asClient is the answer, and what the endpoint was told.
func (w *twins) asClient(t *testing.T, addr, host string, cert *tls.Certificate) string {
	w.mu.Lock()
	w.next++
	id := fmt.Sprint("id", w.next)
	w.mu.Unlock()
	config := &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if cert == nil {
			return &tls.Certificate{}, nil
		}
		return cert, nil // whatever authorities the server names
	}}
	client := &http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}}}
	resp, _, err := w.try(client, "GET", "https://"+host+"/", nil, "X-Test-Id", id, "Ssl-Client-Subject-Dn", "CN=mallory")
	if err != nil {
		return err.Error()
	}
	out := fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("Location"))
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.seen[id+" main"]; s != nil {
		verify, _, _ := strings.Cut(s.header.Get("Ssl-Client-Verify"), ":") // the reason is OpenSSL's
		out += fmt.Sprintf(" %s subject %q issuer %q certificate %q", verify, s.header.Get("Ssl-Client-Subject-Dn"), s.header.Get("Ssl-Client-Issuer-Dn"), s.header.Get("Ssl-Client-Cert"))
	}
	return out
}
