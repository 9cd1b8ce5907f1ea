package sock

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// pair is a connection, and its other end.
func pair(t *testing.T) (*Conn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return New(a.(*net.TCPConn)), b.(*net.TCPConn)
}

func TestReadWrite(t *testing.T) {
	c, peer := pair(t)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // more than fits into the socket's buffers
	go func() {
		_, _ = c.Write(sent)
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(peer)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("the peer got %d of %d octets: %v", len(got), len(sent), err)
	}
	go func() {
		_, _ = peer.Write(sent)
		_ = peer.Close()
	}()
	if got, err = io.ReadAll(c); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("got %d of %d octets: %v", len(got), len(sent), err)
	}
	if n, err := c.Read(nil); n != 0 || err != nil {
		t.Errorf("an empty read: %d, %v", n, err)
	}
}

func TestDeadlines(t *testing.T) {
	c, _ := pair(t)
	_ = c.SetDeadline(time.Now().Add(20 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d octets: %v", n, err)
	}
	long := make([]byte, 64<<20) // which takes as long as the deadline, now and then
	_ = c.SetDeadline(time.Now().Add(20 * time.Millisecond))
	if n, err := c.Write(long); n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("wrote %d octets: %v", n, err)
	}
	_ = c.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
}

func TestClosedByPeer(t *testing.T) {
	c, peer := pair(t)
	_ = peer.SetLinger(0)
	_ = peer.Close()
	var err error
	for end := time.Now().Add(5 * time.Second); err == nil && time.Now().Before(end); {
		_, err = c.Write([]byte("x")) // no signal ends the process
	}
	if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("write to a closed connection: %v", err)
	}
}

// TestAsk wants an answer to each of many questions, however late or early it comes.
func TestAsk(t *testing.T) {
	c, peer := pair(t)
	go func() {
		b := make([]byte, 64)
		for i := 0; ; i++ {
			n, err := peer.Read(b)
			if err != nil {
				return
			}
			if i%3 == 0 {
				time.Sleep(time.Millisecond)
			}
			_, _ = peer.Write(b[:n])
		}
	}()
	b := make([]byte, 64)
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	for i := range 3000 {
		q := []byte{byte(i), byte(i >> 8)}
		if written, n, err := c.Ask(q, b); written != 2 || err != nil || !bytes.Equal(b[:n], q) {
			t.Fatalf("question %d: %d written, got %v, %v", i, written, b[:n], err)
		}
	}
}

func TestAskUnread(t *testing.T) {
	c, peer := pair(t)
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	question := make([]byte, 64<<20)
	written, n, err := c.Ask(question, make([]byte, 1))
	if written == 0 || written == len(question) || n != 0 || err != nil {
		t.Errorf("%d written, %d read, %v; want some of it, nothing, and no error", written, n, err)
	}
	go func() { _, _ = io.Copy(io.Discard, peer) }()
	if n, err := c.Write(question[written:]); n != len(question)-written || err != nil {
		t.Errorf("the rest: %d, %v", n, err)
	}
	_ = peer.Close()
	if _, _, err := c.Ask([]byte("x"), make([]byte, 1)); err == nil {
		t.Error("a question to a closed connection has no error")
	}
}

func TestBare(t *testing.T) {
	c, _ := pair(t)
	if got := Bare[net.Conn](c); got != net.Conn(c.TCPConn) {
		t.Errorf("got %T", got)
	}
	if got := Bare[io.ReadWriteCloser](c.TCPConn); got != io.ReadWriteCloser(c.TCPConn) {
		t.Errorf("got %T", got)
	}
}
