package state

import (
	"iter"
	"strings"

	"github.com/tidwall/btree"
)

// Table is an immutable ordered map from an object's key to its value. The
// zero Table is empty.
type Table[V any] struct {
	tree  *btree.Map[string, V] // nobody writes to it but the transaction that made it
	owner uint64                // revision of the snapshot that it was made for
}

// Get returns the value under key.
func (t Table[V]) Get(key string) (V, bool) {
	if t.tree == nil {
		var zero V
		return zero, false
	}
	return t.tree.Get(key)
}

// Len is the number of entries.
func (t Table[V]) Len() int {
	if t.tree == nil {
		return 0
	}
	return t.tree.Len()
}

// All yields the entries in the order of their keys.
func (t Table[V]) All() iter.Seq2[string, V] { return t.Prefix("") }

// Prefix yields the entries whose key begins with prefix, in order.
func (t Table[V]) Prefix(prefix string) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		if t.tree == nil {
			return
		}
		t.tree.Ascend(prefix, func(k string, v V) bool {
			return strings.HasPrefix(k, prefix) && yield(k, v)
		})
	}
}

// get, set and del are the same for a writer that does not know V. It writes
// for the snapshot of a revision, which nobody has seen yet.
func (t *Table[V]) get(key string) (any, bool) { return t.Get(key) }

func (t *Table[V]) set(key string, v any, revision uint64) {
	t.own(revision)
	t.tree.Set(key, v.(V))
}

func (t *Table[V]) del(key string, revision uint64) {
	t.own(revision)
	t.tree.Delete(key)
}

// own makes the tree one that may be written to: with the first write of a
// revision a copy, which shares all nodes until one of them is written.
func (t *Table[V]) own(revision uint64) {
	switch {
	case t.tree == nil:
		t.tree = btree.NewMap[string, V](degree)
	case t.owner != revision:
		t.tree = t.tree.Copy()
	}
	t.owner = revision
}

// degree is half of how many entries a node has: what a change copies, times
// the height of the tree.
const degree = 16
