package proxy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/fairway-net/fairway/internal/model"
)

// TestCertManager goes through what cert-manager does to a new Ingress: its Secret does not
// exist, so that it is served over plain HTTP; an Ingress of the solver, of the older class
// annotation, is merged into the host and is asked without password and redirect; then
// the Secret arrives, and the challenge goes. A connection that was open all the time
// sees it all, and the Secret is renewed under it.
func TestCertManager(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app, solver := w.backend("app"), w.backend("solver")
	const token = "/.well-known/acme-challenge/abc"
	site := annotate(ingress("site", "h.example", "/ app"), "auth-type", "basic", "auth-secret", "users")
	site.TLS = []model.IngressTLS{{Hosts: []string{"h.example"}, Secret: "site-tls"}}
	forced := annotate(ingress("forced", "f.example", "/ app"), "force-ssl-redirect", "true", "auth-url", "http://127.0.0.1:1/")
	objects := []any{service("app"), slice("app", addrOf(app)), opaque("users", "auth", "alice:{PLAIN}secret"), site, forced}
	w.set(objects...)

	conn, err := tls.Dial("tcp", w.server.Addr("https").String(), &tls.Config{ServerName: "h.example", InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	still := func(when, path string, want int) {
		t.Helper()
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: h.example\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n", path)
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != want {
			t.Fatalf("%s: the open connection: %v %v", when, resp, err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(when, url string, status int, backend string, headers ...string) {
		t.Helper()
		resp, _ := w.get(url, headers...)
		if resp.StatusCode != status || resp.Header.Get("X-Backend") != backend {
			t.Errorf("%s: %s: %d from %q, want %d from %q", when, url, resp.StatusCode, resp.Header.Get("X-Backend"), status, backend)
		}
	}
	password := []string{"Authorization", "Basic YWxpY2U6c2VjcmV0"}
	certificate := func(when string, want *model.Secret) {
		t.Helper()
		c, err := tls.Dial("tcp", w.server.Addr("https").String(), &tls.Config{ServerName: "h.example", InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		leaf := c.ConnectionState().PeerCertificates[0]
		if want == nil {
			if len(leaf.DNSNames) == 1 && leaf.DNSNames[0] == "h.example" {
				t.Errorf("%s: a certificate for h.example", when)
			}
			return
		}
		pair, err := tls.X509KeyPair(want.Data["tls.crt"], want.Data["tls.key"])
		if err != nil || !pair.Leaf.Equal(leaf) {
			t.Errorf("%s: certificate of %v, %v", when, leaf.DNSNames, err)
		}
	}

	ask("without Secret", "http://h.example/", 200, "app", password...)
	ask("without Secret", "http://h.example/", 401, "")
	ask("without Secret", "http://f.example/", 308, "")
	certificate("without Secret", nil)
	still("without Secret", "/", 200)

	challenge := func(name, host string) *model.Ingress {
		c := ingress("cm-acme-http-solver-"+name, host, token+" solver")
		c.ClassName, c.ClassAnnotation = "", "nginx"
		c.Rules[0].Paths[0].Type, c.Rules[0].Paths[0].Backend.Port.Int = model.ImplementationSpecific, 8089
		c.Created = c.Created.AddDate(0, 0, 1)
		return c
	}
	solverService := service("solver")
	solverService.Ports[0].Port = 8089
	w.set(solverService, slice("solver", addrOf(solver)), challenge("h", "h.example"), challenge("f", "f.example"))
	for _, host := range []string{"h.example", "f.example"} {
		ask("during the challenge", "http://"+host+token, 200, "solver")
	}
	ask("during the challenge", "http://h.example/", 200, "app", password...)
	ask("during the challenge", "http://h.example/", 401, "")
	ask("during the challenge", "http://f.example/", 308, "")
	still("during the challenge", token, 200)

	first := secret(t, "site-tls", "h.example")
	w.set(first)
	certificate("with the Secret", first)
	ask("with the Secret", "https://h.example/", 200, "app", password...)
	ask("with the Secret", "http://h.example/", 308, "")
	ask("with the Secret", "http://h.example"+token, 200, "solver") // of a renewal
	still("with the Secret", "/", 200)

	gone := challenge("h", "h.example")
	gone.ClassAnnotation = "other"
	w.set(gone)
	ask("after the challenge", "http://h.example"+token, 401, "")
	renewed := secret(t, "site-tls", "h.example")
	w.set(renewed)
	certificate("renewed", renewed)
	still("renewed", "/", 200)
	for _, r := range w.server.live.Load().plan.Rejected {
		t.Errorf("rejected: %v", r)
	}
}
