package bpf

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cilium/ebpf"
)

// batch gathers changes of one map, so that a thousand of them are one system
// call. Every change has an owner, a number of the caller's, by which it
// learns what could not be done.
type batch[K comparable, V any] struct {
	puts    []K
	values  []V
	putters []uint32

	removals []K
	removers []uint32
}

func (b *batch[K, V]) put(owner uint32, k K, v V) {
	b.puts, b.values, b.putters = append(b.puts, k), append(b.values, v), append(b.putters, owner)
}

func (b *batch[K, V]) remove(owner uint32, k K) {
	b.removals, b.removers = append(b.removals, k), append(b.removers, owner)
}

// changes counts entries of maps.
type changes struct{ writes, deletes atomic.Int64 }

// flush does to t what has been gathered, first the puts, and counts it. What
// fails does not keep the rest from being done; the owners of it are returned,
// each with its first error.
func (b *batch[K, V]) flush(t *table[K, V], count *changes) map[uint32]error {
	if len(b.puts)+len(b.removals) == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var failed map[uint32]error
	fail := func(owner uint32, err error) {
		if failed == nil {
			failed = map[uint32]error{}
		}
		if failed[owner] == nil {
			failed[owner] = explain(t.name, err)
		}
	}
	inPieces(len(b.puts), &count.writes, fail, b.putters, func(from int) (int, error) {
		return t.put(b.puts[from:], b.values[from:])
	})
	inPieces(len(b.removals), &count.deletes, fail, b.removers, func(from int) (int, error) {
		n, err := t.m.BatchDelete(b.removals[from:], nil)
		if n < len(b.removals)-from && errors.Is(err, ebpf.ErrKeyNotExist) { // it is gone already, which is as good
			return n + 1, nil
		}
		return n, err
	})
	b.puts, b.values, b.putters = reuse(b.puts), reuse(b.values), reuse(b.putters)
	b.removals, b.removers = reuse(b.removals), reuse(b.removers)
	return failed
}

// inPieces calls do, which begins at an index and returns how many it has done,
// until all n are done or have failed.
func inPieces(n int, count *atomic.Int64, fail func(uint32, error), owners []uint32, do func(from int) (int, error)) {
	for at := 0; at < n; {
		done, err := do(at)
		if err != nil && done >= n-at { // nothing was tried
			for _, o := range owners[at:] {
				fail(o, err)
			}
			return
		}
		at += done
		count.Add(int64(done))
		if err != nil {
			fail(owners[at], err)
			at++
		}
	}
}

// reuse empties s and keeps its memory, unless it is that of a whole cluster.
func reuse[T any](s []T) []T {
	const enough = 1024
	if cap(s) > enough {
		return nil
	}
	return s[:0]
}

// explain says what an error of a map means to who runs the node.
func explain(name string, err error) error {
	var t Trouble
	if errors.As(err, &t) {
		return t
	}
	return fmt.Errorf("change map %s: %w", name, err)
}

// each calls f for all entries of m.
func each[K, V any](m *ebpf.Map, f func(K, V)) error {
	var k K
	var v V
	it := m.Iterate()
	for it.Next(&k, &v) {
		f(k, v)
	}
	return it.Err()
}

// eachBatch is each for large maps: the kernel hands out many entries at once.
func eachBatch[K, V any](m *ebpf.Map, f func(K, V)) error {
	keys, values := make([]K, 1024), make([]V, 1024)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			f(keys[i], values[i])
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// deleteKey is Delete for a key that may be gone already.
func deleteKey(m *ebpf.Map, key any) error {
	if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete from map: %w", err)
	}
	return nil
}
