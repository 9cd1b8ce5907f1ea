package index

import (
	"hash/maphash"
	"sync/atomic"
)

// table is a hash table of pointers that is read without a lock while one
// writer at a time changes it.
type table[V any] struct {
	seed    maphash.Seed
	buckets atomic.Pointer[[]atomic.Pointer[node[V]]]
	n       int // entries; the writer's
}

type node[V any] struct {
	key   string
	value atomic.Pointer[V]
	next  atomic.Pointer[node[V]]
}

func newTable[V any]() *table[V] {
	t := &table[V]{seed: maphash.MakeSeed()}
	b := make([]atomic.Pointer[node[V]], 64)
	t.buckets.Store(&b)
	return t
}

// get may be called at any time.
func (t *table[V]) get(key []byte) *V {
	b := *t.buckets.Load()
	for n := b[maphash.Bytes(t.seed, key)&uint64(len(b)-1)].Load(); n != nil; n = n.next.Load() {
		if n.key == string(key) {
			return n.value.Load()
		}
	}
	return nil
}

// set adds or replaces; only one writer at a time.
func (t *table[V]) set(key string, v *V) {
	b := *t.buckets.Load()
	head := &b[maphash.String(t.seed, key)&uint64(len(b)-1)]
	for n := head.Load(); n != nil; n = n.next.Load() {
		if n.key == key {
			n.value.Store(v)
			return
		}
	}
	n := &node[V]{key: key}
	n.value.Store(v)
	n.next.Store(head.Load())
	head.Store(n)
	if t.n++; t.n > len(b) {
		t.grow(b)
	}
}

// del removes key. A reader that stands on the removed node still reaches the rest.
func (t *table[V]) del(key string) {
	b := *t.buckets.Load()
	link := &b[maphash.String(t.seed, key)&uint64(len(b)-1)]
	for n := link.Load(); n != nil; n = link.Load() {
		if n.key == key {
			link.Store(n.next.Load())
			t.n--
			return
		}
		link = &n.next
	}
}

// grow makes new nodes: the old chains stay whole for those who read them.
func (t *table[V]) grow(old []atomic.Pointer[node[V]]) {
	b := make([]atomic.Pointer[node[V]], 2*len(old))
	for i := range old {
		for n := old[i].Load(); n != nil; n = n.next.Load() {
			head := &b[maphash.String(t.seed, n.key)&uint64(len(b)-1)]
			c := &node[V]{key: n.key}
			c.value.Store(n.value.Load())
			c.next.Store(head.Load())
			head.Store(c)
		}
	}
	t.buckets.Store(&b)
}

// keys are all keys, in no order; for the writer.
func (t *table[V]) keys() []string {
	out := make([]string, 0, t.n)
	b := *t.buckets.Load()
	for i := range b {
		for n := b[i].Load(); n != nil; n = n.next.Load() {
			out = append(out, n.key)
		}
	}
	return out
}
