package agent

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/service"
)

// unusedPort returns a port of loopback that nobody uses at the moment.
func unusedPort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func TestHealthPorts(t *testing.T) {
	healthy := true
	h := newHealthPorts(func() bool { return healthy }, slog.New(slog.DiscardHandler))
	defer h.close()
	key := service.Key{Kind: model.KindService, Name: model.Name{Namespace: "x", Name: "web"}}
	other := service.Key{Kind: model.KindService, Name: model.Name{Namespace: "x", Name: "other"}}
	one, two := unusedPort(t), unusedPort(t)
	ask := func(port uint16) string {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/any/path", port))
		if err != nil {
			return "no answer"
		}
		defer resp.Body.Close()
		var body struct {
			Service        map[string]string
			LocalEndpoints int
			Healthy        bool `json:"serviceProxyHealthy"`
		}
		b, _ := io.ReadAll(resp.Body)
		if err := json.Unmarshal(b, &body); err != nil {
			t.Errorf("%v in %s", err, b)
		}
		return fmt.Sprintf("%d %s/%s %d %s %v", resp.StatusCode, body.Service["namespace"], body.Service["name"], body.LocalEndpoints,
			resp.Header.Get("X-Load-Balancing-Endpoint-Weight"), body.Healthy)
	}
	steps := []struct {
		name     string
		plans    []service.Plan
		one, two string
	}{
		{"two endpoints", []service.Plan{{Key: key, HealthCheckPort: one, LocalReady: 2}}, "200 x/web 2 2 true", "no answer"},
		{"no endpoint", []service.Plan{{Key: key, HealthCheckPort: one}}, "503 x/web 0 0 true", "no answer"},
		{"another Service's change", []service.Plan{{Key: other, HealthCheckPort: two, LocalReady: 1}}, "503 x/web 0 0 true", "200 x/other 1 1 true"},
		{"the numbers change hands", []service.Plan{{Key: key, HealthCheckPort: two, LocalReady: 1}, {Key: other, HealthCheckPort: one, LocalReady: 3}}, "200 x/other 3 3 true", "200 x/web 1 1 true"},
		{"externalTrafficPolicy becomes Cluster", []service.Plan{{Key: key}, {Key: other}}, "no answer", "no answer"},
	}
	for _, step := range steps {
		if err := h.apply(step.plans); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got1, got2 := ask(one), ask(two); got1 != step.one || got2 != step.two {
			t.Errorf("%s: port one says %q, two %q; want %q and %q", step.name, got1, got2, step.one, step.two)
		}
	}
	healthy = false
	if err := h.apply([]service.Plan{{Key: key, HealthCheckPort: one, LocalReady: 2}}); err != nil {
		t.Fatal(err)
	}
	if got := ask(one); got != "503 x/web 2 2 false" {
		t.Errorf("with a datapath that is not healthy: %q", got)
	}
	taken, err := net.Listen("tcp", fmt.Sprint(":", two))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := h.apply([]service.Plan{{Key: other, HealthCheckPort: two}}); err == nil {
		t.Error("no error for a port that is taken")
	}
}
