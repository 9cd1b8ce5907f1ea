package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// goneLog is a datapath that writes down what it is told.
type goneLog struct {
	backends   []netip.Addr
	gone, back []netip.Addr
}

func (g *goneLog) Backends() []netip.Addr { return g.backends }

func (g *goneLog) ApplyGone(_ context.Context, gone, back []netip.Addr) error {
	g.gone, g.back = gone, back
	return nil
}

func TestPodAddrs(t *testing.T) {
	store := state.New()
	watch := store.Watch(model.KindPod, model.KindNode)
	log := &goneLog{backends: []netip.Addr{netip.MustParseAddr("10.1.1.9"), netip.MustParseAddr("10.1.1.2"), netip.MustParseAddr("192.0.2.1")}}
	p := &podAddrs{datapath: log}
	set := func(name, ip string) func(*state.Tx) {
		return func(tx *state.Tx) {
			pod := &model.Pod{Name: model.Name{Namespace: "x", Name: name}}
			if ip != "" {
				pod.IPs = []netip.Addr{netip.MustParseAddr(ip)}
			}
			tx.Set(pod)
		}
	}
	remove := func(name string) func(*state.Tx) {
		return func(tx *state.Tx) { tx.Delete(model.KindPod, "x/"+name) }
	}
	for _, c := range []struct {
		what       string
		change     []func(*state.Tx)
		gone, back string
	}{
		{"at first, one has gone unheard", []func(*state.Tx){set("a", "10.1.1.2"), func(tx *state.Tx) {
			tx.Set(&model.Node{Name: "n", PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.1.0/24")}})
			tx.SetSynced(model.KindPod)
			tx.SetSynced(model.KindNode)
		}}, "[10.1.1.9]", "[10.1.1.2]"},
		{"a pod gets its address", []func(*state.Tx){set("b", ""), set("b", "10.1.1.9")}, "[]", "[10.1.1.9]"},
		{"it goes", []func(*state.Tx){remove("a")}, "[10.1.1.2]", "[]"},
		{"one address, two pods", []func(*state.Tx){set("c", "10.1.1.2"), set("d", "10.1.1.2")}, "[]", "[10.1.1.2]"},
		{"one of them goes", []func(*state.Tx){remove("c")}, "[]", "[]"},
		{"the other is done", []func(*state.Tx){func(tx *state.Tx) {
			tx.Set(&model.Pod{Name: model.Name{Namespace: "x", Name: "d"}, Done: true, IPs: []netip.Addr{netip.MustParseAddr("10.1.1.2")}})
		}}, "[10.1.1.2]", "[]"},
	} {
		for _, f := range c.change {
			store.Update(f)
		}
		snap, changes := watch.Take()
		log.gone, log.back = nil, nil
		if err := p.step(t.Context(), snap, changes); err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(log.gone, netip.Addr.Compare)
		if gone, back := fmt.Sprint(log.gone), fmt.Sprint(log.back); gone != c.gone || back != c.back {
			t.Errorf("%s: gone %v, back %v; want %s, %s", c.what, gone, back, c.gone, c.back)
		}
	}
}
