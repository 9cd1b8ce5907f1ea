package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/model"
)

func TestRouting(t *testing.T) {
	w := newWorld(t)
	a, b := w.backend("a"), w.backend("b")
	w.set(service("a"), slice("a", addrOf(a)), service("b"), slice("b", addrOf(b)), service("none"),
		ingress("shop", "shop.example.com", "/api a", "/web b", "/none none", "/gone gone"),
		ingress("wild", "*.example.com", "/ b"))
	for _, c := range []struct {
		url    string
		status int
		text   string
	}{
		{"http://shop.example.com/api", 200, "a GET /api host=shop.example.com"},
		{"http://shop.example.com/api/v1?x=1&y=a;b", 200, "a GET /api/v1?x=1&y=a;b"},
		{"http://shop.example.com/api//x/%2Fy", 200, "a GET /api//x/%2Fy"},
		{"http://shop.example.com/web/x", 200, "b GET /web/x"},
		{"http://SHOP.example.com/web", 200, "b GET /web host=SHOP.example.com"},
		{"http://other.example.com/x", 200, "b GET /x"},
		{"https://shop.example.com/api", 200, "a GET /api"},
		{"http://shop.example.com/apix", 404, `rules for host "shop.example.com" have no path that matches "/apix"`},
		{"http://a.b.example.com/", 404, `no Ingress has a rule for host "a.b.example.com"`},
		{"http://shop.example.com/none", 503, "Service default/none has no endpoint that is ready"},
		{"http://shop.example.com/gone", 503, "Service default/gone does not exist"},
		{"http://shop.example.com/api/%2e%2e/web", 400, "ambiguous"},
	} {
		resp, text := w.get(c.url)
		if resp.StatusCode != c.status || !strings.Contains(text, c.text) {
			t.Errorf("%s: %d %q, want %d …%s…", c.url, resp.StatusCode, text, c.status, c.text)
		}
		if got := resp.Header["Server"]; len(got) != 1 || got[0] != "fairway" {
			t.Errorf("%s: Server %q", c.url, got)
		}
	}
	if resp, text := w.request("POST", "http://shop.example.com/api", strings.NewReader("hello")); resp.StatusCode != 200 || !strings.Contains(text, "a POST /api host=shop.example.com body=hello") {
		t.Errorf("POST: %d %q", resp.StatusCode, text)
	}
	if resp, _ := w.request("HEAD", "http://shop.example.com/apix", nil); resp.StatusCode != 404 {
		t.Errorf("HEAD: %d", resp.StatusCode)
	}
}

func TestBeforeTheFirstPlan(t *testing.T) {
	w := newWorld(t)
	if w.server.Ready() == nil {
		t.Error("ready without a plan")
	}
	if resp, text := w.get("http://a/"); resp.StatusCode != 503 || !strings.Contains(text, "starting") {
		t.Errorf("%d %q", resp.StatusCode, text)
	}
	w.set()
	if w.server.Ready() != nil {
		t.Error("not ready with a plan")
	}
}

// seen is a backend that returns the request's headers.
func seen(t *testing.T) (*httptest.Server, *http.Header) {
	var h http.Header
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { h = r.Header.Clone() }))
	t.Cleanup(s.Close)
	return s, &h
}

func TestHeadersToTheBackend(t *testing.T) {
	w := newWorld(t)
	s, h := seen(t)
	w.set(service("a"), slice("a", addrOf(s)), ingress("i", "", "/ a"))
	for _, c := range []struct{ url, scheme, port string }{{"http://h.example:8080/", "http", "80"}, {"https://h.example/", "https", "443"}} {
		headers := []string{"X-Forwarded-For", "192.0.2.1", "X-Forwarded-For", "192.0.2.2", "X-Forwarded-Proto", "gopher", "X-Real-Ip", "192.0.2.3",
			"Proxy", "http://evil", "X_Forwarded_For", "192.0.2.4", "User-Agent", "me/1", "X-Own", "2"}
		if c.scheme == "http" { // HTTP/2 has no such header
			headers = append(headers, "Connection", "X-Hop", "X-Hop", "1")
		}
		w.get(c.url, headers...)
		got := *h
		for name, want := range map[string]string{
			"X-Forwarded-For":          "127.0.0.1",
			"X-Original-Forwarded-For": "192.0.2.1, 192.0.2.2",
			"X-Real-Ip":                "127.0.0.1",
			"X-Forwarded-Host":         strings.TrimSuffix(strings.SplitN(c.url, "/", 4)[2], "/"),
			"X-Forwarded-Port":         c.port,
			"X-Forwarded-Proto":        c.scheme,
			"X-Forwarded-Scheme":       c.scheme,
			"X-Scheme":                 c.scheme,
			"User-Agent":               "me/1",
			"X-Own":                    "2",
			"Proxy":                    "",
			"X_forwarded_for":          "",
			"X_Forwarded_For":          "",
			"X-Hop":                    "",
			"Accept-Encoding":          "",
		} {
			if v := strings.Join(got[name], "|"); v != want {
				t.Errorf("%s: %s is %q, want %q", c.url, name, v, want)
			}
		}
		if len(got.Get("X-Request-Id")) != 32 {
			t.Errorf("X-Request-ID %q", got.Get("X-Request-Id"))
		}
	}
	if w.get("http://h.example/", "X-Request-Id", "mine"); h.Get("X-Request-Id") != "mine" {
		t.Errorf("X-Request-ID of the client became %q", h.Get("X-Request-Id"))
	}
	if w.get("http://h.example/"); h.Get("X-Original-Forwarded-For") != "" {
		t.Error("X-Original-Forwarded-For without X-Forwarded-For")
	}
}

func TestRewrite(t *testing.T) {
	w := newWorld(t)
	a := w.backend("a")
	ing := ingress("i", "h.example", "/api(/|$)(.*) a")
	ing.Annotations[nginx.Prefix+"rewrite-target"] = "/v2/$2?from=api"
	w.set(service("a"), slice("a", addrOf(a)), ing)
	for _, c := range []struct{ path, want string }{
		{"/api/x/y?q=1", "a GET /v2/x/y?from=api&q=1 "},
		{"/api", "a GET /v2/?from=api "},
		{"/API/a%20b%2Fc", "a GET /v2/a%20b%2Fc?from=api "},
		{"/apix", "404"},
	} {
		if _, text := w.get("http://h.example" + c.path); !strings.HasPrefix(text, c.want) {
			t.Errorf("%s: %q, want %q…", c.path, text, c.want)
		}
	}
}

func TestTLS(t *testing.T) {
	w := newWorld(t)
	a := w.backend("a")
	ing := ingress("i", "shop.example.com", "/ a")
	ing.TLS = []model.IngressTLS{{Hosts: []string{"shop.example.com"}, Secret: "shop"}, {Hosts: []string{"*.wild.example"}, Secret: "wild"}}
	missing := ingress("missing", "missing.example.com", "/ a")
	missing.TLS = []model.IngressTLS{{Hosts: []string{"missing.example.com"}, Secret: "nowhere"}}
	w.set(service("a"), slice("a", addrOf(a)), ing, missing, ingress("plain", "plain.example.com", "/ a"), ingress("wild", "x.wild.example", "/ a"),
		secret(t, "shop", "shop.example.com"), secret(t, "wild", "*.wild.example"))
	for url, want := range map[string]string{
		"https://shop.example.com/":    "shop.example.com",
		"https://x.wild.example/":      "*.wild.example",
		"https://y.x.wild.example/":    "ingress.local",
		"https://missing.example.com/": "ingress.local",
		"https://plain.example.com/":   "ingress.local",
	} {
		resp, _ := w.get(url)
		if got := resp.TLS.PeerCertificates[0].DNSNames[0]; got != want {
			t.Errorf("%s: certificate for %s, want %s", url, got, want)
		}
		if resp.ProtoMajor != 2 {
			t.Errorf("%s: %s, want HTTP/2", url, resp.Proto)
		}
	}
	// Who has none gets the option's, as soon as it is there.
	bare := ingress("bare", "bare.example.com", "/ a")
	bare.TLS = []model.IngressTLS{{Hosts: []string{"bare.example.com"}}}
	w.set(bare, configMap("fairway-system", "ingress-nginx-controller", "default-ssl-certificate", "default/default"), secret(t, "default", "*.example.com"))
	for _, url := range []string{"https://missing.example.com/", "https://plain.example.com/", "https://bare.example.com/"} {
		if resp, _, err := w.try(w.client(), "GET", url, nil); err != nil || resp.TLS.PeerCertificates[0].DNSNames[0] != "*.example.com" {
			t.Errorf("%s: not the default certificate, %v", url, err)
		}
	}
	if resp, _ := w.get("http://bare.example.com/"); resp.StatusCode != 308 {
		t.Errorf("TLS with the default certificate: %d, want a redirect", resp.StatusCode)
	}
	// The certificate follows SNI, the route the Host header.
	if resp, text := w.get("https://plain.example.com/", "Host", "shop.example.com"); resp.StatusCode != 200 || !strings.Contains(text, "host=shop.example.com") {
		t.Errorf("Host other than SNI: %d %q", resp.StatusCode, text)
	}
	for _, c := range []struct{ url, location string }{ // "": served
		{"http://shop.example.com/a//b%20c?q=1&r=2", "https://shop.example.com/a//b%20c?q=1&r=2"},
		{"http://shop.example.com:8080/", "https://shop.example.com"}, // as ingress-nginx without preserve-trailing-slash
		{"http://x.wild.example/", "https://x.wild.example"},
		{"http://plain.example.com/", ""},
		{"http://missing.example.com/", ""},
		{"http://shop.example.com/.well-known/acme-challenge/token", ""},
	} {
		resp, _ := w.get(c.url)
		if c.location == "" && resp.StatusCode != 200 || c.location != "" && resp.StatusCode != 308 || resp.Header.Get("Location") != c.location {
			t.Errorf("%s: %d, Location %q, want %q", c.url, resp.StatusCode, resp.Header.Get("Location"), c.location)
		}
	}
	ing = ingress("i", "shop.example.com", "/ a")
	ing.TLS = []model.IngressTLS{{Hosts: []string{"shop.example.com"}, Secret: "shop"}}
	ing.Annotations[nginx.Prefix+"ssl-redirect"] = "false"
	plain := ingress("plain", "plain.example.com", "/ a")
	plain.Annotations[nginx.Prefix+"force-ssl-redirect"] = "true"
	w.set(ing, plain)
	if resp, _ := w.get("http://shop.example.com/"); resp.StatusCode != 200 {
		t.Errorf("ssl-redirect false: %d", resp.StatusCode)
	}
	if resp, _ := w.get("http://plain.example.com/"); resp.StatusCode != 308 {
		t.Errorf("force-ssl-redirect: %d", resp.StatusCode)
	}
}

// TestCertificateChangesWithoutReconnect keeps one connection over a change of
// its certificate; a new connection has the new one.
func TestCertificateChangesWithoutReconnect(t *testing.T) {
	w := newWorld(t)
	a := w.backend("a")
	ing := ingress("i", "h.example", "/ a")
	ing.TLS = []model.IngressTLS{{Hosts: []string{"h.example"}, Secret: "s"}}
	w.set(service("a"), slice("a", addrOf(a)), ing, secret(t, "s", "h.example"))
	c := w.client()
	serial := func(c *http.Client) string {
		resp, _, err := w.try(c, "GET", "https://h.example/", nil)
		if err != nil {
			t.Fatal(err)
		}
		return resp.TLS.PeerCertificates[0].SerialNumber.String()
	}
	first := serial(c)
	w.set(secret(t, "s", "h.example"))
	if serial(c) != first {
		t.Error("the connection was closed")
	}
	if serial(w.client()) == first {
		t.Error("a new connection has the old certificate")
	}
}

func TestSpread(t *testing.T) {
	w := newWorld(t)
	var backends []*httptest.Server
	objects := []any{service("a"), ingress("i", "", "/ a")}
	for i := range 3 {
		backends = append(backends, w.backend(fmt.Sprint("pod", i)))
		objects = append(objects, sliceNamed(fmt.Sprint("a-", i), "a", addrOf(backends[i])))
	}
	w.set(objects...)
	count := map[string]int{}
	c := w.client()
	for range 3000 {
		resp, _, err := w.try(c, "GET", "http://h/", nil)
		if err != nil {
			t.Fatal(err)
		}
		count[resp.Header.Get("X-Backend")]++
	}
	for i := range 3 {
		if n := count[fmt.Sprint("pod", i)]; n < 850 || n > 1150 {
			t.Errorf("pod%d has %d of 3000 requests: %v", i, n, count)
		}
	}
}

func TestTrailersAndHTTP2Backend(t *testing.T) {
	w := newWorld(t)
	s := handledInHTTP2(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/grpc")
		rw.Header().Set("Trailer", "Grpc-Status")
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(rw, "%s te=%s %s", r.Proto, r.Header.Get("Te"), body)
		rw.Header().Set("Grpc-Status", "0")
	})
	byApp, byAnnotation := service("a"), service("b")
	byApp.Ports[0].AppProtocol = "kubernetes.io/h2c"
	annotated := ingress("b", "b.example", "/ b")
	annotated.Annotations[nginx.Prefix+"backend-protocol"] = "GRPC"
	w.set(byApp, byAnnotation, slice("a", addrOf(s)), slice("b", addrOf(s)), ingress("a", "a.example", "/ a"), annotated)
	for _, url := range []string{"https://a.example/", "https://b.example/"} {
		resp, text := w.request("POST", url, strings.NewReader("ping"), "Te", "trailers")
		if text != "HTTP/2.0 te=trailers ping" || resp.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("%s: %q, trailer %v", url, text, resp.Trailer)
		}
	}
}

func TestMetricsAndRoutes(t *testing.T) {
	w := newWorld(t)
	ask := func(path string) string {
		rec := httptest.NewRecorder()
		map[string]http.HandlerFunc{"/metrics": w.server.ServeMetrics, "/routes": w.server.ServeRoutes}[path](rec, nil)
		return rec.Body.String()
	}
	a := w.backend("a")
	w.set(service("a"), slice("a", addrOf(a)), ingress("i", "h.example", "/ a", "/gone gone"))
	w.get("http://h.example/")
	w.get("http://h.example/gone")
	w.get("http://other.example/")
	plain := ingress("j", "", "/only c")
	plain.Rules, plain.Default = nil, &plain.Rules[0].Paths[0].Backend
	c := handled(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(777) })
	w.set(service("c"), slice("c", addrOf(c)), plain)
	w.get("http://third.example/")
	for path, wants := range map[string][]string{
		"/routes": {`host "h.example"`, "prefix / -> default/a:80", "rejected Ingress default/i (ServiceNotFound)"},
		"/metrics": {
			`fairway_http_requests_total{namespace="default",ingress="i",host="h.example",path="/",code="2xx"} 1`,
			`fairway_http_requests_total{namespace="default",ingress="i",host="h.example",path="/gone",code="5xx"} 1`,
			`fairway_http_requests_total{namespace="default",ingress="j",host="",path="",code="5xx"} 1`,
			`fairway_http_requests_total{namespace="",ingress="",host="",path="",code="4xx"} 1`,
			`fairway_http_request_duration_seconds_count{namespace="default",ingress="i",host="h.example",path="/gone"} 1`,
			`fairway_ingress_rejected{reason="ServiceNotFound"} 1`,
			"fairway_http_hosts 1",
		},
	} {
		eventually(t, func() bool { // an exchange is counted just after its response
			text := ask(path)
			for _, want := range wants {
				if !strings.Contains(text, want) {
					return false
				}
			}
			return true
		}, fmt.Sprint(path, " has ", strings.Join(wants, "\n"), ", not\n", ask(path)))
	}
}
