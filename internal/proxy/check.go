package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/fairway-net/fairway/internal/dialect/fairway"
	"github.com/fairway-net/fairway/internal/plan/route"
)

// check is an endpoint's examination: the settings that it runs with, and its end.
type check struct {
	settings fairway.Check
	protocol route.Protocol
	preamble int // version of the PROXY protocol; 0: none
	stop     context.CancelFunc
}

// examine begins to ask an endpoint whether it is well, goes on, or ends it, as the
// backend says. Runs under s.mu.
func (s *Server) examine(e *endpoint, b *route.Backend) {
	want := b.Upstream.Check
	if b.Key.UDP {
		return
	}
	if e.check != nil && e.check.settings == want && e.check.protocol == b.Protocol && e.check.preamble == b.Upstream.ProxyProtocol {
		return
	}
	if e.check != nil {
		e.check.stop()
		e.check = nil
		e.sick.Store(false)
	}
	if want.Path == "" {
		return
	}
	if want.Host == "" {
		want.Host = b.Key.Service.Name
	}
	ctx, stop := context.WithCancel(s.checking)
	e.check = &check{b.Upstream.Check, b.Protocol, b.Upstream.ProxyProtocol, stop}
	go e.examined(ctx, want, b.Protocol, b.Upstream.ProxyProtocol)
}

// examined asks until ctx ends. An endpoint is taken to be well until it has failed as
// often as it may: Kubernetes says that it is ready.
func (e *endpoint) examined(ctx context.Context, c fairway.Check, p route.Protocol, preamble int) {
	ask := asks(e.key.addr.String(), c, p, preamble)
	failures, successes := 0, 0
	for wait := time.Duration(rand.Int64N(int64(c.Interval))); ; wait = c.Interval {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		attempt, cancel := context.WithTimeout(ctx, c.Timeout)
		err := ask(attempt)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			successes = 0
			if failures++; failures >= c.Failures {
				e.sick.Store(true)
			}
		default:
			failures = 0
			if successes++; successes >= c.Successes && e.sick.Load() {
				e.born.Store(time.Now().UnixNano()) // it may have to start slowly again
				e.sick.Store(false)
			}
		}
	}
}

// asks makes the question: a connection, or a request whose answer is 200 to 399.
func asks(addr string, c fairway.Check, p route.Protocol, preamble int) func(context.Context) error {
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil && preamble > 0 {
			_, err = conn.Write(appendNobody(nil, preamble))
		}
		return conn, err
	}
	if c.Path == "tcp" {
		return func(ctx context.Context) error {
			conn, err := dial(ctx, "tcp", addr)
			if err == nil {
				_ = conn.Close()
			}
			return err
		}
	}
	scheme := "http"
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: &http.Protocols{}} //nolint:gosec // as for requests
	switch p {
	case route.H2C:
		transport.Protocols.SetUnencryptedHTTP2(true)
	case route.H2:
		scheme = "https"
		transport.Protocols.SetHTTP2(true)
	case route.HTTPS:
		scheme = "https"
		transport.Protocols.SetHTTP1(true)
	default:
		transport.Protocols.SetHTTP1(true)
	}
	return func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+addr+c.Path, nil)
		if err != nil {
			return err
		}
		r.Host = c.Host
		r.Header.Set("User-Agent", "fairway-health-check")
		resp, err := transport.RoundTrip(r)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
		_ = resp.Body.Close()
		if p == route.H2C || p == route.H2 {
			transport.CloseIdleConnections()
		}
		if resp.StatusCode < 200 || resp.StatusCode >= 400 {
			return errSick
		}
		return nil
	}
}
