package proxy

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/model"
)

// faults makes TestChangesUnderLoad take a minute, with 5,000 requests per second.
var faults = flag.Bool("faults", false, "let changes go on for a minute, under 5,000 requests per second")

// TestChangesUnderLoad changes routes, certificates and endpoints while clients
// ask over HTTP/1.1, 2 and 3, download and talk: nothing may fail. Its clients ask as
// often as they get answers, with -faults at a rate.
func TestChangesUnderLoad(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.HTTP3 = true })
	a, b := w.backend("a"), w.backend("b")
	ing := ingress("i", "h.example", "/ a")
	ing.TLS = []model.IngressTLS{{Hosts: []string{"h.example"}, Secret: "s"}}
	ing.Annotations["nginx.ingress.kubernetes.io/ssl-redirect"] = "false"
	w.set(service("a"), sliceNamed("a-0", "a", addrOf(a)), ing, secret(t, "s", "h.example"))
	stop := make(chan struct{})
	var requests atomic.Int64
	var wg sync.WaitGroup
	long := w.long(stop, &wg)
	clients, every, pause := 6, time.Duration(0), time.Millisecond
	if *faults {
		clients, every, pause = 50, 10*time.Millisecond, 60*time.Millisecond
	}
	begun := time.Now()
	for i := range clients {
		url := []string{"http://h.example/x", "https://h.example/x"}[i%2]
		wg.Go(func() {
			c := w.client()
			if i%6 == 5 {
				c = w.thirdClient()
			}
			for due := begun; ; due = due.Add(every) {
				select {
				case <-stop:
					return
				case <-time.After(time.Until(due)):
				}
				resp, text, err := w.try(c, "GET", url, nil)
				if err != nil || resp.StatusCode != 200 {
					t.Errorf("%s: %v %v %s", url, resp, err, text)
					return
				}
				requests.Add(1)
			}
		})
	}
	for i := range 1000 {
		switch i % 3 {
		case 0:
			w.set(ingress("other", fmt.Sprintf("h%d.example", i), "/ a"), ingress("more", "h.example", fmt.Sprintf("/p%d b", i)))
		case 1:
			w.set(secret(t, "s", "h.example"))
		case 2:
			addrs := []netip.AddrPort{addrOf(a), addrOf(b)}
			w.set(sliceNamed("a-0", "a", addrs[i/3%2]))
		}
		time.Sleep(pause)
	}
	took := time.Since(begun)
	close(stop)
	wg.Wait()
	t.Logf("%d requests, %.0f per second, during 1,000 changes", requests.Load(), float64(requests.Load())/took.Seconds())
	if n := requests.Load(); n < 1000 {
		t.Errorf("only %d requests during 1,000 changes", n)
	}
	for name, n := range long {
		if n.Load() < 10 {
			t.Errorf("%s: only %d pieces during 1,000 changes", name, n.Load())
		}
	}
}

// long begins what lasts as long as the changes: a download over each version and an
// upgraded connection. It counts what they get.
func (w *world) long(stop chan struct{}, wg *sync.WaitGroup) map[string]*atomic.Int64 {
	t := w.t
	s := w.backendFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			c, _, _ := rw.(http.Hijacker).Hijack()
			defer c.Close()
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			io.Copy(c, c)
			return
		}
		for r.Context().Err() == nil {
			rw.Write(make([]byte, 1000))
			http.NewResponseController(rw).Flush()
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	w.set(service("long"), slice("long", s), ingress("long", "long.example", "/ long"))
	count := map[string]*atomic.Int64{"http": {}, "https": {}, "upgrade": {}}
	for _, scheme := range []string{"http", "https"} {
		c := w.client()
		c.Timeout = 0
		resp, err := c.Get(scheme + "://long.example/")
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer resp.Body.Close()
			for b := make([]byte, 1000); ; {
				_, err := io.ReadFull(resp.Body, b)
				if err == io.EOF {
					return
				}
				if err != nil {
					t.Errorf("download over %s: %v", scheme, err)
					return
				}
				count[scheme].Add(1)
			}
		})
	}
	c := w.raw("http")
	c.SetDeadline(time.Time{})
	c.send("GET / HTTP/1.1\r\nHost: long.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	if resp, err := http.ReadResponse(c.Reader, nil); err != nil || resp.StatusCode != 101 {
		t.Fatalf("upgrade: %v %v", resp, err)
	}
	wg.Go(func() {
		b := make([]byte, 4)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			_, err := io.WriteString(c.Conn, "ping")
			if err == nil {
				_, err = io.ReadFull(c.Reader, b)
			}
			if err != nil || string(b) != "ping" {
				t.Errorf("upgraded connection: %q %v", b, err)
				return
			}
			count["upgrade"].Add(1)
		}
	})
	return count
}

// TestPodDiesDuringRequests kills one of three backends, its connections
// included, while requests run one after the other, before its endpoint leaves.
func TestPodDiesDuringRequests(t *testing.T) {
	w := newWorld(t)
	var pods []*httptest.Server
	objects := []any{service("a"), ingress("i", "", "/ a")}
	for i := range 3 {
		pods = append(pods, w.backend(fmt.Sprint("pod", i)))
		objects = append(objects, sliceNamed(fmt.Sprint("a-", i), "a", addrOf(pods[i])))
	}
	w.set(objects...)
	c := w.client()
	for i := range 1000 {
		switch i {
		case 300:
			pods[0].Listener.Close()
			pods[0].CloseClientConnections()
		case 500:
			w.set(sliceNamed("a-0", "a"))
		case 600:
			pods[1].Listener.Close()
			pods[1].CloseClientConnections()
		}
		resp, text, err := w.try(c, "GET", "http://h/", nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("request %d: %v %v %s", i, resp, err, text)
		}
	}
}

// TestRetry says which requests are offered to a second endpoint.
func TestRetry(t *testing.T) {
	for _, c := range []struct {
		method, body string
		fails        string // how the first endpoint fails
		want         int
	}{
		{"GET", "", "refuses", 200},
		{"POST", "data", "refuses", 200}, // nothing was sent
		{"GET", "", "closes", 200},
		{"PUT", "", "closes", 200},
		{"PUT", "data", "closes", 200}, // all of the body has come before
		{"POST", "", "closes", 502},    // it may have been acted on
		{"POST", "data", "closes", 502},
		{"PATCH", "", "closes", 502},
		{"GET", "", "says 500", 500}, // an answer is an answer
	} {
		t.Run(c.method+" "+c.body+" "+c.fails, func(t *testing.T) {
			w := newWorld(t)
			var asked atomic.Int32
			bad := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				if c.fails == "says 500" {
					rw.WriteHeader(500)
					return
				}
				_, _ = io.ReadAll(r.Body)
				panic(http.ErrAbortHandler)
			}))
			bad.Config.ErrorLog = log.New(io.Discard, "", 0)
			t.Cleanup(bad.Close)
			addr := addrOf(bad)
			if c.fails == "refuses" {
				bad.Close()
			}
			good := w.backend("good")
			w.set(service("a"), sliceNamed("a-0", "a", addr), sliceNamed("a-1", "a", addrOf(good)), ingress("i", "", "/ a"))
			w.turnOf(named("a"), addr)
			var body io.Reader
			if c.body != "" {
				body = strings.NewReader(c.body)
			}
			resp, text := w.request(c.method, "http://h/", body)
			if resp.StatusCode != c.want {
				t.Errorf("status %d, want %d: %s", resp.StatusCode, c.want, text)
			}
			if resp.StatusCode == 200 && !strings.Contains(text, "body="+c.body) {
				t.Errorf("the body was lost: %s", text)
			}
			if c.fails != "refuses" && asked.Load() != 1 {
				t.Errorf("the bad endpoint was asked %d times", asked.Load())
			}
		})
	}
}

// TestNoEndpointAnswers says what the client gets when all attempts fail.
func TestNoEndpointAnswers(t *testing.T) {
	w := newWorld(t)
	a, b := w.backend("a"), w.backend("b")
	a.Close()
	b.Close()
	w.set(service("a"), sliceNamed("a-0", "a", addrOf(a)), sliceNamed("a-1", "a", addrOf(b)), ingress("i", "", "/ a"))
	if resp, text := w.get("http://h/"); resp.StatusCode != 502 || !strings.Contains(text, "no connection to endpoint 127.0.0.1:") {
		t.Errorf("%d %q", resp.StatusCode, text)
	}
}

// TestWebSocketOutlivesChanges upgrades a connection and uses it across changes
// that remove its route, its endpoint and everything else.
func TestWebSocketOutlivesChanges(t *testing.T) {
	w := newWorld(t)
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Connection") != "Upgrade" {
			http.Error(rw, "no upgrade", 400)
			return
		}
		conn, buf, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(buf, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n")
		buf.Flush()
		_, _ = io.Copy(conn, buf)
	}))
	t.Cleanup(s.Close)
	ing := ingress("i", "h.example", "/ws a")
	w.set(service("a"), slice("a", addrOf(s)), ing)
	conn, err := net.Dial("tcp", w.server.Addr("http").String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(conn, "GET /ws HTTP/1.1\r\nHost: h.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" {
		t.Fatalf("no upgrade: %v %v", resp, err)
	}
	echo := func(text string) {
		t.Helper()
		fmt.Fprintln(conn, text)
		if line, err := r.ReadString('\n'); line != text+"\n" {
			t.Fatalf("echo of %q: %q, %v", text, line, err)
		}
	}
	echo("before")
	w.set(ingress("i", "h.example", "/other a"))
	echo("without a route")
	w.set(slice("a"))
	echo("without an endpoint")
	w.set(&model.Service{Name: named("a")})
	echo("without a port")
	if n := w.server.active.Load(); n != 1 {
		t.Errorf("%d exchanges active, want the upgraded one", n)
	}
	conn.Close()
	eventually(t, func() bool { return w.server.active.Load() == 0 }, "the upgraded exchange ends with its client")
	eventually(t, func() bool { w.server.mu.Lock(); defer w.server.mu.Unlock(); return len(w.server.endpoints) == 0 }, "no endpoint is left")
}

// TestEndDrains tells the server to end while a request is under way.
func TestEndDrains(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.LameDuck = time.Second })
	begun, finish := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(begun)
			<-finish
		}
		fmt.Fprint(rw, "done")
	}))
	t.Cleanup(s.Close)
	w.set(service("a"), slice("a", addrOf(s)), ingress("i", "", "/ a"))
	slow := make(chan string, 1)
	go func() {
		resp, text, err := w.try(w.client(), "GET", "http://h/slow", nil)
		slow <- fmt.Sprint(resp != nil && resp.StatusCode == 200, text, err)
	}()
	<-begun
	w.end()
	eventually(t, func() bool { return w.server.Ready() != nil }, "not ready")
	resp, text := w.get("http://h/new") // a load balancer that has not noticed yet
	if resp.StatusCode != 200 || text != "done" || !resp.Close {
		t.Errorf("lame duck: %d %q, closes %v", resp.StatusCode, text, resp.Close)
	}
	eventually(t, func() bool {
		c, err := net.Dial("tcp", w.server.Addr("http").String())
		if err == nil {
			c.Close()
		}
		return err != nil
	}, "no new connections")
	close(finish)
	if got := <-slow; got != "truedone<nil>" {
		t.Errorf("the slow request: %s", got)
	}
	select {
	case err := <-w.ended:
		if err != nil {
			t.Error(err)
		}
		w.ended <- nil
	case <-time.After(5 * time.Second):
		t.Error("the server does not end")
	}
}

// TestClientGoesAway frees the endpoint when nobody waits for its answer.
func TestClientGoesAway(t *testing.T) {
	w := newWorld(t)
	gone := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(gone)
	}))
	t.Cleanup(s.Close)
	w.set(service("a"), slice("a", addrOf(s)), ingress("i", "", "/ a"))
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, "GET", "http://h/", nil)
	if _, err := w.client().Do(r); err == nil {
		t.Fatal("there was an answer")
	}
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
		t.Error("the backend still works on it")
	}
}
