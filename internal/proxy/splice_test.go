package proxy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// tcpPair is a connection, and its other end.
func tcpPair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	one, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { one.Close(); other.Close() })
	return one.(*net.TCPConn), other.(*net.TCPConn)
}

// TestSplicePart: who does not send may send later; who does not take has missed a part,
// even if it has taken another.
func TestSplicePart(t *testing.T) {
	t.Parallel()
	source, from := tcpPair(t)
	to, sink := tcpPair(t)
	_, _ = source.Write(make([]byte, 1000))
	n, err := splicePart(to, from, 2000, 50*time.Millisecond, time.Second)
	if n != 1000 || !h1.IsTimeout(err) {
		t.Errorf("moved %d of 1000: %v", n, err)
	}
	if n, err = splicePart(to, from, 1000, 50*time.Millisecond, time.Second); n != 0 || !h1.IsTimeout(err) {
		t.Errorf("moved %d of nothing: %v", n, err)
	}
	go func() { _, _ = io.Copy(source, zeros{}) }()
	_ = to.SetWriteBuffer(64 << 10)
	for end := time.Now().Add(10 * time.Second); err != errStuck; {
		if n, err = splicePart(to, from, 1<<40, 20*time.Millisecond, 200*time.Millisecond); time.Now().After(end) {
			t.Fatalf("nobody reads, and %d octets were moved: %v", n, err)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, sink) }()
	source.Close()
	for end := time.Now().Add(10 * time.Second); err != io.ErrUnexpectedEOF; {
		if _, err = splicePart(to, from, 1<<40, 20*time.Millisecond, time.Second); time.Now().After(end) {
			t.Fatalf("the source has ended: %v", err)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// TestLongUploads moves bodies of all kinds of lengths, at once and slowly; what comes
// must be what was sent, and the connections must go on after that.
func TestLongUploads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	addr := w.backendFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/early" {
			rw.WriteHeader(http.StatusForbidden)
			return
		}
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		fmt.Fprintf(rw, "%d %s %v", n, hex.EncodeToString(sum.Sum(nil)), err)
	})
	ing := ingress("i", "h", "/ a")
	ing.Annotations["nginx.ingress.kubernetes.io/proxy-body-size"] = "100m"
	w.set(service("a"), slice("a", addr), ing)
	body := make([]byte, 9<<20+17)
	for i := range body {
		body[i] = byte(rand.Uint32())
	}
	for i, n := range []int{1, 32 << 10, 64 << 10, 64<<10 + 1, 100_000, 256 << 10, 1 << 20, len(body)} {
		var from io.Reader = bytes.NewReader(body[:n])
		if i%2 == 1 {
			from = io.MultiReader(bytes.NewReader(body[:n/3]), sleeper(150*time.Millisecond), bytes.NewReader(body[n/3:n]))
		}
		r, err := http.NewRequest("PUT", "http://h/", from)
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = int64(n)
		resp, err := w.client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		sum := sha256.Sum256(body[:n])
		if want := fmt.Sprintf("%d %x <nil>", n, sum); string(text) != want {
			t.Errorf("%d octets: %s, want %s", n, text, want)
		}
	}
	resp, _ := w.request("PUT", "http://h/early", bytes.NewReader(body))
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("an early answer: %d", resp.StatusCode)
	}
	if resp, text := w.request("PUT", "http://h/", strings.NewReader("x")); resp.StatusCode != 200 || !strings.HasPrefix(text, "1 ") {
		t.Errorf("after that: %d %s", resp.StatusCode, text)
	}
}

// sleeper is an empty part of a body that takes its time.
type sleeper time.Duration

func (s sleeper) Read([]byte) (int, error) {
	time.Sleep(time.Duration(s))
	return 0, io.EOF
}
