package echo

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

var id = Identity{Pod: "pod-1", PodIP: "192.0.2.1", Node: "node-1"}

// testServer serves HTTP/1.1 and cleartext HTTP/2 on loopback.
func testServer(t *testing.T) (*Handler, string) {
	t.Helper()
	h := NewHandler(id)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newHTTPServer(h)
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return h, l.Addr().String()
}

func TestAnswerText(t *testing.T) {
	_, addr := testServer(t)
	req, _ := http.NewRequest("POST", "http://"+addr+"/a//../b%2Fc?x=1&y", strings.NewReader("hello"))
	req.Host = "shop.localtest"
	req.Header.Set("X-Two", "1")
	req.Header.Add("X-Two", "2")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if got := resp.Header.Get(PodHeader); got != "pod-1" {
		t.Errorf("%s: %q", PodHeader, got)
	}
	for _, line := range []string{
		"pod: pod-1", "podIP: 192.0.2.1", "node: node-1", "proto: HTTP/1.1", "method: POST",
		"host: shop.localtest", "path: /a//../b%2Fc", "query: x=1&y", "header X-Two: 1, 2", "body: hello",
		"port: " + addr[strings.LastIndex(addr, ":")+1:],
	} {
		if !strings.Contains(string(body), line+"\n") {
			t.Errorf("no line %q in\n%s", line, body)
		}
	}
}

func TestAnswerJSON(t *testing.T) {
	_, addr := testServer(t)
	for _, ask := range []struct{ query, accept string }{{"?format=json", ""}, {"", "application/json"}} {
		req, _ := http.NewRequest("GET", "http://"+addr+"/p"+ask.query, nil)
		req.Header.Set("Accept", ask.accept)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var a Answer
		err = json.NewDecoder(resp.Body).Decode(&a)
		resp.Body.Close()
		if err != nil || a.Identity != id || a.Path != "/p" || a.Method != "GET" {
			t.Errorf("%+v: got %+v, %v", ask, a, err)
		}
	}
}

func TestPaths(t *testing.T) {
	h, _ := testServer(t)
	for _, tt := range []struct {
		method, target string
		status         int
		body           string
	}{
		{"GET", "/healthz", 200, "ok\n"},
		{"GET", "/readyz", 200, "ok\n"},
		{"POST", "/readyz?ready=maybe", 400, "say ?ready=true or ?ready=false\n"},
		{"POST", "/readyz?ready=false", 200, "ready: false\n"},
		{"GET", "/readyz", 503, "not ready\n"},
		{"GET", "/healthz", 200, "ok\n"},
		{"POST", "/readyz?ready=true", 200, "ready: true\n"},
		{"GET", "/readyz", 200, "ok\n"},
		{"GET", "/status/99", 400, "say /status/CODE with a code from 200 to 599\n"},
		{"GET", "/sleep?d=long", 400, "say ?d=DURATION, such as 500ms or 2s\n"},
		{"GET", "/stream?n=2&every=1ms", 200, "1 pod-1\n2 pod-1\n"},
		{"GET", "/ws", 426, "this path speaks WebSocket only\n"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(tt.method, tt.target, nil))
		if w.Code != tt.status || w.Body.String() != tt.body {
			t.Errorf("%s %s: got %d %q, want %d %q", tt.method, tt.target, w.Code, w.Body, tt.status, tt.body)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/status/503", nil))
	if w.Code != 503 || !strings.HasPrefix(w.Body.String(), "pod: pod-1\n") {
		t.Errorf("/status/503: got %d %q", w.Code, w.Body)
	}
	start := time.Now()
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/sleep?d=30ms", nil))
	if took := time.Since(start); took < 30*time.Millisecond {
		t.Errorf("/sleep?d=30ms took %v", took)
	}
}

func TestWebSocket(t *testing.T) {
	_, addr := testServer(t)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	// Key and answer are the example of RFC 6455, section 1.3.
	fmt.Fprint(conn, "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("handshake: %+v, %v", resp, err)
	}
	long := bytes.Repeat([]byte("0123456789"), 7000)
	for _, tt := range []struct {
		first, want byte
		payload     []byte
	}{{0x81, 0x81, []byte("hello")}, {0x82, 0x82, long}, {0x89, 0x8A, []byte("ping")}, {0x88, 0x88, []byte{0x03, 0xE8}}} {
		conn.Write(maskedFrame(tt.first, tt.payload))
		want := unmaskedFrame(tt.want, tt.payload)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("frame %#x of %d bytes: err %v, first bytes %x, want %x", tt.first, len(tt.payload), err, got[:4], want[:4])
		}
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after close: %v, want EOF", err)
	}
}

func unmaskedFrame(first byte, payload []byte) []byte {
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	writeFrame(w, first, payload)
	w.Flush()
	return b.Bytes()
}

func maskedFrame(first byte, payload []byte) []byte {
	plain := unmaskedFrame(first, payload)
	head := plain[:len(plain)-len(payload)]
	mask := []byte{1, 2, 3, 4}
	head[1] |= 0x80
	out := append(bytes.Clone(head), mask...)
	for i, c := range payload {
		out = append(out, c^mask[i%4])
	}
	return out
}

func TestGRPC(t *testing.T) {
	h, addr := testServer(t)
	call := func(method string, messages ...string) (string, string) {
		t.Helper()
		var body bytes.Buffer
		for _, m := range messages {
			body.Write([]byte{0, 0, 0, 0, byte(len(m))})
			body.WriteString(m)
		}
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		client := http.Client{Transport: &http.Transport{Protocols: protocols}, Timeout: 5 * time.Second}
		resp, err := client.Post("http://"+addr+method, "application/grpc+proto", &body)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(got), resp.Trailer.Get("Grpc-Status")
	}
	if got, status := call("/any.Service/Method", "one", "two"); got != "\x00\x00\x00\x00\x03one\x00\x00\x00\x00\x03two" || status != "0" {
		t.Errorf("got %q, status %q", got, status)
	}
	if got, status := call("/grpc.health.v1.Health/Check", ""); got != "\x00\x00\x00\x00\x02\x08\x01" || status != "0" {
		t.Errorf("health: got %q, status %q", got, status)
	}
	h.SetReady(false)
	if got, _ := call("/grpc.health.v1.Health/Check", ""); got != "\x00\x00\x00\x00\x02\x08\x02" {
		t.Errorf("health when not ready: got %q", got)
	}
}

func TestUDP(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go serveUDP(c, id)
	defer c.Close()
	var out bytes.Buffer
	if err := (Dial{Addr: c.LocalAddr().String(), UDP: true, Timeout: 5 * time.Second}).Run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.HasPrefix(got, "pod=pod-1 podIP=192.0.2.1 node=node-1 client=127.0.0.1:") || !strings.HasSuffix(got, "\nhello\n") {
		t.Errorf("got %q", got)
	}
}

// TestDrain asks a server that has been told to end: it must still answer, and
// say that it is not ready.
func TestDrain(t *testing.T) {
	addr := freeAddr(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Serve(ctx, Config{Identity: id, Ports: []string{addr}, UDPPorts: []string{addr}, Drain: 300 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	}()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if resp, err := http.Get("http://" + addr + "/readyz"); err == nil {
			resp.Body.Close()
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	cancel()
	time.Sleep(50 * time.Millisecond)
	for path, want := range map[string]int{"/readyz": 503, "/": 200} {
		resp, err := http.Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s while draining: %d, want %d", path, resp.StatusCode, want)
		}
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("did not end")
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestWitness: TLS is told, headers are set as asked for, and requests are remembered.
func TestWitness(t *testing.T) {
	listen, secure := freeAddr(t), freeAddr(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, Config{Identity: id, Ports: []string{listen}, TLSPorts: []string{secure}, Log: slog.New(slog.DiscardHandler)})
	}()
	defer func() { cancel(); <-ended }()
	client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "shop.example"}}}
	get := func(url string) (*http.Response, string) {
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			resp, err := client.Get(url)
			if err != nil {
				if time.Now().After(deadline) {
					t.Fatal(err)
				}
				continue
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			return resp, string(b)
		}
	}
	if _, text := get("https://" + secure + "/x"); !strings.Contains(text, "tls: TLS 1.3\n") || !strings.Contains(text, "tls server name: shop.example\n") || !strings.Contains(text, "proto: HTTP/2.0\n") {
		t.Errorf("over TLS:\n%s", text)
	}
	resp, text := get("http://" + listen + "/status/404?header=X-A:+1&header=X-A:2")
	if got := resp.Header["X-A"]; resp.StatusCode != 404 || len(got) != 2 || got[0] != "1" || got[1] != "2" || strings.Contains(text, "tls") {
		t.Errorf("%d %v\n%s", resp.StatusCode, resp.Header, text)
	}
	get("http://" + listen + "/x?second")
	if _, text := get("http://" + listen + "/seen?path=/x"); !strings.HasPrefix(text, "seen: 2\npod: pod-1\n") || !strings.Contains(text, "query: second\n") {
		t.Errorf("seen of /x:\n%s", text)
	}
	if _, text := get("http://" + listen + "/seen?path=/y"); text != "seen: 0\n" {
		t.Errorf("seen of /y:\n%s", text)
	}
}
