package h2

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// answers are options of a server that reads all of a body and answers with it.
func answers(t *testing.T, running *atomic.Int64) *Options {
	return &Options{MaxStreams: 8, MaxHead: 8 << 10, Window: 64 << 10, ConnWindow: 256 << 10,
		IdleTimeout: 5 * time.Second, HeadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second,
		Panic: func(what any, stack []byte) { t.Errorf("%v\n%s", what, stack) },
		Handle: func(s *Stream) {
			running.Add(1)
			defer running.Add(-1)
			if s.TooLarge {
				_ = s.Head(true, func(e *Encoder) { e.Status(431) })
				return
			}
			if _, ok := h1.Make([]byte("x"), []byte(s.Request.Host)); !ok || strings.ContainsAny(s.Request.Method+s.Request.Path, " \r\n\x00") {
				t.Errorf("a head that HTTP/1 cannot say: %q %q %q", s.Request.Method, s.Request.Host, s.Request.Path)
			}
			var body []byte
			for buf := make([]byte, 4096); ; {
				n, err := s.Read(buf, 50*time.Millisecond)
				if body = append(body, buf[:n]...); err != nil {
					break
				}
			}
			_ = s.Head(false, func(e *Encoder) { e.Status(200) })
			_ = s.Write(body, true, 50*time.Millisecond)
		}}
}

// FuzzServer sends octets to a server: whatever they are it ends when they do, leaves no
// handler behind, and all that it says are frames to another implementation.
func FuzzServer(f *testing.F) {
	frames := func(write func(*http2.Framer, func(...string) []byte)) {
		var b, text bytes.Buffer
		enc := hpack.NewEncoder(&text)
		write(http2.NewFramer(&b, nil), func(pairs ...string) []byte {
			text.Reset()
			for i := 0; i < len(pairs); i += 2 {
				_ = enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
			}
			return text.Bytes()
		})
		f.Add(b.Bytes())
	}
	get := []string{":method", "POST", ":scheme", "http", ":path", "/", ":authority", "h"}
	frames(func(fr *http2.Framer, head func(...string) []byte) {
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: head(get...)})
		_ = fr.WriteData(1, true, []byte("body"))
		_ = fr.WritePing(false, [8]byte{1})
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, EndHeaders: true, EndStream: true, BlockFragment: head(get...)})
		_ = fr.WriteRSTStream(3, http2.ErrCodeCancel)
	})
	frames(func(fr *http2.Framer, head func(...string) []byte) {
		block := head(append(get, "cookie", "a=1", "cookie", "b=2", "te", "trailers", "content-length", "4")...)
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:5], PadLength: 3})
		_ = fr.WriteContinuation(1, true, block[5:])
		_ = fr.WriteDataPadded(1, false, []byte("body"), make([]byte, 7))
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, EndStream: true, BlockFragment: head("x-trailer", "y")})
		_ = fr.WriteWindowUpdate(0, 1000)
		_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
		_ = fr.WritePriority(5, http2.PriorityParam{StreamDep: 5})
		_ = fr.WriteGoAway(1, http2.ErrCodeNo, nil)
	})
	frames(func(fr *http2.Framer, head func(...string) []byte) {
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: head(":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", "/", ":authority", "h")})
		_ = fr.WriteData(1, false, nil)
		_ = fr.WriteRawFrame(0xbe, 0xff, 1, []byte("unknown"))
		_ = fr.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true, BlockFragment: head(get...)})
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		ours, theirs := net.Pipe()
		var running atomic.Int64
		options := answers(t, &running)
		c := New(h1.NewConn(ours), options, nil)
		served := make(chan struct{})
		go func() { _ = c.Serve(); close(served) }()
		said := make(chan error, 1)
		go func() {
			fr := http2.NewFramer(nil, theirs)
			fr.SetMaxReadFrameSize(1 << 14)
			fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
			for {
				if _, err := fr.ReadFrame(); err != nil {
					said <- err
					_, _ = io.Copy(io.Discard, theirs)
					return
				}
			}
		}()
		_ = theirs.SetWriteDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.WriteString(theirs, Preface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
		_, _ = theirs.Write(data)
		witness(t, options)
		c.mu.Lock()
		if n := cap(c.out); n > 256<<10+len(data) || len(c.streams) > options.MaxStreams {
			t.Errorf("%d octets to be written and %d streams are kept for %d octets that were sent", n, len(c.streams), len(data))
		}
		c.mu.Unlock()
		_ = ours.Close()
		select {
		case <-served:
		case <-time.After(10 * time.Second):
			t.Fatal("the connection does not end")
		}
		theirs.Close()
		if err := <-said; !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("what the server says is no frame: %v", err)
		}
		for end := time.Now().Add(10 * time.Second); running.Load() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d handlers are left", running.Load())
			}
		}
	})
}

// witness is another client of the same server, who is to have an answer.
func witness(t *testing.T, o *Options) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	served := make(chan struct{})
	go func() { _ = New(h1.NewConn(ours), o, nil).Serve(); close(served) }()
	defer func() { theirs.Close(); <-served }()
	_ = theirs.SetDeadline(time.Now().Add(10 * time.Second))
	var head bytes.Buffer
	enc := hpack.NewEncoder(&head)
	for _, pair := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {":authority", "h"}} {
		_ = enc.WriteField(hpack.HeaderField{Name: pair[0], Value: pair[1]})
	}
	go func() {
		_, _ = io.WriteString(theirs, Preface)
		fr := http2.NewFramer(theirs, nil)
		_ = fr.WriteSettings()
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, EndStream: true, BlockFragment: head.Bytes()})
	}()
	fr := http2.NewFramer(nil, theirs)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		frame, err := fr.ReadFrame()
		if err != nil {
			t.Errorf("another client gets no answer: %v", err)
			return
		}
		if m, ok := frame.(*http2.MetaHeadersFrame); ok {
			if m.PseudoValue("status") != "200" {
				t.Errorf("another client gets %v", m.Fields)
			}
			return
		}
	}
}

// FuzzEncoder writes fields that another implementation has to read as they are.
func FuzzEncoder(f *testing.F) {
	f.Add("GET", "h.example", "/", "X-Name", "value", int64(1), 200)
	f.Add("OPTIONS", "", "*", "content-type", strings.Repeat("long", 100), int64(-5), 599)
	f.Add("CONNECT", "h", "/chat", strings.Repeat("n", 300), "", int64(1<<40), 304)
	f.Fuzz(func(t *testing.T, method, authority, path, name, value string, n int64, status int) {
		if _, ok := h1.Make([]byte(name), []byte(value)); !ok {
			return
		}
		var e Encoder
		e.Status(status)
		e.Request(method, "https", authority, path)
		e.Field(name, value)
		e.Copy([]byte(name), []byte(value))
		e.Number("x-number", n)
		got, err := hpack.NewDecoder(4096, nil).DecodeFull(e.b)
		if err != nil {
			t.Fatal(err)
		}
		lower := strings.Map(func(r rune) rune {
			if 'A' <= r && r <= 'Z' {
				r += 'a' - 'A'
			}
			return r
		}, name)
		want := []string{":status", itoa(int64(status)), ":method", method, ":scheme", "https", ":authority", authority, ":path", path, lower, value, lower, value, "x-number", itoa(n)}
		for i, f := range got {
			if f.Name != want[2*i] || f.Value != want[2*i+1] {
				t.Errorf("field %d: %q %q, want %q %q", i, f.Name, f.Value, want[2*i], want[2*i+1])
			}
		}
		if 2*len(got) != len(want) {
			t.Errorf("%d fields, want %d", len(got), len(want)/2)
		}
	})
}

func itoa(n int64) string { return string(strconv.AppendInt(nil, n, 10)) }
