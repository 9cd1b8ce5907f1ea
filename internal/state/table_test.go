package state

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/fairway-net/fairway/internal/model"
)

// Every snapshot stays what it was, whatever is built on it, and a table is a
// sorted map.
func TestTablesAreValues(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	type version struct {
		snap *Snapshot
		want map[string]*model.Pod
	}
	s, want := New(), map[string]*model.Pod{}
	var versions []version
	for range 300 {
		s.Update(func(tx *Tx) {
			for range rnd.IntN(20) {
				p := &model.Pod{Name: model.Name{Namespace: fmt.Sprint(rnd.IntN(5)), Name: fmt.Sprint(rnd.IntN(100))}}
				if rnd.IntN(3) == 0 {
					tx.Delete(model.KindPod, p.String())
					delete(want, p.String())
				} else {
					tx.Set(p)
					want[p.String()] = p
				}
			}
		})
		versions = append(versions, version{s.Snapshot(), maps.Clone(want)})
	}
	for i, v := range versions {
		if v.snap.Pods.Len() != len(v.want) || !maps.Equal(maps.Collect(v.snap.Pods.All()), v.want) {
			t.Fatalf("snapshot %d has changed", i)
		}
		for k, p := range v.want {
			if v.snap.Pod(model.ParseName(k)) != p {
				t.Fatalf("snapshot %d: Get(%s)", i, k)
			}
		}
		for ns := range 5 {
			var got, want []string
			for k := range v.snap.Pods.Prefix(fmt.Sprint(ns, "/")) {
				got = append(got, k)
			}
			for k, p := range v.want {
				if p.Namespace == fmt.Sprint(ns) {
					want = append(want, k)
				}
			}
			if slices.Sort(want); !slices.Equal(got, want) {
				t.Fatalf("snapshot %d: prefix %d: %v, want %v", i, ns, got, want)
			}
		}
	}
}

// BenchmarkUpdate is one change among many objects: it must cost the same, but
// for one level of the tree.
func BenchmarkUpdate(b *testing.B) {
	for _, n := range []int{1000, 40000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := New()
			s.Update(func(tx *Tx) {
				for i := range n {
					tx.Set(pod(fmt.Sprintf("pod-%05d", i)))
				}
			})
			w := s.Watch(model.KindPod)
			w.Take()
			p := pod("pod-00777")
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				s.Update(func(tx *Tx) { tx.Set(p) })
				w.Take()
			}
		})
	}
}
