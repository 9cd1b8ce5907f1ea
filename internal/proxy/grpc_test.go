package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/fairway-net/fairway/internal/dialect/nginx"
)

// TestGRPCReset: a gRPC server that ends a call by a reset, as when its time is over,
// reaches a client of HTTP/2 as that reset; other requests get a status.
func TestGRPCReset(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ing := ingress("i", "", "/ a")
	ing.Annotations[nginx.Prefix+"backend-protocol"] = "GRPC"
	w.set(service("a"), slice("a", resetting(t, http2.ErrCodeCancel)), ing)
	f := w.framed()
	f.get(1, "content-type", "application/grpc+proto")
	f.until(func(fr http2.Frame) bool {
		if h, ok := fr.(*http2.MetaHeadersFrame); ok {
			t.Fatalf("a status instead of the reset: %v", h.PseudoValue("status"))
		}
		return resetOf(1, http2.ErrCodeCancel)(fr)
	}, "reset of a gRPC call")
	f.get(3)
	f.until(func(fr http2.Frame) bool {
		h, ok := fr.(*http2.MetaHeadersFrame)
		return ok && h.StreamID == 3 && h.PseudoValue("status") == "502"
	}, "status of another request")
}

// TestBodyBeforeHead: a pod that sends DATA first has broken the stream, and nobody waits.
func TestBodyBeforeHead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ing := ingress("i", "", "/ a")
	ing.Annotations[nginx.Prefix+"backend-protocol"] = "GRPC"
	w.set(service("a"), slice("a", muxed(t, func(f *http2.Framer, id uint32) { f.WriteData(id, false, []byte("abc")) })), ing)
	for range 3 {
		if resp, _ := w.get("http://h.example/"); resp.StatusCode != 502 {
			t.Fatalf("status %d", resp.StatusCode)
		}
	}
}

// resetting is an endpoint that speaks HTTP/2 and resets every stream.
func resetting(t *testing.T, code http2.ErrCode) netip.AddrPort {
	return muxed(t, func(f *http2.Framer, id uint32) { f.WriteRSTStream(id, code) })
}

// muxed is an endpoint that speaks HTTP/2 and answers every stream as answer does.
func muxed(t *testing.T, answer func(f *http2.Framer, id uint32)) netip.AddrPort {
	return listening(t, func(c net.Conn) {
		f := http2.NewFramer(c, c)
		io.ReadFull(c, make([]byte, len(http2.ClientPreface)))
		f.WriteSettings()
		f.WriteSettingsAck()
		for {
			fr, err := f.ReadFrame()
			if err != nil {
				return
			}
			if h, ok := fr.(*http2.HeadersFrame); ok {
				answer(f, h.StreamID)
			}
		}
	})
}

// TestGRPC: trailers after a body, trailers that are all there is, both ways at once.
func TestGRPC(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := handledInHTTP2(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/grpc")
		if r.URL.Path == "/s/fails" {
			rw.Header().Set("Grpc-Status", "5")
			return
		}
		rw.WriteHeader(200)
		http.NewResponseController(rw).Flush()
		var b [100]byte
		for {
			n, err := r.Body.Read(b[:])
			rw.Write(b[:n])
			http.NewResponseController(rw).Flush()
			if err != nil {
				break
			}
		}
		rw.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		rw.Header().Set(http.TrailerPrefix+"Grpc-Message", r.Trailer.Get("X-Sum"))
	})
	ing := ingress("i", "", "/ a")
	ing.Annotations[nginx.Prefix+"backend-protocol"] = "GRPC"
	w.set(service("a"), slice("a", addrOf(s)), ing)
	c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{Protocols: cleartext(), DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return net.Dial("tcp", w.server.Addr("http").String())
	}}}
	for range 20 {
		resp, err := c.Post("http://h/s/unary", "application/grpc", strings.NewReader("abc"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if string(b) != "abc" || resp.Trailer.Get("Grpc-Status") != "0" {
			t.Fatalf("unary: %q %v, trailer %v", b, err, resp.Trailer)
		}
	}
	resp, err := c.Post("http://h/s/fails", "application/grpc", strings.NewReader("abc"))
	if err != nil || resp.Header.Get("Grpc-Status") != "5" {
		t.Fatalf("trailers only: %v %v", resp, err)
	}
	pr, pw := io.Pipe()
	r, _ := http.NewRequest("POST", "http://h/s/bidi", pr)
	r.Trailer = http.Header{"X-Sum": {"7"}}
	resp, err = c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		msg := fmt.Sprintf("message %d", i)
		io.WriteString(pw, msg)
		b := make([]byte, len(msg))
		if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != msg {
			t.Fatalf("both ways: %q %v", b, err)
		}
	}
	pw.Close()
	if b, err := io.ReadAll(resp.Body); len(b) > 0 || err != nil || resp.Trailer.Get("Grpc-Message") != "7" {
		t.Errorf("%q %v, trailer %v", b, err, resp.Trailer)
	}
}
