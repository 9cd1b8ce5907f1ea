package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/state"
)

// TestExternalNames: off by default; on, the name's addresses are the endpoints, and
// they stay while the DNS does not answer.
func TestExternalNames(t *testing.T) {
	name := func(n string) model.Name { return model.Name{Namespace: "default", Name: n} }
	store := state.New()
	store.Update(func(tx *state.Tx) {
		tx.Set(&model.Service{Name: name("old"), Type: model.ExternalName, ExternalName: "old.example"})
		tx.Set(&model.Ingress{Name: name("i"), ClassName: "fairway", Default: &model.IngressBackend{Service: "old", Port: model.IntOrString{Int: 8080}}})
	})
	key := route.BackendKey{Service: name("old"), Port: model.IntOrString{Int: 8080}}
	p := route.Make(store.Snapshot(), route.Params{}, time.Now())
	if b := p.Backends.Get(key); b.External != "" || len(p.Rejected) != 1 || p.Rejected[0].Reason != "ExternalNameRefused" {
		t.Errorf("without the option: %+v, %v", b, p.Rejected)
	}
	store.Update(func(tx *state.Tx) {
		tx.Set(&model.ConfigMap{Name: route.DefaultConfigMaps[1], Data: map[string]string{"allow-external-names": "true"}})
	})
	addrs, fail := []string{"192.0.2.2", "192.0.2.1"}, false
	var served *route.Plan
	e := &externals{log: slog.New(slog.DiscardHandler), known: map[string][]netip.Addr{}, apply: func(p *route.Plan) { served = p },
		lookup: func(_ context.Context, name string) (out []netip.Addr, err error) {
			if fail || name != "old.example" {
				return nil, errors.New("no answer")
			}
			for _, a := range addrs {
				out = append(out, netip.MustParseAddr(a))
			}
			return out, nil
		}}
	want := func(when, want string) {
		t.Helper()
		got := ""
		for _, x := range served.Backends.Get(key).Endpoints {
			got += fmt.Sprint(x.Addr, " ")
		}
		if got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	e.Apply(t.Context(), route.Make(store.Snapshot(), route.Params{}, time.Now()))
	want("at first", "192.0.2.1:8080 192.0.2.2:8080 ")
	addrs = []string{"192.0.2.3"}
	e.refresh(t.Context())
	want("after a change", "192.0.2.3:8080 ")
	fail = true
	e.refresh(t.Context())
	want("without an answer", "192.0.2.3:8080 ")
}
