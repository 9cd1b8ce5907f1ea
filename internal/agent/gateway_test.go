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
	"slices"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy"
	"github.com/fairway-net/fairway/internal/state"
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
	pod := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "pod ", r.URL.Path, " at ", r.Header.Get("X-Forwarded-Port"))
	}))
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
		return status == 200 && body == fmt.Sprint("pod /one at ", portOf(listen))
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

// TestOwnPorts: no ConfigMap opens a port that the gateway listens on.
func TestOwnPorts(t *testing.T) {
	o := GatewayOptions{Health: "127.0.0.1:9001", Proxy: proxy.Options{Listen: map[string]string{"http": ":9002", "https": "[::1]:9003"}, HTTP3: true}}
	o.reserve()
	store := state.New()
	store.Update(func(tx *state.Tx) {
		for name, ports := range map[string][]string{"tcp-services": {"80", "9001", "9002", "9003", "9004"}, "udp-services": {"9001", "9003"}} {
			m := &model.ConfigMap{Name: model.Name{Namespace: "ingress-nginx", Name: name}, Data: map[string]string{}}
			for _, port := range ports {
				m.Data[port] = "default/db:1"
			}
			tx.Set(m)
		}
	})
	var reserved []string
	for _, r := range route.Make(store.Snapshot(), o.Params, time.Now()).Rejected {
		if r.Reason == "PortReserved" {
			reserved = append(reserved, r.Ref.Name.Name+" "+r.Field)
		}
	}
	slices.Sort(reserved)
	if want := []string{"tcp-services data[80]", "tcp-services data[9001]", "tcp-services data[9002]", "tcp-services data[9003]", "udp-services data[9003]"}; !slices.Equal(reserved, want) {
		t.Errorf("%q, want %q", reserved, want)
	}
}
