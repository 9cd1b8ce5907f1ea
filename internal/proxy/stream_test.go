package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/fairway-net/fairway/internal/dialect/nginx"
)

// framed is a connection of frames, without a client library's good manners.
type framed struct {
	t testing.TB
	net.Conn
	*http2.Framer
	enc  *hpack.Encoder
	text bytes.Buffer
}

func (w *world) framed() *framed {
	w.t.Helper()
	c, err := net.Dial("tcp", w.server.Addr("http").String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, http2.ClientPreface)
	f := &framed{t: w.t, Conn: c, Framer: http2.NewFramer(c, c)}
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	f.enc = hpack.NewEncoder(&f.text)
	f.WriteSettings()
	f.WriteSettingsAck() // of what is on its way
	return f
}

// block encodes "name value" pairs.
func (f *framed) block(pairs ...string) []byte {
	f.text.Reset()
	for i := 0; i < len(pairs); i += 2 {
		f.enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return f.text.Bytes()
}

func (f *framed) get(id uint32, more ...string) {
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, EndStream: true,
		BlockFragment: f.block(append([]string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "h"}, more...)...)})
}

// until reads frames until one is wanted.
func (f *framed) until(want func(http2.Frame) bool, what string) http2.Frame {
	f.t.Helper()
	for {
		fr, err := f.ReadFrame()
		if err != nil {
			f.t.Fatalf("%s: %v", what, err)
		}
		if p, ok := fr.(*http2.PingFrame); ok && !p.IsAck() {
			f.WritePing(true, p.Data)
		}
		if want(fr) {
			return fr
		}
		if g, ok := fr.(*http2.GoAwayFrame); ok && g.ErrCode != http2.ErrCodeNo {
			f.t.Fatalf("%s: %v %v", what, g.ErrCode, g)
		}
	}
}

func resetOf(id uint32, code http2.ErrCode) func(http2.Frame) bool {
	return func(fr http2.Frame) bool {
		r, ok := fr.(*http2.RSTStreamFrame)
		return ok && r.StreamID == id && r.ErrCode == code
	}
}

func goingAway(code http2.ErrCode) func(http2.Frame) bool {
	return func(fr http2.Frame) bool {
		g, ok := fr.(*http2.GoAwayFrame)
		return ok && g.ErrCode == code
	}
}

// TestDowngrade: what HTTP/1 would read as more than one field, or as another request,
// gets no further than us.
func TestDowngrade(t *testing.T) {
	t.Parallel()
	w := behind(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("a backend got %s %s", r.Method, r.URL) })
	for i, pairs := range [][]string{
		{"x", "a\r\nGET /evil HTTP/1.1"}, {"x", "a\nb"}, {"x", "a\x00b"}, {"x\r\ny", "a"}, {"x y", "a"}, {"x:", "a"}, {"X-Upper", "a"}, {"", "a"},
		{"transfer-encoding", "chunked"}, {"connection", "close"}, {"keep-alive", "1"}, {"proxy-connection", "x"}, {"upgrade", "h2c"}, {"te", "gzip"},
		{"content-length", "1"}, {"content-length", "0, 0"}, {"content-length", "+0"}, {"content-length", "0", "content-length", "0"},
		{"host", "other"}, {":path", "/twice"}, {":evil", "x"}, {"x", " leading"}, {"x", "trailing "},
	} {
		f := w.framed()
		f.get(1, pairs...)
		f.until(resetOf(1, http2.ErrCodeProtocol), fmt.Sprintf("case %d %q", i, pairs))
	}
	for _, pseudo := range [][4]string{
		{"GET /evil HTTP/1.1\r\nx: y", "http", "/", "h"}, {"GET", "http", "/ HTTP/1.1\r\nx: y", "h"}, {"GET", "http", "/a b", "h"}, {"GET", "http", "evil", "h"},
		{"GET", "http", "/", "h\r\nx: y"}, {"GET", "http", "/", "h/evil"}, {"GET", "ftp", "/", "h"}, {"G T", "http", "/", "h"}, {"GET", "http", "", "h"}, {"", "http", "/", "h"},
	} {
		f := w.framed()
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, EndStream: true,
			BlockFragment: f.block(":method", pseudo[0], ":scheme", pseudo[1], ":path", pseudo[2], ":authority", pseudo[3])})
		f.until(resetOf(1, http2.ErrCodeProtocol), fmt.Sprintf("%q", pseudo))
	}
}

// TestCrumbs: cookies that HTTP/2 has split are one again.
func TestCrumbs(t *testing.T) {
	t.Parallel()
	w := behind(t, func(rw http.ResponseWriter, r *http.Request) { fmt.Fprintf(rw, "%q", r.Header["Cookie"]) })
	f := w.framed()
	f.get(1, "cookie", "a=1", "x", "y", "cookie", "b=2")
	data := f.until(func(fr http2.Frame) bool { _, ok := fr.(*http2.DataFrame); return ok }, "answer").(*http2.DataFrame)
	if string(data.Data()) != `["a=1; b=2"]` {
		t.Errorf("%s", data.Data())
	}
}

// TestConnectUnasked: we are no way to elsewhere.
func TestConnectUnasked(t *testing.T) {
	t.Parallel()
	w := behind(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("a backend got %s %s", r.Method, r.URL) })
	f := w.framed()
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: f.block(":method", "CONNECT", ":authority", "h:25")})
	head := f.until(func(fr http2.Frame) bool { _, ok := fr.(*http2.MetaHeadersFrame); return ok }, "answer").(*http2.MetaHeadersFrame)
	if got := head.PseudoValue("status"); got != "405" {
		t.Errorf("status %s", got)
	}
	c := w.raw("http")
	c.send("CONNECT h:25 HTTP/1.1\r\nHost: h:25\r\n\r\n")
	if resp, _ := c.response("GET"); resp.StatusCode != 405 {
		t.Errorf("HTTP/1: %d", resp.StatusCode)
	}
}

// TestRapidReset is CVE-2023-44487: requests that are taken back at once.
func TestRapidReset(t *testing.T) {
	t.Parallel()
	var active, most atomic.Int32
	w := behind(t, func(_ http.ResponseWriter, r *http.Request) {
		n := active.Add(1)
		defer active.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-r.Context().Done()
	})
	f := w.framed()
	go func() {
		for id := uint32(1); id < 20_001; id += 2 {
			f.get(id)
			if f.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
				return
			}
		}
	}()
	f.until(goingAway(http2.ErrCodeEnhanceYourCalm), "the end")
	if n := most.Load(); n > maxStreams+8 {
		t.Errorf("%d requests at once reached the backend", n)
	}
}

// TestFloods: frames that make work and lead to nothing.
func TestFloods(t *testing.T) {
	t.Parallel()
	w := behind(t, echoBody)
	for name, send := range map[string]func(f *framed, i int) error{
		"continuation": func(f *framed, i int) error { // CVE-2024-27316
			if i == 0 {
				return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, BlockFragment: f.block(":method", "GET", ":scheme", "http", ":path", "/", ":authority", "h")})
			}
			return f.WriteContinuation(1, false, f.block("x-y", strings.Repeat("z", 1000)))
		},
		"empty continuation": func(f *framed, i int) error {
			if i == 0 {
				return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true})
			}
			return f.WriteContinuation(1, false, nil)
		},
		"ping":     func(f *framed, _ int) error { return f.WritePing(false, [8]byte{}) },             // CVE-2019-9512
		"settings": func(f *framed, _ int) error { return f.WriteSettings() },                         // CVE-2019-9515
		"priority": func(f *framed, _ int) error { return f.WritePriority(1, http2.PriorityParam{}) }, // CVE-2019-9513
		"empty data": func(f *framed, i int) error { // CVE-2019-9518
			if i == 0 {
				return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: f.block(":method", "POST", ":scheme", "http", ":path", "/", ":authority", "h")})
			}
			return f.WriteData(1, false, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := w.framed()
			f.t = t
			go func() {
				for i := range 1_000_000 {
					if send(f, i) != nil {
						return
					}
				}
			}()
			f.until(goingAway(http2.ErrCodeEnhanceYourCalm), "the end")
		})
	}
}

// TestTooLargeHead is refused without harm to the streams beside it.
func TestTooLargeHead(t *testing.T) {
	t.Parallel()
	w := behind(t, echoBody)
	f := w.framed()
	block := append([]byte(nil), f.block(":method", "GET", ":scheme", "http", ":path", "/", ":authority", "h",
		"x-1", strings.Repeat("a", 15000), "x-2", strings.Repeat("b", 15000), "x-3", strings.Repeat("c", 15000))...)
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, BlockFragment: block[:16384]})
	f.WriteContinuation(1, true, block[16384:])
	f.get(3)
	got := map[uint32]string{}
	for len(got) < 2 {
		head := f.until(func(fr http2.Frame) bool { _, ok := fr.(*http2.MetaHeadersFrame); return ok }, "answers").(*http2.MetaHeadersFrame)
		got[head.StreamID] = head.PseudoValue("status")
	}
	if got[1] != "431" || got[3] != "200" {
		t.Errorf("%v", got)
	}
}

// TestWebSocketOverHTTP2 is RFC 8441 to a backend that speaks HTTP/1.
func TestWebSocketOverHTTP2(t *testing.T) {
	t.Parallel()
	w := behind(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != "GET" || r.Header.Get("Upgrade") != "websocket" || len(r.Header.Get("Sec-Websocket-Key")) != 24 || r.Header.Get("Sec-Websocket-Version") != "13" {
			http.Error(rw, fmt.Sprint(r.Method, r.Header), 400)
			return
		}
		c, _, _ := rw.(http.Hijacker).Hijack()
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\nhello ")
		io.Copy(c, c)
	})
	f := w.framed()
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: f.block(":method", "CONNECT", ":protocol", "websocket",
		":scheme", "https", ":path", "/chat", ":authority", "h", "sec-websocket-version", "13", "sec-websocket-protocol", "chat")})
	f.WriteData(1, false, []byte("ping"))
	text := ""
	for text != "hello ping" {
		switch fr := f.until(func(fr http2.Frame) bool { return fr.Header().StreamID == 1 }, "answer "+text).(type) {
		case *http2.MetaHeadersFrame:
			if fr.PseudoValue("status") != "200" || fr.RegularFields()[len(fr.RegularFields())-1].Value != "chat" {
				t.Fatalf("%v", fr.Fields)
			}
		case *http2.DataFrame:
			text += string(fr.Data())
		}
	}
	f.WriteData(1, true, nil)
	f.until(func(fr http2.Frame) bool { return fr.Header().StreamID == 1 && fr.Header().Flags&1 != 0 }, "the end")
}

// cleartext is a client and a server of HTTP/2 without TLS.
func cleartext() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// handledInHTTP2 is handled, but that the backend speaks HTTP/2 only.
func handledInHTTP2(t *testing.T, f http.HandlerFunc) *httptest.Server {
	s := httptest.NewUnstartedServer(f)
	s.Config.Protocols = cleartext()
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// TestLargeBodies passes windows, frames and buffers many times over, both ways and
// between all versions.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"HTTP", "GRPC"} {
		w := newWorld(t)
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { io.Copy(rw, r.Body) }))
		s.Config.Protocols = cleartext()
		s.Config.Protocols.SetHTTP1(true)
		s.Start()
		t.Cleanup(s.Close)
		ing := ingress("i", "", "/ a")
		ing.Annotations[nginx.Prefix+"backend-protocol"] = protocol
		ing.Annotations[nginx.Prefix+"proxy-body-size"] = "0"
		w.set(service("a"), slice("a", addrOf(s)), ing)
		body := make([]byte, 5<<20)
		for i := range body {
			body[i] = byte(i * 7 >> 3)
		}
		for _, url := range []string{"http://h/", "https://h/"} {
			resp, text := w.request("POST", url, bytes.NewReader(body))
			if resp.StatusCode != 200 || text != string(body) {
				t.Errorf("%s to %s (%s): %d, %d octets", url, protocol, resp.Proto, resp.StatusCode, len(text))
			}
		}
	}
}

// TestDrainHTTP2: streams under way end, those on their way are served, and then the
// client is told to go.
func TestDrainHTTP2(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	w := behind(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
		}
		fmt.Fprint(rw, "whole")
	})
	c := w.client()
	done := make(chan string, 1)
	go func() {
		resp, err := c.Get("https://h/slow")
		if err != nil {
			done <- err.Error()
			return
		}
		b, _ := io.ReadAll(resp.Body)
		done <- resp.Proto + " " + string(b)
	}()
	eventually(t, func() bool { return w.server.active.Load() == 1 }, "request under way")
	w.end()
	time.Sleep(50 * time.Millisecond)
	close(release)
	if got := <-done; got != "HTTP/2.0 whole" {
		t.Errorf("%s", got)
	}
	select {
	case <-w.ended:
		w.ended <- nil
	case <-time.After(4 * time.Second):
		t.Error("an idle connection keeps the server from ending")
	}
}
