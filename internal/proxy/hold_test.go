package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestHoldLikeNginx: a pod gets a request when all of its body has come, from a gateway as
// from Debian's nginx; with the annotation it gets it at once.
func TestHoldLikeNginx(t *testing.T) {
	w := &twins{world: newWorld(t), seen: map[string]*sight{}}
	var begun atomic.Int64
	main := w.backendFunc(func(rw http.ResponseWriter, r *http.Request) {
		begun.Add(1)
		b, err := io.ReadAll(r.Body)
		fmt.Fprintf(rw, "%d %v %v %v", len(b), err, r.ContentLength, strings.Trim(string(b), "x") == "")
	})
	w.startNginx([]twin{{host: "held.example", server: locations("/")}, {host: "passed.example", server: "  location / { proxy_request_buffering off;" + passing + "}\n"}}, map[string]string{"main": "server " + main.String() + ";"})
	w.set(service("main"), slice("main", main), ingress("i", "held.example", "/ main"), annotate(ingress("j", "passed.example", "/ main"), "proxy-request-buffering", "off"))
	for _, addr := range []string{w.nginx, w.server.Addr("http").String()} {
		for _, host := range []string{"held.example", "passed.example"} {
			for _, size := range []int{100, 10_000, 100_000, 900_000} {
				for _, chunked := range []bool{false, true} {
					before := begun.Load()
					c, err := net.Dial("tcp", addr)
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					half := strings.Repeat("x", size/2)
					frame := fmt.Sprintf("Content-Length: %d\r\n\r\n%s", size, half)
					if chunked {
						frame = fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(half), half)
					}
					fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: %s\r\n%s", host, frame)
					time.Sleep(30 * time.Millisecond)
					if early := begun.Load() > before; early != (host == "passed.example") {
						t.Errorf("%s, %s, %d octets, chunked %v: the pod has the request with half of its body: %v", addr, host, size, chunked, early)
					}
					if chunked {
						half = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(half), half)
					}
					_, _ = io.WriteString(c, half)
					c.SetDeadline(time.Now().Add(10 * time.Second))
					resp, err := http.ReadResponse(bufio.NewReader(c), nil)
					if err != nil {
						t.Fatal(err)
					}
					text, _ := io.ReadAll(resp.Body)
					length := size
					if chunked && host == "passed.example" {
						length = -1
					}
					if want := fmt.Sprintf("%d <nil> %d true", size, length); string(text) != want {
						t.Errorf("%s, %s, %d octets, chunked %v: %q, want %q", addr, host, size, chunked, text, want)
					}
				}
			}
		}
	}
	if n := w.server.held.Load(); n != 0 {
		t.Errorf("%d octets are still held", n)
	}
}

// TestHeldIsSentAgain: another endpoint gets all of the body when the first one breaks off in
// the middle of it, over all versions; and what there is no room for is passed on.
func TestHeldIsSentAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.HTTP3 = true })
	good := handled(t, func(rw http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		fmt.Fprintf(rw, "%d %v %v", len(b), err, strings.Trim(string(b), "x") == "")
	})
	var broken atomic.Int64
	bad := listening(t, func(c net.Conn) { // some of the body, and no more
		_, _ = io.ReadFull(c, make([]byte, 3000))
		broken.Add(1)
	})
	w.set(service("a"), sliceNamed("a-1", "a", bad), sliceNamed("a-2", "a", addrOf(good)), annotate(ingress("i", "h.example", "/ a"), "proxy-body-size", "0"), secret(t, "none"))
	clients := map[string]*http.Client{"http": w.client(), "https": w.client(), "h3": w.thirdClient()}
	for name, c := range clients {
		scheme := map[bool]string{true: "http", false: "https"}[name == "http"]
		for _, size := range []int{5000, 50_000, 3_000_000} {
			for _, known := range []bool{true, false} {
				before := broken.Load()
				for range 20 { // until it was the bad one's turn
					body := io.Reader(strings.NewReader(strings.Repeat("x", size)))
					if !known {
						body = io.MultiReader(body)
					}
					resp, text, err := w.try(c, "PUT", scheme+"://h.example/", body)
					if err != nil || resp.StatusCode != 200 || text != fmt.Sprintf("%d <nil> true", size) {
						t.Fatalf("%s %d: %v %v %q", name, size, err, resp, text)
					}
					time.Sleep(5 * time.Millisecond)
					if broken.Load() > before {
						break
					}
				}
			}
		}
	}
	if broken.Load() == 0 {
		t.Error("no request has been broken off")
	}
	w.set(sliceNamed("a-1", "a"))
	w.server.held.Store(heldMost - 100_000)
	for _, known := range []bool{true, false} {
		body := io.Reader(strings.NewReader(strings.Repeat("x", 500_000)))
		if !known {
			body = io.MultiReader(body)
		}
		if resp, text := w.request("PUT", "http://h.example/", body); resp.StatusCode != 200 || text != "500000 <nil> true" {
			t.Errorf("without room: %d %q", resp.StatusCode, text)
		}
	}
	eventually(t, func() bool { return w.server.held.Load() == heldMost-100_000 }, "nothing is held any more")
}

// TestHeldBounds: a body that is too large, broken or slow is answered, and no pod hears of it.
func TestHeldBounds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var asked atomic.Int64
	s := w.backendFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	w.set(service("a"), slice("a", s), annotate(ingress("i", "", "/ a"), "proxy-body-size", "50k"), configMap("fairway-system", "ingress-nginx-controller", "client-body-timeout", "1"))
	big := strings.Repeat("x", 60<<10)
	for what, c := range map[string]struct {
		text   string
		status int
	}{
		"too large": {fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(big), big), 413},
		"malformed": {fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n4000\r\n%s", big), 400},
		"slow":      {"Content-Length: 30000\r\n\r\nx", 408},
	} {
		conn := w.raw("http")
		conn.send("POST / HTTP/1.1\r\nHost: h\r\n" + c.text)
		if resp, text := conn.response("POST"); resp.StatusCode != c.status || !resp.Close {
			t.Errorf("%s: %d %q", what, resp.StatusCode, text)
		}
	}
	conn := w.raw("http")
	conn.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 30000\r\n\r\nx")
	conn.Close()
	eventually(t, func() bool { return w.server.held.Load() == 0 && w.server.active.Load() == 0 }, "nothing is held any more")
	if asked.Load() != 0 {
		t.Errorf("the pod was asked %d times", asked.Load())
	}
}

// TestHeldWithoutFile: where there is no room for files long bodies are passed on.
func TestHeldWithoutFile(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()+"/none")
	w := newWorld(t)
	s := w.backendFunc(func(rw http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		fmt.Fprint(rw, len(b), err)
	})
	w.set(service("a"), slice("a", s), ingress("i", "", "/ a"))
	if resp, text := w.request("POST", "http://h.example/", strings.NewReader(strings.Repeat("x", 500_000))); resp.StatusCode != 200 || text != "500000 <nil>" {
		t.Errorf("%d %q", resp.StatusCode, text)
	}
}
