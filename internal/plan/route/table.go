package route

import (
	"hash/maphash"
	"iter"
	"maps"
)

// Table maps keys to values. It is immutable; a new one that differs in a few
// entries shares the rest, so that the change of one endpoint costs the same
// with ten backends and with ten thousand. The zero Table is empty.
type Table[K, V comparable] struct {
	seed   maphash.Seed // chosen by the first Edit, kept by all that follow
	shards *[shardCount]*shard[K, V]
	length int
}

const shardCount = 512

type shard[K, V comparable] struct{ entries map[K]V }

// Get returns the value under key, or the zero V.
func (t Table[K, V]) Get(key K) V {
	if t.shards != nil {
		if s := t.shards[t.index(key)]; s != nil {
			return s.entries[key]
		}
	}
	var none V
	return none
}

// All yields the entries in no order.
func (t Table[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
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
func (t Table[K, V]) Len() int { return t.length }

// Changed yields the keys under which t and old differ. It looks only at what
// they do not share, if one came from the other by edits.
func (t Table[K, V]) Changed(old Table[K, V]) iter.Seq[K] {
	return func(yield func(K) bool) {
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

func (t Table[K, V]) entries(i int) map[K]V {
	if t.shards == nil || t.shards[i] == nil {
		return nil
	}
	return t.shards[i].entries
}

func (t Table[K, V]) lookup(key K) (V, bool) {
	if t.shards == nil {
		var none V
		return none, false
	}
	v, ok := t.entries(t.index(key))[key]
	return v, ok
}

func (t Table[K, V]) index(key K) int {
	return int(maphash.Comparable(t.seed, key) % shardCount)
}

// Edit is a Table in the making. It copies what it changes, once.
type Edit[K, V comparable] struct {
	table Table[K, V]
	fresh map[int]bool // shards that are ours to change
}

// Edit begins a new Table with the entries of t.
func (t Table[K, V]) Edit() *Edit[K, V] {
	e := &Edit[K, V]{table: t, fresh: map[int]bool{}}
	shards := new([shardCount]*shard[K, V])
	if t.shards != nil {
		*shards = *t.shards
	} else {
		e.table.seed = maphash.MakeSeed()
	}
	e.table.shards = shards
	return e
}

// Set puts v under key.
func (e *Edit[K, V]) Set(key K, v V) {
	entries := e.shard(key).entries
	before := len(entries)
	entries[key] = v
	e.table.length += len(entries) - before
}

// Delete removes what is under key.
func (e *Edit[K, V]) Delete(key K) {
	entries := e.shard(key).entries
	before := len(entries)
	delete(entries, key)
	e.table.length += len(entries) - before
}

func (e *Edit[K, V]) shard(key K) *shard[K, V] {
	i := e.table.index(key)
	if !e.fresh[i] {
		s := &shard[K, V]{entries: maps.Clone(e.table.entries(i))}
		if s.entries == nil {
			s.entries = map[K]V{}
		}
		e.table.shards[i] = s
		e.fresh[i] = true
	}
	return e.table.shards[i]
}

// Table ends the edit.
func (e *Edit[K, V]) Table() Table[K, V] { return e.table }
