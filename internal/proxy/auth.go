package proxy

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// asker asks the services of auth-url, and remembers answers where the rule says so.
type asker struct {
	client http.Client

	mu   sync.Mutex
	kept map[string]verdict
}

// verdict is an answer of such a service, without its body.
type verdict struct {
	status int
	header http.Header
	until  time.Time
}

// maxVerdicts bounds the memory for answers that are kept.
const maxVerdicts = 10_000

func newAsker() *asker {
	return &asker{kept: map[string]verdict{}, client: http.Client{
		Timeout:       60 * time.Second, // nginx's proxy_read_timeout
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, MaxIdleConnsPerHost: 64, IdleConnTimeout: 60 * time.Second, DisableCompression: true,
			// As in nginx, whose proxy_ssl_verify is off unless asked for.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, //nolint:gosec
	}}
}

// permitted asks whether the request may pass. If not, deny answers it.
func (x *exchange) permitted(a *route.Auth) (ok bool, deny func()) {
	v, err := x.server.asker.ask(x, a)
	switch {
	case err != nil:
		x.err = err
		return false, func() { x.fail(http.StatusInternalServerError, "the authentication service gave no answer") }
	case v.status >= 200 && v.status < 300:
		for _, name := range a.Headers { // the client's own are replaced even by nothing
			x.send = append(x.send, route.Header{Name: name, Value: v.header.Get(name)})
		}
		x.cookies, x.cookiesAlways = v.header["Set-Cookie"], a.AlwaysCookie
		return true, nil
	case v.status == http.StatusUnauthorized && a.SignIn != nil:
		return false, func() {
			x.writer.Header()["Set-Cookie"] = v.header["Set-Cookie"]
			x.redirect(x.expand(a.SignIn), http.StatusFound)
		}
	case v.status == http.StatusUnauthorized, v.status == http.StatusForbidden:
		return false, func() {
			if c := v.header.Get("WWW-Authenticate"); c != "" {
				x.writer.Header().Set("WWW-Authenticate", c)
			}
			if a.AlwaysCookie {
				x.writer.Header()["Set-Cookie"] = v.header["Set-Cookie"]
			}
			x.fail(v.status, "the authentication service does not let you in")
		}
	}
	return false, func() {
		x.fail(http.StatusInternalServerError, fmt.Sprintf("the authentication service answered %d", v.status))
	}
}

func (s *asker) ask(x *exchange, a *route.Auth) (verdict, error) {
	key := ""
	if len(a.CacheKey) > 0 {
		key = x.rule.Source.String() + " " + x.match.Host + " " + x.expand(a.CacheKey)
		s.mu.Lock()
		v, ok := s.kept[key]
		s.mu.Unlock()
		if ok && time.Now().Before(v.until) {
			return v, nil
		}
	}
	r, err := x.question(a)
	if err != nil {
		return verdict{}, err
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return verdict{}, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be kept
	_ = resp.Body.Close()
	v := verdict{status: resp.StatusCode, header: resp.Header}
	if keep := a.Keep(v.status); key != "" && keep > 0 {
		v.until = time.Now().Add(keep)
		s.keep(key, v)
	}
	return v, nil
}

func (s *asker) keep(key string, v verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kept) >= maxVerdicts {
		now := time.Now()
		for k, old := range s.kept {
			if now.After(old.until) {
				delete(s.kept, k)
			}
		}
		if len(s.kept) >= maxVerdicts {
			clear(s.kept)
		}
	}
	s.kept[key] = v
}

// question is the request to the service: the client's header, and what
// ingress-nginx adds.
func (x *exchange) question(a *route.Auth) (*http.Request, error) {
	target, err := url.Parse(x.expand(a.URL))
	if err != nil || target.Host == "" {
		return nil, fmt.Errorf("ask %s: not a URL", a.URL)
	}
	r := &http.Request{Method: "GET", URL: target, Host: target.Host, Header: x.clientHeader(), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	h := r.Header
	delete(h, "X-Forwarded-Proto")
	if a.Method != "" {
		r.Method = a.Method
		h.Set("X-Original-Uri", x.requestURI())
		h.Set("X-Scheme", x.scheme())
	}
	h.Set("X-Request-Id", x.id)
	h.Set("X-Original-Url", x.scheme()+"://"+x.host+x.requestURI())
	h.Set("X-Original-Method", x.method)
	h.Set("X-Sent-From", "nginx-ingress-controller")
	h.Set("X-Real-Ip", x.client)
	h.Set("X-Forwarded-For", x.client)
	h.Set("X-Auth-Request-Redirect", x.requestURI())
	if len(a.Redirect) > 0 {
		h.Set("X-Auth-Request-Redirect", x.expand(a.Redirect))
	}
	for _, f := range x.send { // what is known of the client's certificate
		h.Set(f.Name, f.Value)
	}
	for _, f := range a.Set {
		if v := x.expand(f.Value); v == "" {
			h.Del(f.Name)
		} else if h1.Cleartext(v) {
			h.Set(f.Name, v)
		}
	}
	return r, nil
}

// clientHeader copies the header of the request, but for what is between the
// client and us and what frames its body.
func (x *exchange) clientHeader() http.Header {
	out := http.Header{}
	add := func(name, value string) {
		switch name = http.CanonicalHeaderKey(name); name {
		case "Host", "Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Proxy", "Proxy-Connection", "Expect":
		default:
			if !strings.Contains(name, "_") {
				out[name] = append(out[name], value)
			}
		}
	}
	for i := range x.call.request.Fields {
		f := &x.call.request.Fields[i]
		add(string(f.Name), string(f.Value))
	}
	return out
}
