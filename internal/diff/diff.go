// Package diff compares what is wanted with what is there. It is the only
// have/want comparison of the project; appliers differ in what they do with it.
package diff

import (
	"cmp"
	"maps"
	"slices"
)

// Ops is what has to happen to turn have into want, each list in the order of
// its keys. Appliers add and update before they remove, so that nothing is
// missing midway.
type Ops[K comparable] struct {
	Add, Update, Remove []K
}

// Empty says that nothing has to happen.
func (o Ops[K]) Empty() bool { return len(o.Add)+len(o.Update)+len(o.Remove) == 0 }

// Maps compares two maps; values are the same if equal says so.
func Maps[K cmp.Ordered, V any](have, want map[K]V, equal func(a, b V) bool) Ops[K] {
	return MapsFunc(have, want, equal, cmp.Compare[K])
}

// MapsFunc is Maps for keys that need a comparison of their own.
func MapsFunc[K comparable, V any](have, want map[K]V, equal func(a, b V) bool, compare func(a, b K) int) Ops[K] {
	var ops Ops[K]
	for _, k := range slices.SortedFunc(maps.Keys(want), compare) {
		old, ok := have[k]
		switch {
		case !ok:
			ops.Add = append(ops.Add, k)
		case !equal(old, want[k]):
			ops.Update = append(ops.Update, k)
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(have), compare) {
		if _, ok := want[k]; !ok {
			ops.Remove = append(ops.Remove, k)
		}
	}
	return ops
}
