package proxy

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/proxy/h1"
	"github.com/fairway-net/fairway/internal/proxy/h2"
)

// message is a frame of the WebSocket protocol (RFC 6455, section 5.2).
type message struct {
	first   byte // FIN, RSV and opcode
	payload []byte
}

const (
	fin                         = 0x80
	continued, textual, binary2 = 0, 1, 2
	closing, pinging, ponging   = 8, 9, 10
)

// append writes the frame; a key masks it, as clients have to.
func (m message) append(b []byte, key *[4]byte) []byte {
	mask := byte(0)
	if key != nil {
		mask = 0x80
	}
	b = append(b, m.first)
	switch n := len(m.payload); {
	case n < 126:
		b = append(b, mask|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, mask|127), uint64(n))
	}
	if key == nil {
		return append(b, m.payload...)
	}
	b = append(b, key[:]...)
	for i, c := range m.payload {
		b = append(b, c^key[i%4])
	}
	return b
}

// readMessage reads a frame and takes its mask off.
func readMessage(r io.Reader) (m message, masked bool, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:2]); err != nil {
		return m, false, err
	}
	m.first, masked = head[0], head[1]&0x80 != 0
	n := uint64(head[1] & 0x7f)
	switch n {
	case 126:
		if _, err := io.ReadFull(r, head[:2]); err != nil {
			return m, false, err
		}
		n = uint64(binary.BigEndian.Uint16(head[:]))
	case 127:
		if _, err := io.ReadFull(r, head[:8]); err != nil {
			return m, false, err
		}
		n = binary.BigEndian.Uint64(head[:])
	}
	var key [4]byte
	if masked {
		if _, err := io.ReadFull(r, key[:]); err != nil {
			return m, false, err
		}
	}
	m.payload = make([]byte, n)
	_, err = io.ReadFull(r, m.payload)
	for i := range m.payload {
		m.payload[i] ^= key[i%4]
	}
	return m, masked, err
}

// echoFrames answers every frame with one of the same kind, a ping with a pong, and a
// close with a close and the end of the connection. It greets before anybody asks.
func echoFrames(rw http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "websocket" {
		http.Error(rw, "no upgrade", 400)
		return
	}
	c, buf, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	out := []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + acceptOf(r.Header.Get("Sec-WebSocket-Key")) + "\r\n\r\n")
	out = message{fin | textual, []byte("hello " + r.Header.Get("Sec-WebSocket-Protocol"))}.append(out, nil)
	for over := false; ; {
		if _, err := c.Write(out); err != nil || over {
			return
		}
		m, masked, err := readMessage(buf)
		if err != nil {
			return
		}
		if !masked {
			m = message{fin | closing, []byte("\x03\xeanot masked")}
		}
		if m.first&15 == pinging {
			m.first = m.first&^15 | ponging
		}
		out, over = m.append(nil, nil), m.first&15 == closing
	}
}

func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// webSocketCases are those of the Autobahn suite that concern who is in between: whatever
// both ends may say has to pass as it is, as has what only they may judge.
func webSocketCases() map[string][]message {
	long := func(n int) []byte { return bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n] }
	cases := map[string][]message{
		"1.1 text":                               {{fin | textual, []byte("Hello-µ@ßöäüàá-UTF-8!!")}},
		"2 ping and pong":                        {{fin | pinging, nil}, {fin | pinging, long(125)}, {fin | pinging, []byte{0, 0xff, 0xfe}}, {fin | ponging, []byte("unasked")}},
		"3 reserved bits":                        {{fin | 0x40 | textual, []byte("rsv1")}, {fin | 0x20 | textual, []byte("rsv2")}, {fin | 0x70 | binary2, long(300)}},
		"4 reserved opcodes":                     {{fin | 3, []byte("x")}, {fin | 7, nil}, {fin | 11, []byte("x")}, {fin | 15, nil}},
		"5.3 fragments":                          {{textual, []byte("frag")}, {fin | continued, []byte("ment")}},
		"5.6 ping between fragments":             {{textual, []byte("frag")}, {fin | pinging, []byte("now")}, {continued, nil}, {fin | continued, []byte("ment")}},
		"5.9 continuation of nothing":            {{fin | continued, []byte("of nothing")}, {continued, nil}},
		"6 no UTF-8":                             {{fin | textual, []byte("\xce\xba\xe1\xbd\xb9\xed\xa0\x80edited")}, {textual, []byte("\xf4\x90\x80")}, {fin | continued, []byte("\x80")}},
		"9.1 text of 16 MiB in frames of 64 KiB": nil,
		"9.2 binary of 4 MiB":                    {{fin | binary2, long(4 << 20)}},
		"10.1 many small ones":                   nil,
	}
	for _, n := range []int{0, 1, 125, 126, 127, 128, 65535, 65536, 65537} {
		cases[fmt.Sprintf("1 text and binary of %d", n)] = []message{{fin | textual, long(n)}, {fin | binary2, long(n)}}
	}
	fragments := []message{{textual, long(1 << 16)}}
	for range 254 {
		fragments = append(fragments, message{continued, long(1 << 16)})
	}
	cases["9.1 text of 16 MiB in frames of 64 KiB"] = append(fragments, message{fin | continued, long(1 << 16)})
	var small []message
	for i := range 2000 {
		small = append(small, message{fin | binary2, []byte{byte(i), byte(i >> 8)}})
	}
	cases["10.1 many small ones"] = small
	for _, code := range []uint16{0, 999, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1011, 1015, 2999, 3000, 4999, 5000, 65535} {
		cases[fmt.Sprintf("7 close with %d", code)] = []message{{fin | textual, []byte("last words")}, {fin | closing, append(binary.BigEndian.AppendUint16(nil, code), "reason"...)}}
	}
	cases["7 close with nothing"] = []message{{fin | closing, nil}}
	cases["7 close with half a code"] = []message{{fin | closing, []byte{3}}}
	cases["7 close with a reason that is no UTF-8"] = []message{{fin | closing, []byte("\x03\xe8\xff\xfe")}}
	return cases
}

// TestWebSocket takes the cases through every pair of versions of HTTP.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	inner := newWorld(t)
	echo := httptest.NewServer(http.HandlerFunc(echoFrames))
	t.Cleanup(echo.Close)
	inner.set(service("a"), slice("a", addrOf(echo)), ingress("i", "", "/ a"))
	// Over HTTP/2, the endpoint is a gateway like ours.
	w := newWorld(t, func(o *Options) { o.HTTP3 = true })
	second := service("second")
	second.Ports[0].AppProtocol = "kubernetes.io/h2c"
	at := inner.server.Addr("http").(*net.TCPAddr).AddrPort()
	w.set(service("first"), slice("first", addrOf(echo)), ingress("i", "first.example", "/ first"), second, slice("second", at), ingress("j", "second.example", "/ second"))
	for name, dial := range map[string]func() io.ReadWriteCloser{
		"HTTP1 to HTTP1": func() io.ReadWriteCloser { return w.webSocket("first.example") },
		"HTTP2 to HTTP1": func() io.ReadWriteCloser { return w.webSocketOverHTTP2("first.example") },
		"HTTP1 to HTTP2": func() io.ReadWriteCloser { return w.webSocket("second.example") },
		"HTTP2 to HTTP2": func() io.ReadWriteCloser { return w.webSocketOverHTTP2("second.example") },
		"HTTP3 to HTTP1": func() io.ReadWriteCloser { return w.webSocketOverHTTP3("first.example") },
		"HTTP3 to HTTP2": func() io.ReadWriteCloser { return w.webSocketOverHTTP3("second.example") },
	} {
		t.Run(name, func(t *testing.T) {
			for what, frames := range webSocketCases() {
				c := dial()
				if err := converse(c, frames); err != nil {
					t.Errorf("%s: %v", what, err)
				}
				c.Close()
			}
		})
	}
}

// converse sends frames, in pieces of all sizes, and wants what the echo makes of them.
func converse(c io.ReadWriter, frames []message) error {
	r := bufio.NewReader(c)
	if m, _, err := readMessage(r); err != nil || string(m.payload) != "hello chat" {
		return fmt.Errorf("greeting %q, %v", m.payload, err)
	}
	sent := make(chan error, 1)
	go func() { sent <- utter(c, frames) }()
	for i, want := range frames {
		if want.first&15 == pinging {
			want.first = want.first&^15 | ponging
		}
		got, masked, err := readMessage(r)
		if err != nil {
			return fmt.Errorf("answer %d: %w", i, err)
		}
		if masked || got.first != want.first || !bytes.Equal(got.payload, want.payload) {
			return fmt.Errorf("answer %d: %#x with %d octets %.40q, want %#x with %d", i, got.first, len(got.payload), got.payload, want.first, len(want.payload))
		}
	}
	if err := <-sent; err != nil {
		return err
	}
	if len(frames) > 0 && frames[len(frames)-1].first&15 == closing {
		if n, err := r.Read(make([]byte, 1)); err != io.EOF {
			return fmt.Errorf("after the close: %d octets, %v", n, err)
		}
	}
	return nil
}

func utter(c io.Writer, frames []message) error {
	var all []byte
	for i, m := range frames {
		all = m.append(all, &[4]byte{byte(i), 0xfa, byte(i * 7), 0x3d})
	}
	for size := 1; len(all) > 0; size = min(2*size, 64<<10) {
		n := min(size, len(all))
		if _, err := c.Write(all[:n]); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		all = all[n:]
	}
	return nil
}

// webSocket upgrades a connection.
func (w *world) webSocket(host string) io.ReadWriteCloser {
	w.t.Helper()
	c := w.raw("http")
	c.SetDeadline(time.Now().Add(30 * time.Second))
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	c.send("GET /chat HTTP/1.1\r\nHost: " + host + "\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\nSec-WebSocket-Key: " + key + "\r\n\r\n")
	resp, err := http.ReadResponse(c.Reader, nil)
	if err != nil || resp.StatusCode != 101 || !strings.EqualFold(resp.Header.Get("Upgrade"), "websocket") || resp.Header.Get("Sec-WebSocket-Accept") != acceptOf(key) {
		w.t.Fatalf("upgrade: %v %v", resp, err)
	}
	return struct {
		io.Reader
		io.Writer
		io.Closer
	}{c.Reader, c.Conn, c.Conn}
}

// webSocketOverHTTP2 is the same with an extended CONNECT.
func (w *world) webSocketOverHTTP2(host string) io.ReadWriteCloser {
	w.t.Helper()
	s := w.extendedConnect("websocket", host)
	if s.Response.Status != 200 {
		w.t.Fatalf("extended CONNECT: %d", s.Response.Status)
	}
	return &streamPipe{s}
}

// extendedConnect asks for another protocol over HTTP/2 (RFC 8441), and returns what was answered.
func (w *world) extendedConnect(protocol, host string) *h2.Stream {
	w.t.Helper()
	raw, err := net.Dial("tcp", w.server.Addr("http").String())
	if err != nil {
		w.t.Fatal(err)
	}
	conn := h2.New(h1.NewConn(raw), newUpstreamOptions(), nil)
	w.t.Cleanup(conn.Close)
	go func() { _ = conn.Serve() }()
	if !conn.Extended(5 * time.Second) {
		w.t.Fatal("no extended CONNECT")
	}
	s := conn.Open(false, false, func(e *h2.Encoder) {
		e.Connect(protocol, "http", host, "/chat")
		e.Field("sec-websocket-version", "13")
		e.Field("sec-websocket-protocol", "chat")
	})
	if err := s.AwaitHead(5 * time.Second); err != nil {
		w.t.Fatalf("extended CONNECT: %v", err)
	}
	return s
}

// TestWebSocketRefused: an endpoint that speaks HTTP/2 without extended CONNECT.
func TestWebSocketRefused(t *testing.T) {
	t.Parallel()
	s := handledInHTTP2(t, func(http.ResponseWriter, *http.Request) { t.Error("asked") })
	w := newWorld(t)
	svc := service("a")
	svc.Ports[0].AppProtocol = "kubernetes.io/h2c"
	w.set(svc, slice("a", addrOf(s)), ingress("i", "", "/ a"))
	resp, text := w.get("http://h/", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-Websocket-Key", "x", "Sec-Websocket-Version", "13")
	if resp.StatusCode != 502 || !strings.Contains(text, "RFC 8441") {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}

// TestEarlyHints: interim responses of endpoints reach clients, whatever both speak.
func TestEarlyHints(t *testing.T) {
	t.Parallel()
	h := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Link", "</a.css>; rel=preload")
		rw.WriteHeader(103)
		rw.WriteHeader(103)
		rw.Header().Set("X-Last", "y")
		io.WriteString(rw, "body")
	})
	first := httptest.NewServer(h)
	t.Cleanup(first.Close)
	second := handledInHTTP2(t, h)
	w := newWorld(t, func(o *Options) { o.HTTP3 = true })
	svc := service("second")
	svc.Ports[0].AppProtocol = "kubernetes.io/h2c"
	w.set(service("first"), slice("first", addrOf(first)), ingress("i", "first.example", "/ first"), svc, slice("second", addrOf(second)), ingress("j", "second.example", "/ second"))
	for _, host := range []string{"first.example", "second.example"} {
		for scheme, c := range map[string]*http.Client{"http": w.client(), "https": w.client(), "HTTP/3": w.thirdClient()} {
			hints := 0
			r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
				if code == 103 && header.Get("Link") == "</a.css>; rel=preload" && header.Get("X-Last") == "" {
					hints++
				}
				return nil
			}}), "GET", strings.Replace(scheme, "HTTP/3", "https", 1)+"://"+host+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := c.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if hints != 2 || resp.StatusCode != 200 || string(text) != "body" || len(resp.Header["Link"]) != 1 || resp.Header.Get("X-Last") != "y" {
				t.Errorf("%s %s: %d hints, %d %v %q", scheme, host, hints, resp.StatusCode, resp.Header, text)
			}
		}
	}
}
