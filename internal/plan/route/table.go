package route

import (
	"hash/maphash"
	"iter"
	"maps"
)

// Table maps backends to values. It is immutable; a new one that differs in a few
// entries shares the rest, so that the change of one endpoint costs the same
// with ten backends and with ten thousand. The zero Table is empty.
type Table[V comparable] struct {
	seed   maphash.Seed // chosen by the first Edit, kept by all that follow
	shards *[shardCount]*shard[V]
}

const shardCount = 512

type shard[V comparable] struct{ entries map[BackendKey]V }

// Get returns the value under key, or the zero V.
func (t Table[V]) Get(key BackendKey) V {
	if t.shards != nil {
		if s := t.shards[t.index(key)]; s != nil {
			return s.entries[key]
		}
	}
	var none V
	return none
}

// All yields the entries in no order.
func (t Table[V]) All() iter.Seq2[BackendKey, V] {
	return func(yield func(BackendKey, V) bool) {
		if t.shards == nil {
			return
		}
		for _, s := range t.shards {
			if s == nil {
				continue
			}
			for k, v := range s.entries {
				if !yield(k, v) {
					return
				}
			}
		}
	}
}

// Len is the number of entries.
func (t Table[V]) Len() int {
	n := 0
	for range t.All() {
		n++
	}
	return n
}

// Changed yields the keys under which t and old differ. It looks only at what
// they do not share, if one came from the other by edits.
func (t Table[V]) Changed(old Table[V]) iter.Seq[BackendKey] {
	return func(yield func(BackendKey) bool) {
		if t.shards == old.shards {
			return
		}
		for i := range shardCount {
			if t.shards != nil && old.shards != nil && t.shards[i] == old.shards[i] && t.seed == old.seed {
				continue
			}
			for k, v := range t.entries(i) {
				if was, ok := old.lookup(k); !ok || was != v {
					if !yield(k) {
						return
					}
				}
			}
			for k := range old.entries(i) {
				if _, ok := t.lookup(k); !ok && !yield(k) {
					return
				}
			}
		}
	}
}

func (t Table[V]) entries(i int) map[BackendKey]V {
	if t.shards == nil || t.shards[i] == nil {
		return nil
	}
	return t.shards[i].entries
}

func (t Table[V]) lookup(key BackendKey) (V, bool) {
	if t.shards == nil {
		var none V
		return none, false
	}
	v, ok := t.entries(t.index(key))[key]
	return v, ok
}

func (t Table[V]) index(key BackendKey) int {
	return int(maphash.Comparable(t.seed, key) % shardCount)
}

// Edit is a Table in the making. It copies what it changes, once.
type Edit[V comparable] struct {
	table Table[V]
	fresh map[int]bool // shards that are ours to change
}

// Edit begins a new Table with the entries of t.
func (t Table[V]) Edit() *Edit[V] {
	e := &Edit[V]{table: t, fresh: map[int]bool{}}
	shards := new([shardCount]*shard[V])
	if t.shards != nil {
		*shards = *t.shards
	} else {
		e.table.seed = maphash.MakeSeed()
	}
	e.table.shards = shards
	return e
}

// Set puts v under key.
func (e *Edit[V]) Set(key BackendKey, v V) { e.shard(key).entries[key] = v }

// Delete removes what is under key.
func (e *Edit[V]) Delete(key BackendKey) { delete(e.shard(key).entries, key) }

func (e *Edit[V]) shard(key BackendKey) *shard[V] {
	i := e.table.index(key)
	if !e.fresh[i] {
		s := &shard[V]{entries: maps.Clone(e.table.entries(i))}
		if s.entries == nil {
			s.entries = map[BackendKey]V{}
		}
		e.table.shards[i] = s
		e.fresh[i] = true
	}
	return e.table.shards[i]
}

// Table ends the edit.
func (e *Edit[V]) Table() Table[V] { return e.table }
