package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestBacklogLikeNginx: a pod has done with a response of which its client has read next to
// nothing, behind a gateway as behind Debian's nginx; but not without the annotation, or if
// it says that it does not want that.
func TestBacklogLikeNginx(t *testing.T) {
	w := &twins{world: newWorld(t), seen: map[string]*sight{}}
	const size = 40 << 20
	text := strings.Repeat("0123456789abcdef", size/16)
	done := make(chan error, 1)
	main := w.backendFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-Accel-Buffering", r.URL.Query().Get("buffering"))
		_, err := io.WriteString(rw, text)
		done <- err
	})
	nginx := func(on string) string { return "  location / { proxy_buffering " + on + ";" + passing + "}\n" }
	w.startNginx([]twin{{host: "on.example", server: nginx("on")}, {host: "off.example", server: nginx("off")}}, map[string]string{"main": "server " + main.String() + ";"})
	w.set(service("main"), slice("main", main), annotate(ingress("i", "on.example", "/ main"), "proxy-buffering", "on"), ingress("j", "off.example", "/ main"))
	for _, addr := range []string{w.nginx, w.server.Addr("http").String()} {
		for _, c := range []struct {
			host, says string
			early      bool
		}{{"on.example", "", true}, {"on.example", "no", false}, {"off.example", "", false}, {"off.example", "yes", true}} {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "GET /?buffering=%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", c.says, c.host)
			early := true
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("%s: %v", c.host, err)
				}
			case <-time.After(1500 * time.Millisecond):
				early = false
			}
			if early != c.early {
				t.Errorf("%s, %s, %q: done early %v", addr, c.host, c.says, early)
			}
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			all, err := io.ReadAll(conn)
			if err != nil || strings.Count(string(all), "0123456789abcdef") < size/16-10_000 || len(all) < size {
				t.Errorf("%s, %s: %d octets, %v", addr, c.host, len(all), err)
			}
			conn.Close()
			if !early {
				<-done
			}
		}
	}
}

// TestBacklog: over HTTP/1, 2 and 3, with a file and without, all arrives as it was sent, with
// trailers; and what has come of a response that breaks off.
func TestBacklog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.HTTP3 = true })
	app := handled(t, func(rw http.ResponseWriter, r *http.Request) {
		var n, broken int
		fmt.Sscanf(r.URL.RawQuery, "n=%d&broken=%d", &n, &broken)
		rw.Header().Set("Trailer", "X-Sum")
		for i := range n {
			fmt.Fprintf(rw, "line %d\n", i)
		}
		rw.Header().Set("X-Sum", fmt.Sprint(n))
		if broken > 0 {
			panic(http.ErrAbortHandler)
		}
	})
	w.set(service("a"), slice("a", addrOf(app)), secret(t, "none"), annotate(ingress("i", "file.example", "/ a"), "proxy-buffering", "on"),
		annotate(ingress("j", "memory.example", "/ a"), "proxy-buffering", "on", "proxy-max-temp-file-size", "0", "proxy-buffers-number", "8", "proxy-buffer-size", "8k"))
	for name, c := range map[string]*http.Client{"http": w.client(), "https": w.client(), "h3": w.thirdClient()} {
		scheme := map[bool]string{true: "http", false: "https"}[name == "http"]
		for _, host := range []string{"file.example", "memory.example"} {
			for _, n := range []int{0, 1, 1000, 300_000} {
				resp, err := c.Get(fmt.Sprintf("%s://%s/?n=%d", scheme, host, n))
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(50 * time.Millisecond) // the client is behind
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				lines := strings.Split(string(b), "\n")
				if err != nil || len(lines) != n+1 || n > 0 && lines[n-1] != fmt.Sprintf("line %d", n-1) || resp.Trailer.Get("X-Sum") != fmt.Sprint(n) {
					t.Errorf("%s %s %d: %d lines, %v, %v", name, host, n, len(lines), resp.Trailer, err)
				}
			}
			resp, err := c.Get(fmt.Sprintf("%s://%s/?n=100000&broken=1", scheme, host))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("%s %s: nobody is told that the response has broken off", name, host)
			}
			resp.Body.Close()
		}
	}
	w.server.held.Store(heldMost) // no room for files, so that the pod waits
	if resp, text := w.get("http://file.example/?n=300000"); resp.StatusCode != 200 || strings.Count(text, "\n") != 300_000 {
		t.Errorf("without room: %d, %d octets", resp.StatusCode, len(text))
	}
	w.server.held.Store(0)
	conn := w.raw("http") // who goes away is noticed
	conn.send("GET /?n=3000000 HTTP/1.1\r\nHost: file.example\r\n\r\n")
	time.Sleep(50 * time.Millisecond)
	conn.Close()
	eventually(t, func() bool { return w.server.active.Load() == 0 && w.server.held.Load() == 0 }, "nothing is under way, and no file there")
}
