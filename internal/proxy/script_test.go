package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/fairway-net/fairway/internal/testkit"
)

// application is a FastCGI application, Go's, which answers as twins' endpoints do.
func application(t testing.TB, h http.HandlerFunc) netip.AddrPort {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go fcgi.Serve(l, h)
	return netip.MustParseAddrPort(l.Addr().String())
}

// TestFastCGILikeNginx: the same application behind both; what it gets and what clients get
// is compared.
func TestFastCGILikeNginx(t *testing.T) {
	t.Parallel()
	w := &twins{world: newWorld(t), seen: map[string]*sight{}}
	app := application(t, func(rw http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if to := r.URL.Query().Get("to"); to != "" {
			rw.Header().Set("Location", to)
		}
		rw.Header().Add("Set-Cookie", "a=b")
		rw.Header().Add("Set-Cookie", "c=d")
		rw.Header().Set("Content-Type", "text/x-own")
		if r.URL.Query().Has("length") {
			rw.Header().Set("Content-Length", "7")
		}
		var status int
		if n, _ := fmt.Sscan(r.URL.Query().Get("status"), &status); n == 1 {
			rw.WriteHeader(status)
		}
		if r.URL.Query().Has("length") {
			_, _ = io.WriteString(rw, "seven!\n")
			return
		}
		env := fcgi.ProcessEnv(r)
		fmt.Fprintf(rw, "%s %s %s host=%s body=%d %v x=%q cookie=%q type=%q\n", r.Method, r.RequestURI, r.RemoteAddr[:10], r.Host, len(b), err, r.Header["X-Own"], r.Header["Cookie"], r.Header.Get("Content-Type"))
		for _, name := range []string{"SCRIPT_FILENAME", "DOCUMENT_ROOT", "DOCUMENT_URI", "SERVER_NAME", "GATEWAY_INTERFACE", "REDIRECT_STATUS", "OWN", "HTTPS"} {
			fmt.Fprintf(rw, "%s=%s\n", name, env[name])
		}
		_, _ = io.WriteString(rw, strings.Repeat("z", len(b)))
	})
	const params = `fastcgi_param QUERY_STRING $query_string; fastcgi_param REQUEST_METHOD $request_method; fastcgi_param CONTENT_TYPE $content_type; fastcgi_param CONTENT_LENGTH $content_length; fastcgi_param SCRIPT_NAME $fastcgi_script_name;
 fastcgi_param REQUEST_URI $request_uri; fastcgi_param DOCUMENT_URI $document_uri; fastcgi_param DOCUMENT_ROOT /usr/local/nginx/html; fastcgi_param SERVER_PROTOCOL $server_protocol; fastcgi_param GATEWAY_INTERFACE CGI/1.1; fastcgi_param REMOTE_ADDR $remote_addr;
 fastcgi_param REMOTE_PORT $remote_port; fastcgi_param SERVER_NAME $server_name; fastcgi_param REDIRECT_STATUS 200; `
	w.startNginx([]twin{{host: "script.example", server: "  location / { " + params + "fastcgi_index index.php; fastcgi_param SCRIPT_FILENAME /srv$fastcgi_script_name; fastcgi_param OWN yes; fastcgi_pass " + app.String() + "; }\n"}}, nil)
	w.set(service("app"), slice("app", app), configMap("default", "params", "SCRIPT_FILENAME", "/srv$fastcgi_script_name", "OWN", "yes"),
		annotate(ingress("i", "script.example", "/ app"), "backend-protocol", "FCGI", "fastcgi-index", "index.php", "fastcgi-params-configmap", "params"))
	for _, r := range w.server.live.Load().plan.Rejected {
		t.Errorf("rejected: %v", r)
	}
	var asks []ask
	for _, target := range []string{"/", "/a/", "/a.php?x=y", "/a%20b.php", "/?status=404", "/?status=500", "/?status=204", "/?to=http://x.example/", "/?status=301&to=/x", "/?length"} {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			a := ask{method: method, target: target, headers: []string{"X-Own: 1", "X-Own: 2", "Cookie: a=b"}}
			if method == "POST" {
				a.body, a.headers = strings.Repeat("y", 9000*len(target)), append(a.headers, "Content-Type: text/y")
			}
			asks = append(asks, a)
		}
	}
	for _, a := range asks {
		a.host = "script.example"
		theirs, ours := w.send(w.nginx, a, nil), w.send(w.server.Addr("http").String(), a, nil)
		d := differences(theirs, ours, "Content-Type")
		x, y := strings.Split(theirs.body, "\n"), strings.Split(ours.body, "\n")
		for i := range x { // of a header that comes twice this nginx passes the last on
			x[i] = strings.ReplaceAll(x[i], `x=["2"]`, `x=["1, 2"]`)
		}
		if !slices.Equal(x, y) {
			d = append(d, fmt.Sprintf("%.100q\n  nginx %.100q", y, x))
		}
		if len(d) > 0 {
			t.Errorf("%s %s:\n  %s", a.method, a.target, strings.Join(d, "\n  "))
		}
	}
}

// TestFastCGI: over HTTP/1 and 2, long bodies both ways, in streams; the client's address is
// what it is; without the ConfigMap nobody is asked.
func TestFastCGI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := application(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-For", r.Header.Get("X-Forwarded-For"))
		rw.Header().Set("X-Https", map[bool]string{true: "on"}[r.TLS != nil])
		_, _ = io.Copy(rw, r.Body)
	})
	w.set(service("app"), slice("app", app), annotate(ingress("i", "app.example", "/ app"), "backend-protocol", "FCGI", "proxy-body-size", "0"), secret(t, "none"),
		annotate(ingress("j", "none.example", "/ app"), "backend-protocol", "FCGI", "fastcgi-params-configmap", "absent"))
	for _, scheme := range []string{"http", "https"} {
		for _, size := range []int{0, 1, 70_000, 3_000_000} {
			for _, known := range []bool{true, false} {
				body := io.Reader(strings.NewReader(strings.Repeat("x", size)))
				if !known {
					body = io.MultiReader(body)
				}
				resp, text := w.request("POST", scheme+"://app.example/x", body, "X-Forwarded-For", "192.0.2.1")
				if resp.StatusCode != 200 || len(text) != size || strings.Trim(text, "x") != "" || resp.Header.Get("X-For") != "127.0.0.1" || (resp.Header.Get("X-Https") == "on") != (scheme == "https") {
					t.Errorf("%s %d: %d, %d octets, %v", scheme, size, resp.StatusCode, len(text), resp.Header)
				}
			}
		}
	}
	if resp, _ := w.get("http://none.example/"); resp.StatusCode != 503 {
		t.Errorf("without parameters: %d", resp.StatusCode)
	}
	// Who speaks something else is no application.
	l, _, addr := testkit.Loopback(t)
	testkit.Accept(l, func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") })
	w.set(slice("app", addr))
	if resp, text := w.get("http://app.example/"); resp.StatusCode != 502 {
		t.Errorf("of HTTP: %d %q", resp.StatusCode, text)
	}
}
