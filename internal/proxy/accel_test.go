package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestAccelRedirect: a pod sends requests on to paths of its host, over HTTP/1, 2 and 3; what
// the rules of those paths say holds, and circles end.
func TestAccelRedirect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.HTTP3 = true })
	files := handled(t, func(rw http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(rw, "%s %s %q", r.Method, r.RequestURI, b)
	})
	app := handled(t, func(rw http.ResponseWriter, r *http.Request) {
		to := r.URL.Query().Get("to")
		if r.URL.Path == "/circle" {
			to = "/circle"
		}
		rw.Header().Set("X-Accel-Redirect", to)
		rw.Header().Set("Set-Cookie", "a=b")
		rw.Header().Set("X-App", "1")
		_, _ = io.WriteString(rw, "not for clients")
	})
	w.set(service("app"), slice("app", addrOf(app)), service("files"), slice("files", addrOf(files)), ingress("i", "h.example", "/ app", "/files files"),
		annotate(ingress("j", "h.example", "/closed files"), "denylist-source-range", "0.0.0.0/0"), secret(t, "none"))
	for name, c := range map[string]*http.Client{"http": w.client(), "https": w.client(), "h3": w.thirdClient()} {
		at := map[bool]string{true: "http", false: "https"}[name == "http"] + "://h.example/?to="
		for _, try := range []struct {
			method, to string
			status     int
			text       string
		}{
			{"GET", "/files/x?y", 200, `GET /files/x?y ""`},
			{"POST", "/files/x", 200, `GET /files/x ""`},
			{"HEAD", "/files/x", 200, ""},
			{"GET", "/?to=/files/z", 200, `GET /files/z ""`},
			{"GET", "/closed", 403, "403 Forbidden\nrequests from your address are not allowed here\n"},
			{"GET", "/?to=/closed", 403, "403 Forbidden\nrequests from your address are not allowed here\n"},
			{"GET", "/circle", 500, "500 Internal Server Error\nan endpoint sends the request around in circles\n"},
			{"GET", "http://other.example/", 404, "404 Not Found\nan endpoint sends the request to what is no path\n"},
		} {
			body := io.Reader(nil)
			if try.method == "POST" {
				body = strings.NewReader(strings.Repeat("x", 300_000))
			}
			resp, text, err := w.try(c, try.method, at+url.QueryEscape(try.to), body)
			if err != nil || resp.StatusCode != try.status || text != try.text || resp.Header.Get("X-App")+resp.Header.Get("X-Accel-Redirect") != "" ||
				try.status == 200 && (resp.Header.Get("Set-Cookie") != "a=b" || resp.Header.Get("Server") != serverName) {
				t.Errorf("%s %s %s: %v %v %q", name, try.method, try.to, err, resp, text)
			}
		}
	}
}

// TestAccelLimitRate: a pod bounds how fast its response goes, or lifts the rule's bound.
func TestAccelLimitRate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := handled(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-Accel-Limit-Rate", r.URL.Query().Get("rate"))
		_, _ = rw.Write(make([]byte, 96<<10))
	})
	w.set(service("app"), slice("app", addrOf(app)), ingress("i", "free.example", "/ app"), annotate(ingress("j", "slow.example", "/ app"), "limit-rate", "64"))
	for _, try := range []struct {
		url        string
		from, upTo time.Duration
	}{{"free.example/?rate=65536", time.Second, 10 * time.Second}, {"free.example/?rate=no", 0, time.Second}, {"slow.example/?rate=no", time.Second, 10 * time.Second}, {"slow.example/?rate=0", 0, time.Second}} {
		begun := time.Now()
		resp, text := w.get("http://" + try.url)
		if took := time.Since(begun); len(text) != 96<<10 || took < try.from || took > try.upTo || resp.Header.Get("X-Accel-Limit-Rate") != "" {
			t.Errorf("%s: %d octets in %v, %v", try.url, len(text), took, resp.Header)
		}
	}
}
