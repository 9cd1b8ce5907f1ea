package proxy

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/testkit"
)

// optioned is a world with options of ingress-nginx's ConfigMap, and Ingress h.example.
func optioned(t *testing.T, change func(*Options), pairs ...string) *world {
	t.Helper()
	w := newWorld(t, change)
	w.set(service("a"), slice("a", addrOf(w.backend("a"))), ingress("i", "h.example", "/ a"), configMap("fairway-system", "ingress-nginx-controller", pairs...))
	for _, r := range w.server.live.Load().plan.Rejected {
		t.Fatalf("rejected: %v", r)
	}
	return w
}

func nothing(*Options) {}

func (w *world) dial(listener string) net.Conn {
	w.t.Helper()
	c, err := net.Dial("tcp", w.server.Addr(listener).String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

func TestOptionsOfConnections(t *testing.T) {
	t.Parallel()
	const head = "GET / HTTP/1.1\r\nHost: h.example\r\n"
	w := optioned(t, nothing, "keep-alive-requests", "2", "keep-alive", "1", "client-header-timeout", "1", "client-body-timeout", "1", "http2-max-concurrent-streams", "7")
	t.Run("requests", func(t *testing.T) {
		c := w.dial("http")
		r := bufio.NewReader(c)
		for i, closes := range []bool{false, true} {
			io.WriteString(c, head+"\r\n")
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			if resp.Close != closes {
				t.Errorf("response %d says close: %v", i, resp.Close)
			}
		}
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("after the last: %v", err)
		}
	})
	for name, c := range map[string]struct {
		send   string
		status int // 0: the connection ends without a word
	}{"idle": {head + "\r\n", 0}, "head": {head, 408}, "body": {"POST / HTTP/1.1\r\nHost: h.example\r\nContent-Length: 5\r\n\r\nx", 408}} {
		t.Run(name, func(t *testing.T) {
			conn := w.dial("http")
			r := bufio.NewReader(conn)
			io.WriteString(conn, c.send)
			if name == "idle" {
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body)
			}
			begun := time.Now()
			resp, err := http.ReadResponse(r, nil)
			if took := time.Since(begun); took < 500*time.Millisecond || took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			if c.status == 0 && err != io.ErrUnexpectedEOF || c.status != 0 && (err != nil || resp.StatusCode != c.status) {
				t.Errorf("%v, %v", resp, err)
			}
		})
	}
	t.Run("head that drips", func(t *testing.T) {
		conn := w.dial("http")
		begun := time.Now()
		go func() {
			for err := error(nil); err == nil && time.Since(begun) < 8*time.Second; time.Sleep(100 * time.Millisecond) {
				_, err = io.WriteString(conn, "X")
			}
		}()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if took := time.Since(begun); err != nil || resp.StatusCode != 408 || took > 5*time.Second {
			t.Errorf("%v, %v, after %v", resp, err, took)
		}
	})
	t.Run("no second request", func(t *testing.T) {
		w := optioned(t, nothing, "keep-alive", "0", "keep-alive-requests", "100")
		c := w.dial("http")
		io.WriteString(c, head+"\r\n")
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || !resp.Close {
			t.Errorf("%v, %v", resp, err)
		}
	})
	t.Run("streams", func(t *testing.T) {
		conn := tls.Client(w.dial("https"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
		var frame [9]byte
		if _, err := io.ReadFull(conn, frame[:]); err != nil || frame[3] != 4 {
			t.Fatalf("%x, %v", frame, err)
		}
		settings := make([]byte, int(frame[1])<<8|int(frame[2]))
		if _, err := io.ReadFull(conn, settings); err != nil {
			t.Fatal(err)
		}
		got := uint32(0)
		for s := settings; len(s) >= 6; s = s[6:] {
			if binary.BigEndian.Uint16(s) == 3 { // SETTINGS_MAX_CONCURRENT_STREAMS
				got = binary.BigEndian.Uint32(s[2:])
			}
		}
		if got != 7 {
			t.Errorf("%d streams", got)
		}
	})
}

func TestOptionsOfTLS(t *testing.T) {
	t.Parallel()
	w := optioned(t, nothing, "ssl-protocols", "TLSv1.3", "use-http2", "false", "ssl-reject-handshake", "true")
	for _, c := range []struct {
		host string
		max  uint16
		fail string // "": it does not
	}{
		{"h.example", 0, ""}, {"h.example", tls.VersionTLS12, "protocol version"}, {"other.example", 0, "unrecognized name"},
	} {
		conn := tls.Client(w.dial("https"), &tls.Config{InsecureSkipVerify: true, ServerName: c.host, MaxVersion: c.max, NextProtos: []string{"h2", "http/1.1"}})
		err := conn.Handshake()
		if c.fail == "" && (err != nil || conn.ConnectionState().NegotiatedProtocol != "http/1.1") || c.fail != "" && (err == nil || !strings.Contains(err.Error(), c.fail)) {
			t.Errorf("%+v: %v, %q", c, err, conn.ConnectionState().NegotiatedProtocol)
		}
	}
	// The next handshake is that of new options.
	w.set(configMap("fairway-system", "ingress-nginx-controller", "ssl-protocols", "TLSv1.2"))
	conn := tls.Client(w.dial("https"), &tls.Config{InsecureSkipVerify: true, ServerName: "other.example", NextProtos: []string{"h2", "http/1.1"}})
	if err := conn.Handshake(); err != nil || conn.ConnectionState().Version != tls.VersionTLS12 || conn.ConnectionState().NegotiatedProtocol != "h2" {
		t.Errorf("%v, %+v", err, conn.ConnectionState())
	}
}

func TestOptionsOfTheAccessLog(t *testing.T) {
	t.Parallel()
	var log testkit.Text
	w := optioned(t, func(o *Options) { o.AccessLog = &AccessLog{To: &log} }, "skip-access-log-urls", "/healthz,~^/static", "default-backend-service", "default/a")
	for _, url := range []string{"http://h.example/healthz", "http://h.example/healthz?x", "http://h.example/static/y", "http://nobodys.example/z", "http://h.example/last"} {
		if resp, _ := w.get(url); resp.StatusCode != 200 {
			t.Errorf("%s: %d", url, resp.StatusCode)
		}
	}
	eventually(t, func() bool { return strings.Contains(log.String(), "/last") }, "the last request is logged")
	if got := log.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "healthz") || !strings.Contains(got, "x") {
		t.Errorf("want /healthz?x and /last:\n%s", got)
	}
}

// TestOptionsOfStreams: silence ends a connection, and who has answered often enough has
// done its part.
func TestOptionsOfStreams(t *testing.T) {
	t.Parallel()
	port := freePorts(t, 1)[0]
	w := optioned(t, func(o *Options) { o.StreamAddr = func(p uint16) string { return fmt.Sprint("127.0.0.1:", p) } },
		"proxy-stream-timeout", "1s", "proxy-stream-responses", "1", "proxy-stream-next-upstream-tries", "1")
	var slices []any
	for i := range 2 {
		l, pc, addr := testkit.Loopback(t)
		testkit.Accept(l, func(c net.Conn) { io.Copy(c, c) })
		go func() {
			b := make([]byte, 100)
			for {
				_, from, err := pc.ReadFrom(b)
				if err != nil {
					return
				}
				pc.WriteTo(fmt.Append(nil, i), from)
			}
		}()
		s := sliceNamed(fmt.Sprint("both-", i), "both", addr)
		s.Ports = append(s.Ports, model.EndpointPort{Name: "datagrams", Protocol: model.UDP, Port: s.Ports[0].Port})
		slices = append(slices, s)
	}
	both := service("both")
	both.Ports = append(both.Ports, model.ServicePort{Name: "datagrams", Protocol: model.UDP, Port: 80})
	w.set(append(slices, both, configMap("fairway-system", "tcp-services", port, "default/both:80"), configMap("fairway-system", "udp-services", port, "default/both:80"))...)
	if got := w.server.live.Load().plan.Streams; len(got) != 2 || got[0].Timeout != time.Second || got[0].Responses != 1 || got[0].Tries != 1 {
		t.Fatalf("streams %+v", got)
	}
	silent, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	b := make([]byte, 10)
	for range 4 { // longer than the timeout in all
		silent.SetDeadline(time.Now().Add(5 * time.Second))
		io.WriteString(silent, "x")
		if _, err := silent.Read(b); err != nil {
			t.Fatalf("while it is not silent: %v", err)
		}
		time.Sleep(400 * time.Millisecond)
	}
	begun := time.Now()
	if _, err := silent.Read(b); err != io.EOF || time.Since(begun) > 4*time.Second {
		t.Errorf("silence ends it with %v after %v", err, time.Since(begun))
	}
	u, err := net.Dial("udp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	seen := map[string]int{}
	for range 6 {
		u.SetDeadline(time.Now().Add(5 * time.Second))
		io.WriteString(u, "x")
		n, err := u.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		seen[string(b[:n])]++
	}
	if len(seen) != 2 {
		t.Errorf("six datagrams went to %v", seen)
	}
}

// TestHTTP2HeadThatDrips: the head of a request has its time to come, all of it, also if
// there is a little of it again and again.
func TestHTTP2HeadThatDrips(t *testing.T) {
	t.Parallel()
	w := optioned(t, nothing, "client-header-timeout", "1")
	c := w.dial("http")
	io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"+"\x00\x01\x00\x01\x05\x00\x00\x00\x01")
	begun := time.Now()
	go func() {
		for range 60 {
			if _, err := c.Write([]byte{0}); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
	if took := time.Since(begun); took < time.Second || took > 4*time.Second {
		t.Errorf("the connection ends after %v", took)
	}
}
