package proxy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/model"
)

// annotate adds annotations of ingress-nginx.
func annotate(ing *model.Ingress, pairs ...string) *model.Ingress {
	for i := 0; i < len(pairs); i += 2 {
		ing.Annotations[nginx.Prefix+pairs[i]] = pairs[i+1]
	}
	return ing
}

// annotated is a world with one Ingress for host h.example, path /, that has the
// annotations given; its backend answers as world.backend does.
func annotated(t *testing.T, pairs ...string) *world {
	t.Helper()
	w := newWorld(t)
	a := w.backend("a")
	w.set(service("a"), slice("a", addrOf(a)), annotate(ingress("i", "h.example", "/ a"), pairs...))
	for _, r := range w.server.live.Load().plan.Rejected {
		t.Fatalf("rejected: %v", r)
	}
	return w
}

func TestRedirects(t *testing.T) {
	for _, c := range []struct {
		annotations []string
		url         string
		status      int
		location    string
	}{
		{[]string{"permanent-redirect", "https://new.example$request_uri"}, "http://h.example/a/../b?c=d", 301, "https://new.example/b?c=d"},
		{[]string{"permanent-redirect", "https://new.example/x", "permanent-redirect-code", "308"}, "http://h.example/", 308, "https://new.example/x"},
		{[]string{"temporal-redirect", "$scheme://www.$host/", "permanent-redirect", "https://other.example"}, "https://h.example/", 302, "https://www.h.example/"},
		{[]string{"app-root", "/login"}, "http://h.example:8080/", 302, "http://h.example:8080/login"},
		{[]string{"app-root", "/login"}, "http://h.example/x", 200, ""},
		{[]string{"app-root", "/login", "use-regex", "true"}, "http://h.example/", 302, "http://h.example/login"},
		{[]string{"app-root", "/login", "use-regex", "true"}, "http://h.example/x", 200, ""},
	} {
		resp, _ := annotated(t, c.annotations...).get(c.url)
		if got := resp.Header.Get("Location"); resp.StatusCode != c.status || got != c.location {
			t.Errorf("%v, %s: %d %q, want %d %q", c.annotations, c.url, resp.StatusCode, got, c.status, c.location)
		}
	}
}

func TestSourceRanges(t *testing.T) {
	for _, c := range []struct {
		annotations []string
		status      int
	}{
		{[]string{"whitelist-source-range", "10.0.0.0/8"}, 403},
		{[]string{"allowlist-source-range", "10.0.0.0/8, 127.0.0.1"}, 200},
		{[]string{"denylist-source-range", "127.0.0.0/8"}, 403},
		{[]string{"denylist-source-range", "10.0.0.0/8"}, 200},
		{[]string{"denylist-source-range", "127.0.0.1", "allowlist-source-range", "127.0.0.0/8"}, 403},
	} {
		// The client's word about itself counts for nothing.
		if resp, _ := annotated(t, c.annotations...).get("http://h.example/", "X-Forwarded-For", "10.1.1.1"); resp.StatusCode != c.status {
			t.Errorf("%v: %d, want %d", c.annotations, resp.StatusCode, c.status)
		}
	}
}

func TestBodySize(t *testing.T) {
	w := annotated(t, "proxy-body-size", "1k")
	for _, c := range []struct {
		size, status int
		chunked      bool
	}{{1024, 200, false}, {1025, 413, false}, {1024, 200, true}, {1025, 413, true}, {1 << 20, 413, true}} {
		body := strings.NewReader(strings.Repeat("x", c.size))
		var resp *http.Response
		var text string
		if c.chunked {
			resp, text = w.request("POST", "http://h.example/", struct{ *strings.Reader }{body})
		} else {
			resp, text = w.request("POST", "http://h.example/", body)
		}
		if resp.StatusCode != c.status {
			t.Errorf("%d bytes, chunked %v: %d %.100q, want %d", c.size, c.chunked, resp.StatusCode, text, c.status)
		}
	}
}

func TestCORS(t *testing.T) {
	for _, c := range []struct {
		origins, origin, want string
	}{
		{"*", "https://x.example", "*"},
		{"*", "", "*"},
		{"https://x.example", "https://x.example", "https://x.example"},
		{"https://x.example", "HTTPS://X.example", "HTTPS://X.example"},
		{"https://x.example", "http://x.example", ""},
		{"https://x.example", "https://x.example.evil", ""},
		{"https://x.example, https://y.example:8443", "https://y.example:8443", "https://y.example:8443"},
		{"https://*.x.example", "https://a.x.example", "https://a.x.example"},
		{"https://*.x.example", "https://a.b.x.example", ""},
		{"https://*.x.example", "https://x.example", ""},
		{"https://*.x.example", "https://evil/.x.example", ""},
		{"https://x.example", "", ""},
	} {
		w := annotated(t, "enable-cors", "true", "cors-allow-origin", c.origins, "cors-expose-headers", "X-A")
		headers := []string{}
		if c.origin != "" {
			headers = []string{"Origin", c.origin}
		}
		resp, text := w.get("http://h.example/", headers...)
		if got := resp.Header.Get("Access-Control-Allow-Origin"); got != c.want || !strings.HasPrefix(text, "a GET") {
			t.Errorf("origins %s, GET from %q: %q, want %q; %s", c.origins, c.origin, got, c.want, text)
		}
		resp, _ = w.request("OPTIONS", "http://h.example/", nil, headers...)
		got := resp.Header.Get("Access-Control-Allow-Origin")
		if got != c.want || c.want != "" && resp.StatusCode != 204 || c.want == "" && resp.StatusCode != 200 {
			t.Errorf("origins %s, OPTIONS from %q: %d %q, want %q", c.origins, c.origin, resp.StatusCode, got, c.want)
		}
		if c.want == "" {
			continue
		}
		for name, want := range map[string]string{
			"Access-Control-Allow-Methods": "GET, PUT, POST, DELETE, PATCH, OPTIONS", "Access-Control-Allow-Credentials": "true",
			"Access-Control-Max-Age": "1728000", "Access-Control-Expose-Headers": "X-A",
		} {
			if v := resp.Header.Get(name); v != want {
				t.Errorf("%s is %q, want %q", name, v, want)
			}
		}
	}
}

// TestCORSReplacesTheBackends: two values of Access-Control-Allow-Origin are an
// error for browsers.
func TestCORSReplacesTheBackends(t *testing.T) {
	w := newWorld(t)
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Access-Control-Allow-Origin", "https://backend.example")
	}))
	t.Cleanup(s.Close)
	w.set(service("a"), slice("a", addrOf(s)), annotate(ingress("i", "h.example", "/ a", "/gone gone"), "enable-cors", "true", "cors-allow-origin", "https://x.example", "proxy-body-size", "3"))
	for _, c := range []struct {
		path, body string
		status     int
	}{{"/", "", 200}, {"/gone", "", 503}, {"/", "long", 413}} {
		resp, _ := w.request("POST", "http://h.example"+c.path, strings.NewReader(c.body), "Origin", "https://x.example")
		if got := resp.Header["Access-Control-Allow-Origin"]; resp.StatusCode != c.status || len(got) != 1 || got[0] != "https://x.example" {
			t.Errorf("%s %s: %d %q", c.path, c.body, resp.StatusCode, got)
		}
	}
	if resp, _ := w.get("http://h.example/", "Origin", "https://other.example"); resp.Header.Get("Access-Control-Allow-Origin") != "https://backend.example" {
		t.Error("without a match the backend's header does not pass")
	}
}

func TestHostAndPrefixForTheBackend(t *testing.T) {
	w := newWorld(t)
	s, h := seen(t)
	a := w.backend("a")
	w.set(service("a"), slice("a", addrOf(a)), service("b"), slice("b", addrOf(s)),
		annotate(ingress("a", "h.example", "/ a"), "upstream-vhost", "inner.example"),
		annotate(ingress("b", "b.example", "/api(/|$)(.*) b"), "rewrite-target", "/$2", "x-forwarded-prefix", "/api"))
	if _, text := w.get("http://h.example/"); !strings.Contains(text, "host=inner.example") {
		t.Errorf("upstream-vhost: %s", text)
	}
	if w.get("http://b.example/api/x", "X-Forwarded-Prefix", "/evil"); h.Get("X-Forwarded-Prefix") != "/api" {
		t.Errorf("X-Forwarded-Prefix: %q", h.Get("X-Forwarded-Prefix"))
	}
}

func TestAffinity(t *testing.T) {
	w := newWorld(t)
	var pods []*httptest.Server
	objects := []any{service("a"), annotate(ingress("i", "h.example", "/x a"),
		"affinity", "cookie", "session-cookie-name", "route", "affinity-mode", "persistent", "session-cookie-max-age", "60", "session-cookie-samesite", "Lax")}
	for i := range 3 {
		pods = append(pods, w.backend(fmt.Sprint("pod", i)))
		objects = append(objects, sliceNamed(fmt.Sprint("a-", i), "a", addrOf(pods[i])))
	}
	w.set(objects...)
	resp, _ := w.get("https://h.example/x")
	cookies := resp.Cookies()
	if len(cookies) != 1 || !strings.HasSuffix(cookies[0].String(), "; Path=/x; Max-Age=60; HttpOnly; Secure; SameSite=Lax") || cookies[0].Name != "route" {
		t.Fatalf("cookies %v", cookies)
	}
	cookie, pod := "route="+cookies[0].Value, resp.Header.Get("X-Backend")
	for range 10 {
		resp, _ := w.get("http://h.example/x", "Cookie", cookie)
		if got := resp.Header.Get("X-Backend"); got != pod {
			t.Fatalf("went to %s, not to %s", got, pod)
		}
		if len(resp.Cookies()) != 0 {
			t.Fatal("the cookie is set again")
		}
	}
	w.set(sliceNamed("a-"+strings.TrimPrefix(pod, "pod"), "a"))
	resp, _ = w.get("http://h.example/x", "Cookie", cookie)
	if resp.StatusCode != 200 || resp.Header.Get("X-Backend") == pod || len(resp.Cookies()) != 1 || resp.Cookies()[0].Secure {
		t.Errorf("after the pod left: %d from %s, cookies %v", resp.StatusCode, resp.Header.Get("X-Backend"), resp.Cookies())
	}
}

func TestTimeoutAndTries(t *testing.T) {
	w := annotated(t, "proxy-read-timeout", "3600", "proxy-next-upstream-tries", "0", "proxy-connect-timeout", "1")
	if resp, _ := w.get("http://h.example/"); resp.StatusCode != 200 {
		t.Errorf("%d", resp.StatusCode)
	}
	// Six endpoints of which five refuse: with tries 0 all are asked.
	objects := []any{sliceNamed("a-1", "a")}
	good := w.backend("good")
	for i := range 5 {
		bad := w.backend("bad")
		objects = append(objects, sliceNamed(fmt.Sprint("b-", i), "a", addrOf(bad)))
		bad.Close()
	}
	w.set(append(objects, sliceNamed("c", "a", addrOf(good)))...)
	for range 6 {
		if resp, text := w.get("http://h.example/"); resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, text)
		}
	}
}

func TestServerAlias(t *testing.T) {
	w := newWorld(t)
	a, b := w.backend("a"), w.backend("b")
	w.set(service("a"), slice("a", addrOf(a)), service("b"), slice("b", addrOf(b)),
		annotate(ingress("a", "h.example", "/ a"), "server-alias", "www.h.example, own.example"), ingress("b", "own.example", "/b b"))
	for url, want := range map[string]string{
		"http://h.example/": "a GET", "http://www.h.example/": "a GET", "http://own.example/b": "b GET", "http://own.example/": "404",
	} {
		if _, text := w.get(url); !strings.HasPrefix(text, want) {
			t.Errorf("%s: %s", url, text)
		}
	}
}

func TestCanary(t *testing.T) {
	w := newWorld(t)
	main, canary := w.backend("main"), w.backend("canary")
	objects := []any{service("main"), slice("main", addrOf(main)), service("canary"), slice("canary", addrOf(canary)), ingress("main", "h.example", "/ main")}
	old := ingress("canary", "h.example", "/ canary")
	old.Created = old.Created.AddDate(-1, 0, 0) // older than the main Ingress: that must not matter
	w.set(append(objects, annotate(old, "canary", "true", "canary-by-header", "X-Canary", "canary-by-cookie", "canary", "canary-weight", "30"))...)
	for _, c := range []struct {
		header, cookie, want string // "": decided by weight
	}{
		{"always", "", "canary"},
		{"never", "", "main"},
		{"always", "never", "canary"},
		{"never", "always", "main"},
		{"other", "always", "canary"},
		{"", "always", "canary"},
		{"", "never", "main"},
		{"", "other", ""},
		{"", "", ""},
	} {
		count := map[string]int{}
		for range 300 {
			var headers []string
			if c.header != "" {
				headers = append(headers, "X-Canary", c.header)
			}
			if c.cookie != "" {
				headers = append(headers, "Cookie", "canary="+c.cookie)
			}
			resp, _ := w.get("http://h.example/", headers...)
			count[resp.Header.Get("X-Backend")]++
			if c.want != "" {
				break
			}
		}
		// Thirty of a hundred: 90 of 300 with a standard deviation of 8.
		if c.want != "" && count[c.want] != 1 || c.want == "" && (count["canary"] < 40 || count["canary"] > 140) {
			t.Errorf("header %q, cookie %q: %v, want %s", c.header, c.cookie, count, c.want)
		}
	}
	w.set(annotate(ingress("canary", "h.example", "/ canary"), "canary", "true", "canary-by-header", "X-User", "canary-by-header-value", "beta"))
	for value, want := range map[string]string{"beta": "canary", "always": "main", "": "main"} {
		if resp, _ := w.get("http://h.example/", "X-User", value); resp.Header.Get("X-Backend") != want {
			t.Errorf("header value %q: %s, want %s", value, resp.Header.Get("X-Backend"), want)
		}
	}
	// A total below 100 is 100: 10 of it are no half.
	w.set(annotate(ingress("canary", "h.example", "/ canary"), "canary", "true", "canary-weight", "10", "canary-weight-total", "20"))
	few := 0
	for range 300 {
		if resp, _ := w.get("http://h.example/"); resp.Header.Get("X-Backend") == "canary" {
			few++
		}
	}
	if few == 0 || few > 75 { // 30 with a standard deviation of 5
		t.Errorf("%d of 300 went to the canary", few)
	}
	// Without a pod it takes nothing.
	w.set(slice("canary"), annotate(ingress("canary", "h.example", "/ canary"), "canary", "true", "canary-by-header", "X-User", "canary-weight", "100"))
	if resp, _ := w.get("http://h.example/", "X-User", "always"); resp.Header.Get("X-Backend") != "main" {
		t.Errorf("a canary without a pod has the request: %d", resp.StatusCode)
	}
}

// TestGuardsThatCannotBeFollowed: an Ingress that asks for authentication must
// not be open to everybody because we do not implement it.
func TestGuardsThatCannotBeFollowed(t *testing.T) {
	for _, pair := range [][]string{{"auth-url", "auth.example"}, {"auth-secret", "users/x/y"}, {"whitelist-source-range", "10.0.0.0/33"}} {
		w := newWorld(t)
		a := w.backend("a")
		w.set(service("a"), slice("a", addrOf(a)), annotate(ingress("i", "h.example", "/ a"), pair...), ingress("j", "other.example", "/ a"))
		if resp, text := w.get("http://h.example/"); resp.StatusCode != 503 || !strings.Contains(text, pair[0]) {
			t.Errorf("%v: %d %s", pair, resp.StatusCode, text)
		}
		if resp, _ := w.get("http://other.example/"); resp.StatusCode != 200 {
			t.Errorf("%v: the other Ingress: %d", pair, resp.StatusCode)
		}
	}
	w := newWorld(t)
	w.set(service("a"), slice("a", addrOf(w.backend("a"))), ingress("i", "h.example", "/ a"), annotate(ingress("j", "other.example", "/ a"), "enable-global-auth", "false"),
		configMap("fairway-system", "ingress-nginx-controller", "global-auth-url", "auth.example"))
	if resp, text := w.get("http://h.example/"); resp.StatusCode != 503 || !strings.Contains(text, "option global-auth-url cannot be followed") {
		t.Errorf("an option: %d %s", resp.StatusCode, text)
	}
	if resp, _ := w.get("http://other.example/"); resp.StatusCode != 200 {
		t.Errorf("an option that does not count: %d", resp.StatusCode)
	}
}

// TestGuardedPathThatIsNoExpression: its requests do not go to a rule without the guard.
func TestGuardedPathThatIsNoExpression(t *testing.T) {
	for path, c := range map[string]struct{ closed, open []string }{
		`/admin(?!/public)`: {[]string{"/admin", "/ADMIN/x", "/admin/public"}, []string{"/", "/adm"}},
		`/a*(?!b)`:          {[]string{"/", "/x"}, nil},
		`/a(?!b)|/c`:        {[]string{"/a", "/c"}, nil},
		`/(a|b)(?!c)`:       {[]string{"/a"}, nil},
		`/a\.b(?!c)`:        {[]string{"/a.b"}, []string{"/b"}},
	} {
		for _, guard := range [][]string{{"whitelist-source-range", "127.0.0.0/8"}, {"auth-url", "http://127.0.0.1:1/"}, {"limit-rps", "100"}} {
			w := newWorld(t)
			a := w.backend("a")
			guarded := annotate(ingress("i", "h.example", path+" a"), append(guard, "use-regex", "true")...)
			w.set(service("a"), slice("a", addrOf(a)), guarded, ingress("j", "h.example", "/ a"))
			for _, asked := range c.closed {
				want := 503
				if guard[0] == "limit-rps" {
					want = 200 // is no guard, and the path is not the Ingress's then
				}
				if resp, text := w.get("http://h.example" + asked); resp.StatusCode != want {
					t.Errorf("%s with %v: %s: %d %s", path, guard, asked, resp.StatusCode, text)
				}
			}
			for _, asked := range c.open {
				if resp, text := w.get("http://h.example" + asked); resp.StatusCode != 200 {
					t.Errorf("%s with %v: %s: %d %s", path, guard, asked, resp.StatusCode, text)
				}
			}
		}
	}
}
