package proxy

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// TestBasicAuth: sha is {SHA} of "secret".
func TestBasicAuth(t *testing.T) {
	const sha = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="
	w := newWorld(t)
	backend, got := seen(t)
	w.set(service("a"), slice("a", addrOf(backend)), opaque("file", "auth", "# users\nalice:"+sha+"\n"), opaque("map", "alice", sha),
		annotate(ingress("f", "file.example", "/ a"), "auth-type", "basic", "auth-secret", "file", "auth-realm", "Staff only"),
		annotate(ingress("m", "map.example", "/ a"), "auth-type", "basic", "auth-secret", "map", "auth-secret-type", "auth-map"))
	for _, host := range []string{"file.example", "map.example"} {
		for credentials, want := range map[string]int{"": 401, "Basic YWxpY2U6c2VjcmV0": 200, "Basic YWxpY2U6d3Jvbmc=": 401, "Basic Ym9iOnNlY3JldA==": 401, "Basic %": 401, "Bearer x": 401} {
			resp, _ := w.get("http://"+host+"/", "Authorization", credentials)
			if resp.StatusCode != want {
				t.Errorf("%s, %q: %d, want %d", host, credentials, resp.StatusCode, want)
			}
			if want == 401 && !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), `Basic realm="`) {
				t.Errorf("challenge %q", resp.Header.Get("WWW-Authenticate"))
			}
			if want == 200 && got.Get("Authorization") != "" {
				t.Errorf("the endpoint sees %q", got.Get("Authorization"))
			}
		}
	}
	if resp, _ := w.get("http://file.example/"); resp.Header.Get("WWW-Authenticate") != `Basic realm="Staff only"` {
		t.Errorf("challenge %q", resp.Header.Get("WWW-Authenticate"))
	}
	// Another password, and then no Secret: nobody gets in.
	w.set(opaque("file", "auth", "alice:{PLAIN}other"))
	if resp, _ := w.get("http://file.example/", "Authorization", "Basic YWxpY2U6c2VjcmV0"); resp.StatusCode != 401 {
		t.Errorf("with the old password: %d", resp.StatusCode)
	}
	w.set(opaque("file"))
	if resp, _ := w.get("http://file.example/"); resp.StatusCode != 503 {
		t.Errorf("without a file: %d", resp.StatusCode)
	}
}

func TestDigestAuth(t *testing.T) {
	sum := func(s string) string { b := md5.Sum([]byte(s)); return hex.EncodeToString(b[:]) }
	w := newWorld(t)
	a := w.backend("a")
	w.set(service("a"), slice("a", addrOf(a)), opaque("users", "auth", "alice:staff:"+sum("alice:staff:secret")+"\n"),
		annotate(ingress("f", "h.example", "/ a"), "auth-type", "digest", "auth-secret", "users", "auth-realm", "staff"))
	nonce := func() string {
		resp, _ := w.get("http://h.example/x?y")
		if resp.StatusCode != 401 {
			t.Fatalf("%d", resp.StatusCode)
		}
		return parameters(strings.TrimPrefix(resp.Header.Get("WWW-Authenticate"), "Digest "))["nonce"]
	}
	ask := func(nonce, nc, password, uri string) *http.Response {
		response := sum(sum("alice:staff:"+password) + ":" + nonce + ":" + nc + ":c:auth:" + sum("GET:"+uri))
		resp, _ := w.get("http://h.example/x?y", "Authorization", fmt.Sprintf(`Digest username="alice", realm="staff", nonce="%s", uri="%s", qop=auth, nc=%s, cnonce="c", response="%s"`, nonce, uri, nc, response))
		return resp
	}
	n := nonce()
	if r := ask(n, "00000001", "secret", "/x?y"); r.StatusCode != 200 {
		t.Errorf("with the password: %d", r.StatusCode)
	}
	if r := ask(n, "00000001", "secret", "/x?y"); r.StatusCode != 401 || !strings.Contains(r.Header.Get("WWW-Authenticate"), "stale=true") {
		t.Errorf("again with the same count: %d %s", r.StatusCode, r.Header.Get("WWW-Authenticate"))
	}
	if r := ask(n, "00000002", "secret", "/x?y"); r.StatusCode != 200 {
		t.Errorf("with the next count: %d", r.StatusCode)
	}
	for _, r := range []*http.Response{ask(nonce(), "00000001", "wrong", "/x?y"), ask("made-up", "00000001", "secret", "/x?y"), ask(nonce(), "00000001", "secret", "/other")} {
		if r.StatusCode != 401 {
			t.Errorf("got in: %d", r.StatusCode)
		}
	}
}

// TestExternalAuth: what the service is asked, and what becomes of its answer.
func TestExternalAuth(t *testing.T) {
	w := newWorld(t)
	backend, got := seen(t)
	var asked http.Request
	var questions atomic.Int32
	auth := handled(t, func(rw http.ResponseWriter, r *http.Request) {
		questions.Add(1)
		body, _ := io.ReadAll(r.Body)
		asked = *r
		if len(body) > 0 {
			t.Errorf("the question has the body %q", body)
		}
		rw.Header().Set("X-User", "alice")
		rw.Header().Add("Set-Cookie", "session=1")
		status := 200
		fmt.Sscan(r.Header.Get("X-Status"), &status)
		if status == 401 {
			rw.Header().Set("WWW-Authenticate", "Bearer")
		}
		rw.WriteHeader(status)
	})
	w.set(service("a"), slice("a", addrOf(backend)), configMap("default", "extra", "X-Extra", "yes"),
		annotate(ingress("a", "h.example", "/ a"), "auth-url", auth.URL+"/check?host=$host", "auth-response-headers", "X-User, X-Group", "auth-proxy-set-headers", "extra"),
		annotate(ingress("s", "sign.example", "/ a"), "auth-url", auth.URL+"/check", "auth-signin", "https://$host/start", "auth-method", "POST"),
		annotate(ingress("k", "kept.example", "/ a"), "auth-url", auth.URL+"/check", "auth-cache-key", "$http_x_key", "auth-cache-duration", "200 1m"),
		annotate(ingress("g", "gone.example", "/ a"), "auth-url", "http://127.0.0.1:1/"))
	resp, _ := w.request("POST", "http://h.example/a/../b?c=d", strings.NewReader("body"), "X-User", "mallory", "X-Group", "root", "Cookie", "x=y", "X-Forwarded-Proto", "https")
	if resp.StatusCode != 200 || got.Get("X-User") != "alice" || got.Get("X-Group") != "" {
		t.Errorf("%d, endpoint sees user %q group %q", resp.StatusCode, got.Get("X-User"), got.Get("X-Group"))
	}
	if c := resp.Header.Get("Set-Cookie"); c != "session=1" {
		t.Errorf("cookie %q", c)
	}
	for name, want := range map[string]string{"X-Original-Url": "http://h.example/b?c=d", "X-Original-Method": "POST", "X-Sent-From": "nginx-ingress-controller",
		"X-Auth-Request-Redirect": "/b?c=d", "Cookie": "x=y", "X-Extra": "yes", "X-Real-Ip": "127.0.0.1", "X-Forwarded-Proto": ""} {
		if v := asked.Header.Get(name); v != want {
			t.Errorf("the question has %s: %q, want %q", name, v, want)
		}
	}
	if asked.Method != "GET" || asked.URL.RequestURI() != "/check?host=h.example" {
		t.Errorf("the question is %s %s", asked.Method, asked.URL)
	}
	for status, want := range map[string]int{"204": 200, "401": 401, "403": 403, "302": 500, "404": 500, "500": 500} {
		resp, _ := w.get("http://h.example/", "X-Status", status)
		if resp.StatusCode != want || status == "401" && resp.Header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("after %s: %d, want %d; %v", status, resp.StatusCode, want, resp.Header)
		}
	}
	resp, _ = w.get("https://sign.example/x?y=z", "X-Status", "401")
	if l := resp.Header.Get("Location"); resp.StatusCode != 302 || l != "https://sign.example/start?rd=https://sign.example%2Fx%3Fy%3Dz" || resp.Header.Get("Set-Cookie") != "session=1" {
		t.Errorf("sign in: %d %q %v", resp.StatusCode, l, resp.Header)
	}
	if asked.Method != "POST" || asked.Header.Get("X-Original-Uri") != "/x?y=z" {
		t.Errorf("with auth-method: %s %v", asked.Method, asked.Header)
	}
	before := questions.Load()
	for _, key := range []string{"1", "1", "1", "2"} {
		if resp, _ := w.get("http://kept.example/", "X-Key", key); resp.StatusCode != 200 || got.Get("X-User") == "mallory" {
			t.Errorf("kept: %d", resp.StatusCode)
		}
	}
	if n := questions.Load() - before; n != 2 {
		t.Errorf("%d questions for two keys", n)
	}
	if resp, _ := w.get("http://gone.example/"); resp.StatusCode != 500 {
		t.Errorf("without the service: %d", resp.StatusCode)
	}
}

// TestGlobalAuth: the option holds where no annotation does, but for the challenge of ACME.
func TestGlobalAuth(t *testing.T) {
	w := newWorld(t)
	a := w.backend("a")
	auth := handled(t, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(403) })
	w.set(service("a"), slice("a", addrOf(a)), configMap("ingress-nginx", "ingress-nginx-controller", "global-auth-url", auth.URL),
		ingress("a", "h.example", "/ a", "/.well-known/acme-challenge/token a"), annotate(ingress("b", "open.example", "/ a"), "enable-global-auth", "false"))
	for url, want := range map[string]int{"http://h.example/": 403, "http://open.example/": 200, "http://h.example/.well-known/acme-challenge/token": 200} {
		if resp, _ := w.get(url); resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", url, resp.StatusCode, want)
		}
	}
}

func TestSatisfyAny(t *testing.T) {
	w := newWorld(t)
	a := w.backend("a")
	w.set(service("a"), slice("a", addrOf(a)), opaque("users", "auth", "alice:{PLAIN}secret"),
		annotate(ingress("a", "far.example", "/ a"), "satisfy", "any", "auth-type", "basic", "auth-secret", "users", "allowlist-source-range", "192.0.2.0/24"),
		annotate(ingress("b", "near.example", "/ a"), "satisfy", "any", "auth-type", "basic", "auth-secret", "users", "allowlist-source-range", "127.0.0.0/8"),
		annotate(ingress("c", "both.example", "/ a"), "auth-type", "basic", "auth-secret", "users", "allowlist-source-range", "192.0.2.0/24"))
	for _, c := range []struct {
		host, credentials string
		want              int
	}{{"far.example", "", 401}, {"far.example", "Basic YWxpY2U6c2VjcmV0", 200}, {"near.example", "", 200}, {"both.example", "Basic YWxpY2U6c2VjcmV0", 403}} {
		if resp, _ := w.get("http://"+c.host+"/", "Authorization", c.credentials); resp.StatusCode != c.want {
			t.Errorf("%s with %q: %d, want %d", c.host, c.credentials, resp.StatusCode, c.want)
		}
	}
}
