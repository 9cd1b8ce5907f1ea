package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestMirror(t *testing.T) {
	w := newWorld(t)
	a := w.backend("a")
	copies := make(chan string, 10)
	target := handled(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		copies <- fmt.Sprintf("%s %s host=%s %d", r.Method, r.RequestURI, r.Host, len(body))
	})
	w.set(service("a"), slice("a", addrOf(a)), annotate(ingress("a", "h.example", "/ a"), "mirror-target", target.URL+"/copy$request_uri", "mirror-host", "copy.example"),
		annotate(ingress("b", "headless.example", "/ a"), "mirror-target", target.URL, "mirror-request-body", "off"))
	for _, c := range []struct {
		url, want string
		size      int
	}{
		{"http://h.example/x?y", "POST /copy/x?y host=copy.example 3", 3},
		{"http://h.example/x", "POST /copy/x host=copy.example 300000", 300_000},
		{"http://headless.example/", "POST / host=" + strings.TrimPrefix(target.URL, "http://") + " 0", 3},
	} {
		for _, chunked := range []bool{false, true} {
			body := io.Reader(strings.NewReader(strings.Repeat("x", c.size)))
			if chunked {
				body = struct{ io.Reader }{body}
			}
			if resp, text := w.request("POST", c.url, body); resp.StatusCode != 200 || !strings.HasSuffix(text, strings.Repeat("x", c.size)) {
				t.Errorf("%s: %d %.80s", c.url, resp.StatusCode, text)
			}
			select {
			case got := <-copies:
				if got != c.want {
					t.Errorf("mirrored %q, want %q", got, c.want)
				}
			case <-time.After(5 * time.Second):
				t.Errorf("%s: no copy", c.url)
			}
		}
	}
	// A long body is copied while it goes to the endpoint.
	big := annotate(ingress("c", "big.example", "/ a"), "mirror-target", target.URL, "proxy-body-size", "0")
	w.set(big)
	if _, text := w.request("POST", "http://big.example/", struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 3<<20))}); !strings.HasSuffix(text, strings.Repeat("x", 3<<20)) {
		t.Errorf("%d bytes came", len(text))
	}
	if got, want := <-copies, "POST / host="+strings.TrimPrefix(target.URL, "http://")+fmt.Sprint(" ", 3<<20); got != want {
		t.Errorf("mirrored %q, want %q", got, want)
	}
}

// TestMirrorThatDoesNotTake: the request goes on without it.
func TestMirrorThatDoesNotTake(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stuck := make(chan struct{})
	target := handled(t, func(_ http.ResponseWriter, r *http.Request) { <-stuck })
	defer close(stuck)
	w.set(service("a"), slice("a", addrOf(w.backend("a"))), annotate(ingress("c", "big.example", "/ a"), "mirror-target", target.URL, "proxy-body-size", "0"))
	if _, text := w.request("POST", "http://big.example/", struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 16<<20))}); !strings.HasSuffix(text, strings.Repeat("x", 16<<20)) {
		t.Errorf("%d bytes came", len(text))
	}
}
