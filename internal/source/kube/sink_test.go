package kube

import (
	"log/slog"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

func slice(name, service string) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}}},
	}
}

func keys(s *state.Snapshot) string {
	out := ""
	for k := range s.Slices.All() {
		out += k + " "
	}
	return out
}

func TestSinkFollowsListsAndDeletions(t *testing.T) {
	store := state.New()
	s := newSink(newTable(model.KindEndpointSlice, store, 1), slog.New(slog.DiscardHandler))
	s.Add(slice("early", "web"))
	if store.Snapshot().Synced(model.KindEndpointSlice) {
		t.Error("synced before the first complete list")
	}
	s.Replace([]any{slice("a", "web"), slice("b", "db"), slice("orphan", "")}, "1")
	if got, want := keys(store.Snapshot()), "ns/db/b ns/web/a "; got != want {
		t.Errorf("after a list: got %q, want %q", got, want)
	}
	if !store.Snapshot().Synced(model.KindEndpointSlice) {
		t.Error("not synced after a complete list")
	}
	s.Update(slice("a", "db")) // its label moved to another Service
	if got, want := keys(store.Snapshot()), "ns/db/a ns/db/b "; got != want {
		t.Errorf("after a label change: got %q, want %q", got, want)
	}
	s.Delete(cache.DeletedFinalStateUnknown{Key: "ns/a"})
	s.Delete(slice("b", "db"))
	if got := keys(store.Snapshot()); got != "" {
		t.Errorf("after deletion: got %q", got)
	}
}

func TestSinkDropsUpdatesThatChangeNothing(t *testing.T) {
	store := state.New()
	s := newSink(newTable(model.KindNode, store, 1), slog.New(slog.DiscardHandler))
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	s.Add(node)
	before := store.Snapshot().Revision
	beat := node.DeepCopy()
	beat.ResourceVersion = "2"
	beat.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse}}
	s.Update(beat)
	if got := store.Snapshot().Revision; got != before {
		t.Errorf("a heartbeat made revision %d from %d", got, before)
	}
}

func TestConvertEndpointConditions(t *testing.T) {
	yes, no := true, false
	for _, tt := range []struct {
		in   discoveryv1.EndpointConditions
		want [3]bool // ready, serving, terminating
	}{
		{discoveryv1.EndpointConditions{}, [3]bool{true, true, false}},
		{discoveryv1.EndpointConditions{Ready: &no}, [3]bool{false, true, false}},
		{discoveryv1.EndpointConditions{Ready: &no, Serving: &yes, Terminating: &yes}, [3]bool{false, true, true}},
	} {
		e, ok := convertEndpoint(&discoveryv1.Endpoint{Addresses: []string{"10.0.0.1"}, Conditions: tt.in})
		if got := [3]bool{e.Ready, e.Serving, e.Terminating}; !ok || got != tt.want {
			t.Errorf("%+v: got %v, want %v", tt.in, got, tt.want)
		}
	}
}
