package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// TestHeadBeforeBody: the head of a response does not wait for its body, which may be long
// in coming, as that of an event stream; whatever clients and endpoints speak.
func TestHeadBeforeBody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.HTTP3 = true })
	free := make(chan struct{})
	pod := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		if r.URL.Path == "/length" {
			rw.Header().Set("Content-Length", "5")
		}
		_ = http.NewResponseController(rw).Flush()
		<-free
		io.WriteString(rw, "event")
	})
	first, second := handled(t, pod), handledInHTTP2(t, pod)
	svc := service("b")
	svc.Ports[0].AppProtocol = "kubernetes.io/h2c"
	old := listening(t, func(c net.Conn) { // whose body is all until the end of the connection
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\n")
			<-free
			io.WriteString(c, "event")
		}
	})
	w.set(service("a"), slice("a", addrOf(first)), svc, slice("b", addrOf(second)), service("c"), slice("c", old), ingress("a", "1.example", "/ a"), ingress("b", "2.example", "/ b"), ingress("c", "0.example", "/ c"),
		configMap("fairway-system", "ingress-nginx-controller", "use-gzip", "true", "gzip-types", "*"))
	third := w.thirdClient()
	type result struct {
		name string
		resp *http.Response
		err  error
	}
	heads, n := make(chan result), 0
	for _, scheme := range []string{"http", "https", "h3"} {
		for _, host := range []string{"0.example/", "1.example/", "1.example/length", "2.example/"} {
			c, url := w.client(), scheme+"://"+host
			if scheme == "h3" {
				c, url = third, "https://"+host
			}
			n++
			go func() {
				resp, err := c.Get(url)
				heads <- result{fmt.Sprint(scheme, " ", host), resp, err}
			}()
		}
	}
	var came []result
	for range n {
		select {
		case r := <-heads:
			if r.err != nil || r.resp.StatusCode != 200 {
				t.Errorf("%s: %v %v", r.name, r.resp, r.err)
				continue
			}
			came = append(came, r)
		case <-time.After(5 * time.Second):
			t.Errorf("%d of %d heads came", len(came), n)
			close(free)
			return
		}
	}
	close(free)
	for _, r := range came {
		b, err := io.ReadAll(r.resp.Body)
		r.resp.Body.Close()
		if string(b) != "event" || err != nil {
			t.Errorf("%s: %q %v", r.name, b, err)
		}
	}
}

// TestRefusedStream: what an endpoint of HTTP/2 has not looked at goes to another one,
// whatever the method (RFC 9113, section 8.7); what it has may not.
func TestRefusedStream(t *testing.T) {
	t.Parallel()
	for code, want := range map[http2.ErrCode]int{http2.ErrCodeRefusedStream: 200, http2.ErrCodeInternal: 502} {
		w := newWorld(t)
		good := handledInHTTP2(t, func(rw http.ResponseWriter, r *http.Request) { _, _ = io.Copy(rw, r.Body) })
		bad := resetting(t, code)
		svc := service("a")
		svc.Ports[0].AppProtocol = "kubernetes.io/h2c"
		w.set(svc, sliceNamed("a-0", "a", bad), sliceNamed("a-1", "a", addrOf(good)), ingress("i", "", "/ a"))
		w.turnOf(named("a"), bad)
		if resp, text := w.request("POST", "http://h/", strings.NewReader("data")); resp.StatusCode != want || want == 200 && text != "data" {
			t.Errorf("after %v: %d %s", code, resp.StatusCode, text)
		}
	}
}

// TestEndlessHints: an endpoint that never comes to the point gives no answer.
func TestEndlessHints(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pod := listening(t, func(c net.Conn) {
		for err := error(nil); err == nil; time.Sleep(time.Millisecond) {
			_, err = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
		}
	})
	w.set(service("a"), slice("a", pod), ingress("i", "", "/ a"))
	c := w.raw("http")
	c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	for hints := 0; ; hints++ {
		resp, err := http.ReadResponse(c.Reader, nil)
		if err != nil || hints > maxInterim {
			t.Fatalf("%v %v after %d hints", resp, err, hints)
		}
		if resp.StatusCode == 502 {
			return
		}
	}
}
