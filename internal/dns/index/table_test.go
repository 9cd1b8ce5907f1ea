package index

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// TestTable compares a table with a map while readers look up keys that are
// always there: neither growth nor removals may hide them.
func TestTable(t *testing.T) {
	tab := newTable[int]()
	const always = 500
	for i := range always {
		tab.set(fmt.Sprint("always", i), &i)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				i := rand.IntN(always)
				if v := tab.get(fmt.Append(nil, "always", i)); v == nil || *v != i {
					t.Errorf("always%d: %v", i, v)
					return
				}
			}
		})
	}
	twin := map[string]int{}
	for i := range 30_000 {
		k := fmt.Sprint("k", rand.IntN(5000))
		if rand.IntN(3) == 0 {
			tab.del(k)
			delete(twin, k)
		} else {
			tab.set(k, &i)
			twin[k] = i
		}
	}
	close(stop)
	wg.Wait()
	if got := len(tab.keys()); got != len(twin)+always || tab.n != got {
		t.Errorf("%d keys, n %d, want %d", got, tab.n, len(twin)+always)
	}
	for i := range 5000 {
		k := fmt.Sprint("k", i)
		want, ok := twin[k]
		if v := tab.get([]byte(k)); (v != nil) != ok || ok && *v != want {
			t.Errorf("%s: %v, want %d %v", k, v, want, ok)
		}
	}
}
