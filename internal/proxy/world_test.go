package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/state"
	"github.com/fairway-net/fairway/internal/testkit"
)

// world is a cluster as the gateway sees it, and a gateway on loopback.
type world struct {
	t       testing.TB
	store   *state.Store
	watch   *state.Watch
	planner *route.Planner
	server  *Server
	end     context.CancelFunc
	ended   chan error
}

func newWorld(t testing.TB, change ...func(*Options)) *world {
	t.Helper()
	o := Options{Listen: map[string]string{"http": "127.0.0.1:0", "https": "127.0.0.1:0"}, Drain: 5 * time.Second, Log: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&o)
	}
	w := &world{t: t, store: state.New(), planner: route.New(route.Params{}), ended: make(chan error, 1)}
	w.watch = w.store.Watch()
	var err error
	if w.server, err = New(o); err != nil {
		t.Fatal(err)
	}
	if err := w.server.Open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.end = cancel
	go func() { w.ended <- w.server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-w.ended:
		case <-time.After(10 * time.Second):
			t.Error("the server does not end")
		}
	})
	return w
}

// set puts objects into the cluster and the plan into the server.
func (w *world) set(objects ...any) {
	w.store.Update(func(tx *state.Tx) {
		for _, o := range objects {
			tx.Set(o)
		}
	})
	snap, changes := w.watch.Take()
	w.server.Apply(w.planner.Update(snap, changes, time.Now()))
}

// request asks the gateway; url is "http://host/path" or "https://…". The name
// is not looked up, and redirects are not followed.
func (w *world) request(method, url string, body io.Reader, headers ...string) (*http.Response, string) {
	w.t.Helper()
	resp, text, err := w.try(w.client(), method, url, body, headers...)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, url, err)
	}
	return resp, text
}

func (w *world) get(url string, headers ...string) (*http.Response, string) {
	w.t.Helper()
	return w.request("GET", url, nil, headers...)
}

func (w *world) try(c *http.Client, method, url string, body io.Reader, headers ...string) (*http.Response, string, error) {
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		return nil, "", err
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		} else {
			r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
		}
	}
	resp, err := c.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

// client is a client that reaches the gateway whatever name it asks for. It
// accepts every certificate and keeps connections.
func (w *world) client() *http.Client {
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			name := "http"
			if strings.HasSuffix(addr, ":443") {
				name = "https"
			}
			var d net.Dialer
			return d.DialContext(ctx, "tcp", w.server.Addr(name).String())
		},
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true},
		ForceAttemptHTTP2:  true,
		DisableCompression: true,
	}
	w.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{
		Transport:     t,
		Timeout:       20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// backend starts an HTTP server that answers with its name and what it saw.
func (w *world) backend(name string) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-Backend", name)
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(rw, "%s %s %s host=%s body=%s", name, r.Method, r.RequestURI, r.Host, body)
	}))
	w.t.Cleanup(s.Close)
	return s
}

func addrOf(s *httptest.Server) netip.AddrPort {
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

func named(name string) model.Name { return model.Name{Namespace: "default", Name: name} }

// service is a Service with port 80, called "web".
func service(name string) *model.Service {
	return &model.Service{Name: named(name), Ports: []model.ServicePort{{Name: "web", Protocol: model.TCP, Port: 80, TargetPort: model.IntOrString{Int: 8080}}}}
}

// slice is an EndpointSlice of a Service; all addresses must have one port.
func slice(service string, addrs ...netip.AddrPort) *model.EndpointSlice {
	return sliceNamed(service+"-1", service, addrs...)
}

func sliceNamed(name, service string, addrs ...netip.AddrPort) *model.EndpointSlice {
	s := &model.EndpointSlice{Name: named(name), Service: service, Family: model.IPv4}
	for i, a := range addrs {
		if i == 0 {
			s.Ports = []model.EndpointPort{{Name: "web", Protocol: model.TCP, Port: a.Port()}}
		}
		s.Endpoints = append(s.Endpoints, model.Endpoint{Addr: a.Addr(), Ready: true, Serving: true})
	}
	return s
}

// ingress has class fairway and the rules given as "PATH SERVICE", of type Prefix.
func ingress(name, host string, rules ...string) *model.Ingress {
	ing := &model.Ingress{Name: named(name), ClassName: "fairway", Annotations: map[string]string{}, Rules: []model.IngressRule{{Host: host}}}
	for _, r := range rules {
		path, svc, _ := strings.Cut(r, " ")
		ing.Rules[0].Paths = append(ing.Rules[0].Paths, model.IngressPath{Path: path, Type: model.Prefix,
			Backend: model.IngressBackend{Service: svc, Port: model.IntOrString{Int: 80}}})
	}
	return ing
}

// secret holds a new self-signed certificate.
func secret(t testing.TB, name string, hosts ...string) *model.Secret {
	t.Helper()
	crt, key := testkit.PEM(t, (*testkit.Authority)(nil).Issue(t, &x509.Certificate{DNSNames: hosts}))
	return &model.Secret{Name: named(name), Type: "kubernetes.io/tls", Data: map[string][]byte{"tls.crt": []byte(crt), "tls.key": []byte(key)}}
}

// turnOf makes addr the next endpoint of port 80 of a Service.
func (w *world) turnOf(service model.Name, addr netip.AddrPort) {
	w.t.Helper()
	pool := w.server.live.Load().pools.Get(route.BackendKey{Service: service, Port: model.IntOrString{Int: 80}})
	for i, e := range pool.endpoints {
		if e.key.addr == addr {
			pool.turn.Store(uint32(i + len(pool.endpoints) - 1))
			return
		}
	}
	w.t.Fatalf("no endpoint %v", addr)
}

// eventually retries f for a while.
func eventually(t testing.TB, f func() bool, what string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("not within 5 s: %s", what)
}
