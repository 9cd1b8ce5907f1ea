package state

import (
	"fmt"
	"sync"
	"testing"

	"github.com/fairway-net/fairway/internal/model"
)

func pod(name string) *model.Pod { return &model.Pod{Name: model.Name{Namespace: "ns", Name: name}} }

func TestSnapshotsDoNotChange(t *testing.T) {
	s := New()
	s.Update(func(tx *Tx) { tx.Set(pod("a")) })
	old := s.Snapshot()
	s.Update(func(tx *Tx) { tx.Set(pod("b")); tx.Delete(model.KindPod, "ns/a") })
	if old.Pods.Len() != 1 || old.Pod(model.Name{Namespace: "ns", Name: "a"}) == nil {
		t.Error("an old snapshot changed")
	}
	if now := s.Snapshot(); now.Pods.Len() != 1 || now.Pod(model.Name{Namespace: "ns", Name: "b"}) == nil {
		t.Error("the new snapshot lacks the change")
	}
}

func TestWatchFiltersKindsAndAccumulates(t *testing.T) {
	s := New()
	w := s.Watch(model.KindPod)
	if _, c, _ := w.Next(t.Context()); !c.All {
		t.Error("the first delivery must be All")
	}
	s.Update(func(tx *Tx) { tx.Set(&model.Node{Name: "n"}) })
	select {
	case <-w.C():
		t.Error("woken for a kind that was not asked for")
	default:
	}
	s.Update(func(tx *Tx) { tx.Set(pod("a")) })
	s.Update(func(tx *Tx) { tx.Set(pod("b")); tx.Delete(model.KindPod, "ns/none") })
	_, c, _ := w.Next(t.Context())
	if c.All || len(c.Keys) != 2 || !c.Kinds(model.KindPod) || c.Kinds(model.KindNode) {
		t.Errorf("changes: %+v", c)
	}
	w.Requeue(c)
	if _, again, _ := w.Next(t.Context()); len(again.Keys) != 2 {
		t.Errorf("after Requeue: %+v", again)
	}
}

// Whatever a reader has not been handed must still come, however writers and
// the reader interleave.
func TestWatchLosesNothing(t *testing.T) {
	s := New()
	w := s.Watch(model.KindPod)
	const writers, each = 4, 500
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for j := range each {
				s.Update(func(tx *Tx) { tx.Set(pod(fmt.Sprintf("%d-%d", i, j))) })
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); s.Update(func(tx *Tx) { tx.SetSynced(model.KindPod) }); close(done) }()
	seen := map[Change]bool{}
	for {
		snap, c, err := w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for ch := range c.Keys {
			seen[ch] = true
			if _, ok := snap.Pods.Get(ch.Key); !ok {
				t.Fatalf("%v delivered with a snapshot that lacks it", ch)
			}
		}
		if c.All {
			for k := range snap.Pods.All() {
				seen[Change{model.KindPod, k}] = true
			}
		}
		if snap.Synced(model.KindPod) {
			break
		}
	}
	<-done
	_, c := w.Take()
	for ch := range c.Keys {
		seen[ch] = true
	}
	if len(seen) != writers*each {
		t.Errorf("saw %d changes, want %d", len(seen), writers*each)
	}
}

func TestTablePrefix(t *testing.T) {
	s := New()
	s.Update(func(tx *Tx) {
		for _, svc := range []string{"web", "web2"} {
			tx.Set(&model.EndpointSlice{Name: model.Name{Namespace: "ns", Name: svc + "-1"}, Service: svc})
		}
	})
	n := 0
	for range s.Snapshot().SlicesOf(model.Name{Namespace: "ns", Name: "web"}) {
		n++
	}
	if n != 1 {
		t.Errorf("slices of ns/web: %d, want 1", n)
	}
}
