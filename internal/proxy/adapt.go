package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// adapt makes an http.Request of the request, for endpoints that net/http speaks
// with. What it returns is to be called at the end of the exchange.
func (f *front) adapt() (end func()) {
	r := &f.request
	header := make(http.Header, len(r.Fields))
	for i := range r.Fields {
		switch field := &r.Fields[i]; field.Known {
		case h1.Host, h1.TransferEncoding, h1.Expect:
		default:
			header.Add(string(field.Name), string(field.Value))
		}
	}
	// With this value ReverseProxy panics if a response breaks off: else it would
	// look complete.
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), http.ServerContextKey, &http.Server{}))
	body := &adaptedBody{front: f}
	out := &http.Request{
		Method: r.Method, Host: r.Host, Header: header, RequestURI: r.Target, RemoteAddr: f.conn.RemoteAddr().String(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: f.exchange.length, Body: http.NoBody,
		URL: &url.URL{Path: f.exchange.forward, RawQuery: r.Query},
	}
	if r.HasBody() {
		out.Body = body
		_ = f.invite() // whoever is not there any more sends nothing
	}
	f.exchange.request = out.WithContext(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { f.watch(ctx, cancel) })
	return func() {
		cancel()
		body.end()
		watch.Wait()
	}
}

// watch ends an exchange whose client has gone.
func (f *front) watch(ctx context.Context, cancel func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(tick):
		}
		if f.conn.Gone() {
			cancel()
		}
	}
}

// adaptedBody is the body for net/http, which may read it in a goroutine of its
// own, and for longer than the exchange lasts.
type adaptedBody struct {
	front *front

	mu      sync.Mutex
	pending []byte
	scratch *[h1.Large]byte
	ended   bool
	err     error
}

func (b *adaptedBody) Read(into []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return 0, http.ErrBodyReadAfterClose
	}
	if len(b.pending) == 0 && b.err == nil {
		if b.scratch == nil {
			b.scratch = b.front.server.buffers.Large()
		}
		b.pending, b.err = b.front.body.Next(b.scratch[:])
	}
	if len(b.pending) == 0 {
		return 0, b.err
	}
	n := copy(into, b.pending)
	b.pending = b.pending[n:]
	return n, nil
}

// Close does nothing: the body belongs to the connection.
func (b *adaptedBody) Close() error { return nil }

// end takes the body back. What was read beyond its end stays where it is.
func (b *adaptedBody) end() {
	f := b.front
	f.stop.Store(true)
	f.conn.Rouse()
	b.mu.Lock()
	defer b.mu.Unlock()
	f.stop.Store(false)
	b.ended = true
	if b.err != nil && !errors.Is(b.err, io.EOF) {
		f.closing = true
	}
}

func underscored(name []byte) bool { return bytes.IndexByte(name, '_') >= 0 }

func prefaced(b []byte) bool { return bytes.HasPrefix(b, []byte("PRI * HTTP/2.0\r\n\r\n")) }
