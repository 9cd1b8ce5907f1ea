package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/fairway-net/fairway/internal/proxy"
)

const gatewayManifest = `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  ingressClassName: fairway
  rules:
  - http: {paths: [{path: %s, pathType: Exact, backend: {service: {name: web, port: {name: http}}}}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: %d}]
endpoints: [{addresses: [%s]}]
`

// TestGatewayServesManifests: without an API server, and again when a file changes.
func TestGatewayServesManifests(t *testing.T) {
	pod := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "pod ", r.URL.Path) }))
	defer pod.Close()
	addr := netip.MustParseAddrPort(pod.Listener.Addr().String())
	file := filepath.Join(t.TempDir(), "web.yaml")
	write := func(path string) {
		if err := os.WriteFile(file, fmt.Appendf(nil, gatewayManifest, path, addr.Port(), addr.Addr()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("/one")
	listen, log := freePort(t), slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- RunGateway(ctx, GatewayOptions{Manifests: []string{filepath.Dir(file)}, Log: log,
			Proxy: proxy.Options{Listen: map[string]string{"http": listen}, Drain: time.Second, Log: log}})
	}()
	eventually(t, "the first route", func() bool {
		status, body := get(t, "http://"+listen+"/one")
		return status == 200 && body == "pod /one"
	})
	write("/another")
	eventually(t, "the route after the change", func() bool {
		status, _ := get(t, "http://"+listen+"/another")
		return status == 200
	})
	if status, _ := get(t, "http://"+listen+"/one"); status != 404 {
		t.Errorf("the old route answers %d", status)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := RunGateway(t.Context(), GatewayOptions{Manifests: []string{file + ".gone"}, Log: log, Proxy: proxy.Options{Log: log}}); err == nil {
		t.Error("no error for a file that is not there")
	}
}

// TestGatewayOpensWhenItKnows: without its first plan a gateway has no port open, so that
// one beside it on the same host gets all connections.
func TestGatewayOpensWhenItKnows(t *testing.T) {
	silent := make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-silent:
		case <-r.Context().Done():
		}
	}))
	defer api.Close()
	defer close(silent)
	listen, log := freePort(t), slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- RunGateway(ctx, GatewayOptions{Rest: &rest.Config{Host: api.URL}, Log: log, Proxy: proxy.Options{Listen: map[string]string{"http": listen}, Drain: time.Second, Log: log}})
	}()
	for range 20 {
		if c, err := net.Dial("tcp", listen); err == nil {
			c.Close()
			t.Fatal("the port is open before the first plan")
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the gateway does not end")
	}
}
