package route

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestTable compares tables with maps over random edits; no edit may show in an
// older table.
func TestTable(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	key := func() BackendKey { return backendKey(fmt.Sprint("s", r.IntN(3000)), 80) }
	tables, models := []Table[BackendKey, int]{{}}, []map[BackendKey]int{{}}
	for range 40 {
		i := r.IntN(len(tables))
		e, m := tables[i].Edit(), maps.Clone(models[i])
		for range r.IntN(200) {
			if k := key(); r.IntN(4) == 0 {
				e.Delete(k)
				delete(m, k)
			} else {
				v := r.IntN(100)
				e.Set(k, v)
				m[k] = v
			}
		}
		tables, models = append(tables, e.Table()), append(models, m)
	}
	for i, table := range tables {
		if got := maps.Collect(table.All()); !maps.Equal(got, models[i]) || table.Len() != len(models[i]) {
			t.Fatalf("table %d differs from its model", i)
		}
		for k, v := range models[i] {
			if table.Get(k) != v {
				t.Fatalf("table %d: %v is %d, want %d", i, k, table.Get(k), v)
			}
		}
		for j, old := range tables {
			var want []BackendKey
			for k, v := range models[i] {
				if was, ok := models[j][k]; !ok || was != v {
					want = append(want, k)
				}
			}
			for k := range models[j] {
				if _, ok := models[i][k]; !ok {
					want = append(want, k)
				}
			}
			got := slices.Collect(table.Changed(old))
			slices.SortFunc(want, BackendKey.Compare)
			slices.SortFunc(got, BackendKey.Compare)
			if !slices.Equal(got, want) {
				t.Fatalf("from table %d to %d: %d keys changed, want %d", j, i, len(got), len(want))
			}
		}
	}
}
