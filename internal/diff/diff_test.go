package diff

import (
	"fmt"
	"maps"
	"testing"
	"testing/quick"
)

func same(a, b int) bool { return a == b }

func TestMaps(t *testing.T) {
	have := map[string]int{"keep": 1, "change": 1, "old2": 1, "old1": 1}
	want := map[string]int{"keep": 1, "change": 2, "new2": 1, "new1": 1}
	got := Maps(have, want, same)
	if s := fmt.Sprint(got); s != "{[new1 new2] [change] [old1 old2]}" {
		t.Error(s)
	}
	if !Maps(want, want, same).Empty() {
		t.Error("equal maps differ")
	}
}

// Applying the ops to have must give want.
func TestMapsTurnsHaveIntoWant(t *testing.T) {
	f := func(have, want map[uint8]int) bool {
		ops := Maps(have, want, same)
		for _, k := range append(ops.Add, ops.Update...) {
			have[k] = want[k]
		}
		for _, k := range ops.Remove {
			delete(have, k)
		}
		return maps.Equal(have, want)
	}
	if err := quick.Check(f, nil); err != nil {
		t.Error(err)
	}
}
