package state

import (
	"iter"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// Table is an immutable ordered map from an object's key to its value. The
// zero Table is empty.
type Table[V any] struct {
	tree *iradix.Tree[V]
}

// Get returns the value under key.
func (t Table[V]) Get(key string) (V, bool) {
	if t.tree == nil {
		var zero V
		return zero, false
	}
	return t.tree.Get([]byte(key))
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
		it := t.tree.Root().Iterator()
		it.SeekPrefix([]byte(prefix))
		for k, v, ok := it.Next(); ok; k, v, ok = it.Next() {
			if !yield(string(k), v) {
				return
			}
		}
	}
}

// get, set and del are the same for a writer that does not know V.
func (t *Table[V]) get(key string) (any, bool) { return t.Get(key) }
func (t *Table[V]) set(key string, v any)      { *t = t.with(key, v.(V)) }
func (t *Table[V]) del(key string)             { *t = t.without(key) }

// with returns the table with key set to v.
func (t Table[V]) with(key string, v V) Table[V] {
	if t.tree == nil {
		t.tree = iradix.New[V]()
	}
	tree, _, _ := t.tree.Insert([]byte(key), v)
	return Table[V]{tree}
}

// without returns the table without key.
func (t Table[V]) without(key string) Table[V] {
	if t.tree == nil {
		return t
	}
	tree, _, _ := t.tree.Delete([]byte(key))
	return Table[V]{tree}
}
