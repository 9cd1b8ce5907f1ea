package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/model"
)

// objects with data.
func opaque(name string, pairs ...string) *model.Secret {
	s := &model.Secret{Name: named(name), Type: "Opaque", Data: map[string][]byte{}}
	for i := 0; i < len(pairs); i += 2 {
		s.Data[pairs[i]] = []byte(pairs[i+1])
	}
	return s
}

func configMap(namespace, name string, pairs ...string) *model.ConfigMap {
	m := &model.ConfigMap{Name: model.Name{Namespace: namespace, Name: name}, Data: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		m.Data[pairs[i]] = pairs[i+1]
	}
	return m
}

// handled is a backend that does what f says.
func handled(t *testing.T, f http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s
}

func TestCustomErrors(t *testing.T) {
	w := newWorld(t)
	var asked http.Header
	var uri string
	pages := handled(t, func(rw http.ResponseWriter, r *http.Request) {
		asked, uri = r.Header, r.RequestURI
		rw.Header().Set("Content-Type", "application/json")
		status := 0
		fmt.Sscan(r.Header.Get("X-Code"), &status)
		rw.WriteHeader(status)
		fmt.Fprintf(rw, "page for %d", status)
	})
	backend := handled(t, func(rw http.ResponseWriter, r *http.Request) {
		status := 200
		fmt.Sscan(r.URL.Query().Get("status"), &status)
		rw.WriteHeader(status)
		fmt.Fprint(rw, "endpoint")
	})
	w.set(service("a"), slice("a", addrOf(backend)), service("pages"), slice("pages", addrOf(pages)), service("empty"),
		annotate(ingress("a", "h.example", "/ a", "/empty empty"), "custom-http-errors", "404,503", "default-backend", "pages"),
		annotate(ingress("b", "own.example", "/ a", "/empty empty"), "custom-http-errors", "404,503", "default-backend", "pages", "disable-proxy-intercept-errors", "true"),
		annotate(ingress("c", "spare.example", "/empty empty"), "default-backend", "pages"),
		annotate(ingress("d", "nobody.example", "/ a", "/empty empty"), "custom-http-errors", "404,500,503", "default-backend", "empty"),
		annotate(ingress("e", "none.example", "/ a", "/empty empty"), "custom-http-errors", "500"))
	for _, c := range []struct {
		url    string
		status int
		body   string
	}{
		{"http://h.example/?status=404", 404, "page for 404"},
		{"http://h.example/?status=500", 500, "endpoint"},
		{"http://h.example/?status=200", 200, "endpoint"},
		{"http://h.example/empty", 503, "page for 503"},
		{"http://own.example/?status=404", 404, "endpoint"},
		{"http://own.example/empty", 503, "page for 503"},
		{"http://spare.example/empty", 503, "page for 503"},
		{"http://nobody.example/?status=500", 404, "404 Not Found\nthere is nobody to ask for error pages\n"},
		{"http://nobody.example/empty", 404, "404 Not Found\nthere is nobody to ask for error pages\n"},
		{"http://nobody.example/?status=502", 502, "endpoint"},
		{"http://none.example/?status=500", 404, "404 Not Found\nthere is nobody to ask for error pages\n"},
	} {
		for _, method := range []string{"GET", "POST"} {
			body := io.Reader(nil)
			if method == "POST" {
				body = strings.NewReader(strings.Repeat("x", 100_000))
			}
			resp, text := w.request(method, c.url, body, "Accept", "text/x")
			if resp.StatusCode != c.status || text != c.body {
				t.Errorf("%s %s: %d %q, want %d %q", method, c.url, resp.StatusCode, text, c.status, c.body)
			}
		}
	}
	w.get("http://h.example/x?status=404", "Accept", "text/x")
	for name, want := range map[string]string{"X-Code": "404", "X-Format": "text/x", "X-Original-Uri": "/x?status=404", "X-Namespace": "default", "X-Ingress-Name": "a",
		"X-Service-Name": "a", "X-Service-Port": "80"} {
		if v := asked.Get(name); v != want {
			t.Errorf("%s is %q, want %q", name, v, want)
		}
	}
	if !strings.HasPrefix(uri, "/?") || asked.Get("X-Request-Id") == "" {
		t.Errorf("%s, %v", uri, asked)
	}
	// A default backend in the place of pods gets the request as it is.
	if w.get("http://spare.example/empty/x?y"); uri != "/empty/x?y" || asked.Get("X-Code") != "503" || asked.Get("X-Service-Name") != "empty" || asked.Get("X-Ingress-Name") != "c" {
		t.Errorf("%s, %v", uri, asked)
	}
	// Who has no default backend of his own gets that of all, and who has one without pods too.
	w.set(configMap("fairway-system", "ingress-nginx-controller", "default-backend-service", "default/pages"))
	for _, host := range []string{"nobody.example", "none.example", "h.example"} {
		if resp, text := w.get("http://" + host + "/?status=500"); resp.StatusCode != 500 || (text == "page for 500") != (host != "h.example") {
			t.Errorf("%s: %d %q", host, resp.StatusCode, text)
		}
	}
	if resp, _ := w.get("https://h.example/?status=404"); resp.Header.Get("Content-Type") != "application/json" || resp.ProtoMajor != 2 {
		t.Errorf("over HTTP/2: %v", resp.Header)
	}
}

func TestResponseHeaders(t *testing.T) {
	w := newWorld(t)
	backend := handled(t, func(rw http.ResponseWriter, _ *http.Request) {
		h := rw.Header()
		h.Add("Set-Cookie", "a=b; Path=/app/x; Domain=inner.example; HttpOnly")
		h.Add("Set-Cookie", "c=d; path=/other")
		h.Set("Location", "http://inner.example/x")
		h.Set("X-Secret", "1")
		h.Set("X-Own", "endpoint")
		h.Set("Server", "endpoint")
		rw.WriteHeader(302)
	})
	w.set(service("a"), slice("a", addrOf(backend)), configMap("default", "headers", "X-Own", "gateway", "X-Not", "allowed"),
		configMap("fairway-system", "ingress-nginx-controller", "global-allowed-response-headers", "X-Own", "hide-headers", "X-Secret", "add-headers", "default/all", "allow-snippet-annotations", "true"),
		configMap("default", "all", "X-All", "yes"),
		annotate(ingress("a", "h.example", "/ a"), "proxy-cookie-path", "/app /", "proxy-cookie-domain", "inner.example h.example",
			"proxy-redirect-from", "http://inner.example/", "proxy-redirect-to", "https://h.example/", "custom-headers", "default/headers",
			"configuration-snippet", `more_set_headers "X-Was: $sent_http_x_secret"; add_header X-Added "$request_method";`))
	resp, _ := w.get("http://h.example/")
	for name, want := range map[string]string{"Location": "https://h.example/x", "X-Secret": "", "X-Own": "gateway", "X-Not": "", "X-All": "yes", "X-Was": "1", "X-Added": "GET",
		"Server": "fairway", "Strict-Transport-Security": ""} {
		if v := resp.Header.Get(name); v != want || len(resp.Header[name]) > 1 {
			t.Errorf("%s is %q, want %q", name, resp.Header[name], want)
		}
	}
	if c := resp.Header["Set-Cookie"]; len(c) != 2 || c[0] != "a=b; Path=//x; Domain=h.example; HttpOnly" || c[1] != "c=d; path=/other" {
		t.Errorf("cookies %q", c)
	}
	for _, url := range []string{"https://h.example/", "https://other.example/"} {
		if resp, _ := w.get(url); resp.Header.Get("Strict-Transport-Security") != "max-age=31536000; includeSubDomains" {
			t.Errorf("%s: %v", url, resp.Header)
		}
	}
}

// TestBandwidth: 64 KiB, of which 32 KiB go at 32 KiB/s: a second.
func TestBandwidth(t *testing.T) {
	w := newWorld(t)
	backend := handled(t, func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(make([]byte, 64<<10)) })
	w.set(service("a"), slice("a", addrOf(backend)), annotate(ingress("a", "h.example", "/ a"), "limit-rate", "32", "limit-rate-after", "32"))
	begun := time.Now()
	if _, text := w.get("http://h.example/"); len(text) != 64<<10 {
		t.Errorf("%d bytes", len(text))
	}
	if took := time.Since(begun); took < 400*time.Millisecond { // the last piece need not wait for its time
		t.Errorf("took %v", took)
	}
}

func TestMoreRedirects(t *testing.T) {
	w := newWorld(t)
	a := w.backend("a")
	text := ingress("t", "slash.example", "/docs/ a", "/ a")
	text.Rules[0].Paths[0].Type = model.ImplementationSpecific
	w.set(service("a"), slice("a", addrOf(a)), text, annotate(ingress("w", "shop.example", "/ a"), "from-to-www-redirect", "true"),
		annotate(ingress("v", "www.inn.example", "/ a"), "from-to-www-redirect", "true"),
		annotate(ingress("o", "www.own.example", "/ a"), "from-to-www-redirect", "true"), ingress("n", "own.example", "/ a"),
		annotate(ingress("f", "tls.example", "/ a"), "force-ssl-redirect", "true"),
		annotate(ingress("k", "kept.example", "/ a"), "force-ssl-redirect", "true", "preserve-trailing-slash", "true"))
	for _, c := range []struct{ url, want string }{
		{"http://slash.example/docs", "301 http://slash.example/docs/"},
		{"http://slash.example/docs?a=b", "301 http://slash.example/docs/?a=b"},
		{"http://slash.example/docs/", "200 "},
		{"http://slash.example/docsy", "200 "},
		{"http://www.shop.example/x/?y", "308 http://shop.example/x/?y"},
		{"https://www.shop.example/x/", "308 https://shop.example/x"},
		{"http://inn.example/", "308 http://www.inn.example"},
		{"http://own.example/", "200 "},
		{"http://tls.example/x/", "308 https://tls.example/x"},
		{"http://tls.example/", "308 https://tls.example"},
		{"http://kept.example/x/", "308 https://kept.example/x/"},
		{"http://tls.example/.well-known/acme-challenge/x", "200 "},
	} {
		resp, _ := w.get(c.url)
		if got := fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("Location")); got != c.want {
			t.Errorf("%s: %s, want %s", c.url, got, c.want)
		}
	}
}

// TestForwardedHeaders: they count only where the operator says so, and of whom.
func TestForwardedHeaders(t *testing.T) {
	w := newWorld(t)
	backend, got := seen(t)
	sent := []string{"X-Forwarded-For", "192.0.2.7, 10.9.9.9", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "shop.example", "X-Forwarded-Port", "8443", "X_Under", "1"}
	w.set(service("a"), slice("a", addrOf(backend)), annotate(ingress("a", "h.example", "/ a"), "allowlist-source-range", "192.0.2.0/24", "force-ssl-redirect", "true"))
	if resp, _ := w.get("http://h.example/", sent...); resp.StatusCode != 308 {
		t.Errorf("without the option: %d", resp.StatusCode)
	}
	options := []string{"use-forwarded-headers", "true", "proxy-real-ip-cidr", "127.0.0.0/8,10.0.0.0/8", "enable-underscores-in-headers", "true", "proxy-add-original-uri-header", "true"}
	w.set(configMap("fairway-system", "ingress-nginx-controller", options...))
	if resp, _ := w.get("http://h.example/a", sent...); resp.StatusCode != 200 {
		t.Fatalf("with the option: %d", resp.StatusCode)
	}
	for name, want := range map[string]string{"X-Forwarded-For": "192.0.2.7", "X-Real-Ip": "192.0.2.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example", "X-Forwarded-Port": "8443",
		"X_under": "1", "X-Original-Uri": "/a"} {
		if v := got.Get(name); v != want {
			t.Errorf("%s is %q, want %q", name, v, want)
		}
	}
	w.set(configMap("fairway-system", "ingress-nginx-controller", append(options, "compute-full-forwarded-for", "true")...))
	if w.get("http://h.example/a", sent...); got.Get("X-Forwarded-For") != "192.0.2.7, 10.9.9.9, 127.0.0.1" {
		t.Errorf("X-Forwarded-For %q", got.Get("X-Forwarded-For"))
	}
	w.set(configMap("fairway-system", "ingress-nginx-controller", "use-forwarded-headers", "true", "proxy-real-ip-cidr", "10.0.0.0/8"))
	if resp, _ := w.get("http://h.example/", sent...); resp.StatusCode != 308 {
		t.Errorf("from somebody who is not trusted: %d", resp.StatusCode)
	}
}

func TestBlocksAndStatuses(t *testing.T) {
	w := newWorld(t)
	a := w.backend("a")
	w.set(service("a"), slice("a", addrOf(a)), configMap("fairway-system", "ingress-nginx-controller", "block-user-agents", "~*bot,curl/7", "block-referers", "~spam",
		"limit-req-status-code", "429", "http-redirect-code", "301"),
		annotate(ingress("a", "h.example", "/ a"), "limit-rps", "1", "limit-burst-multiplier", "1"), annotate(ingress("f", "tls.example", "/ a"), "force-ssl-redirect", "true"))
	for _, c := range []struct {
		name, value string
		want        int
	}{{"User-Agent", "GoogleBot", 403}, {"User-Agent", "curl/7", 403}, {"User-Agent", "curl/71", 404}, {"Referer", "http://spam.example/", 403}} {
		if resp, _ := w.get("http://none.example/", c.name, c.value); resp.StatusCode != c.want {
			t.Errorf("%s: %s: %d, want %d", c.name, c.value, resp.StatusCode, c.want)
		}
	}
	got := map[int]int{}
	for range 5 {
		resp, _ := w.get("http://h.example/")
		got[resp.StatusCode]++
	}
	if got[429] == 0 || got[200] == 0 {
		t.Errorf("statuses %v", got)
	}
	if resp, _ := w.get("http://tls.example/x"); resp.StatusCode != 301 {
		t.Errorf("redirect %d", resp.StatusCode)
	}
}

func TestVariablesForTheBackend(t *testing.T) {
	w := newWorld(t)
	a := w.backend("a")
	w.set(service("a"), slice("a", addrOf(a)), configMap("fairway-system", "ingress-nginx-controller", "allow-snippet-annotations", "true", "proxy-set-headers", "default/more"),
		configMap("default", "more", "X-More", "1"),
		annotate(ingress("v", "h.example", "/ a"), "upstream-vhost", "$service_name.$namespace.svc"),
		annotate(ingress("s", "s.example", "/ a"), "configuration-snippet", "return 418 \"no $host$uri\";"),
		annotate(ingress("r", "r.example", "/ a"), "configuration-snippet", "return 307 https://new.example$request_uri;"))
	if _, text := w.get("http://h.example/"); !strings.Contains(text, "host=a.default.svc ") {
		t.Errorf("%s", text)
	}
	if resp, text := w.get("http://s.example/x"); resp.StatusCode != 418 || text != "no s.example/x" {
		t.Errorf("return: %d %q", resp.StatusCode, text)
	}
	if resp, _ := w.get("http://r.example/x"); resp.StatusCode != 307 || resp.Header.Get("Location") != "https://new.example/x" {
		t.Errorf("return with a URL: %d %v", resp.StatusCode, resp.Header)
	}
}

func TestCookieAttributes(t *testing.T) {
	w := newWorld(t)
	a := w.backend("a")
	w.set(service("a"), slice("a", addrOf(a)), annotate(ingress("i", "h.example", "/ a"), "affinity", "cookie", "session-cookie-expires", "3600", "session-cookie-samesite", "None",
		"session-cookie-conditional-samesite-none", "true", "session-cookie-domain", "h.example"))
	for agent, none := range map[string]bool{
		"": true, "Mozilla/5.0 (X11) Chrome/66.0.3359.181 Safari/537.36": false, "Mozilla/5.0 (X11) Chrome/120.0 Safari/537.36": true, "Mozilla/5.0 (X11) Chrome/50.0": true,
		"Mozilla/5.0 (iPhone; CPU iPhone OS 12_2 like Mac OS X) Version/12.1 Safari/604.1": false, "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_14_6) Version/12.1 Safari/605.1": false,
	} {
		resp, _ := w.get("https://h.example/", "User-Agent", agent)
		c := resp.Cookies()
		if len(c) != 1 || (c[0].SameSite == http.SameSiteNoneMode) != none || c[0].Domain != "h.example" || time.Until(c[0].Expires) < 59*time.Minute || time.Until(c[0].Expires) > time.Hour {
			t.Errorf("%q: %v", agent, c)
		}
	}
}
