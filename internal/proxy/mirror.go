package proxy

import (
	"bytes"
	"io"
	"net/http"
	"net/url"

	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// The bounds of copies: of a body that is kept for one, and of those under way.
const (
	maxCopy   = 1 << 20
	maxCopies = 256
)

// mirror sends a copy of the request and waits for no answer. A long body is copied while
// it passes (see spool).
func (x *exchange) mirror(m *route.Mirror) {
	target, err := url.Parse(x.expand(m.Target))
	if err != nil || target.Host == "" {
		return
	}
	r := &http.Request{Method: x.method, URL: target, Host: target.Host, Header: x.clientHeader(), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	if m.Host != "" {
		r.Host = m.Host
	}
	if x.call.request.HasBody() && !m.NoBody {
		if body, whole := x.call.keep(); whole {
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		} else {
			x.copy = newSpool()
			x.call.down = &tee{downstream: x.call.down, copy: x.copy}
			if r.Body, r.ContentLength = x.copy, x.call.request.Length; x.call.request.Chunked {
				r.ContentLength = -1
			}
		}
	}
	s := x.server
	if s.copies.Add(1) > maxCopies {
		s.copies.Add(-1)
		if x.copy != nil {
			_ = x.copy.Close()
		}
		return
	}
	go func() {
		defer s.copies.Add(-1)
		if resp, err := s.asker.client.Do(r); err == nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxCopy))
			_ = resp.Body.Close()
		}
	}()
}

// keep reads the body of the request, so that it can be had twice. If it is longer
// than maxCopy what was read is put back, and whole is false.
func (c *call) keep() (body []byte, whole bool) {
	if body, whole = c.take(); whole {
		return bytes.Clone(body), true
	}
	if c.request.Length > maxCopy || c.down.invite() != nil {
		return nil, false
	}
	scratch := make([]byte, h1.Large) // not one that is lent: what has come behind the body stays in it
	for {
		part, err := c.down.part(scratch)
		body = append(body, part...)
		if err == io.EOF {
			c.small, c.whole = body, true
			return bytes.Clone(body), true
		}
		if err != nil || len(body) > maxCopy {
			c.down = &putBack{downstream: c.down, body: body, err: err}
			return nil, false
		}
	}
}

// putBack is a client of whose body some was read already.
type putBack struct {
	downstream
	body []byte
	err  error // what came after
}

func (p *putBack) all() ([]byte, bool) { return nil, false }

func (p *putBack) part(scratch []byte) ([]byte, error) {
	if len(p.body) > 0 {
		n := copy(scratch[:min(len(scratch), h1.Large)], p.body)
		p.body = p.body[n:]
		return scratch[:n], nil
	}
	if p.err != nil {
		return nil, p.err
	}
	return p.downstream.part(scratch)
}
