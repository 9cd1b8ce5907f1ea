package state

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/fairway-net/fairway/internal/model"
)

// Change names one object that was added, replaced or removed.
type Change struct {
	Kind model.Kind
	Key  string // the key in the kind's table
}

// Changes is what differs between two snapshots. All means "anything may
// differ": the first delivery of a Watch.
type Changes struct {
	All  bool
	Keys map[Change]struct{}
}

// Kinds reports whether any of kinds is among the changes.
func (c Changes) Kinds(kinds ...model.Kind) bool {
	if c.All {
		return true
	}
	for ch := range c.Keys {
		if slices.Contains(kinds, ch.Kind) {
			return true
		}
	}
	return false
}

// Store owns the current Snapshot. Any number of sources may write; writes are
// serialised. The zero Store is not usable; call New.
type Store struct {
	current atomic.Pointer[Snapshot]

	mu      sync.Mutex
	watches map[*Watch]struct{}
}

// New returns a Store with an empty, unsynced snapshot.
func New() *Store {
	s := &Store{watches: map[*Watch]struct{}{}}
	s.current.Store(&Snapshot{})
	return s
}

// Snapshot returns the current snapshot.
func (s *Store) Snapshot() *Snapshot { return s.current.Load() }

// Update runs f on a transaction and publishes its result as one new snapshot.
// Many changes in one Update are one snapshot and one wake-up.
func (s *Store) Update(f func(*Tx)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := *s.current.Load()
	next.Revision++
	tx := &Tx{next: &next}
	f(tx)
	if len(tx.changed) == 0 && !tx.dirty {
		return
	}
	s.current.Store(&next)
	for w := range s.watches {
		w.note(tx)
	}
}

// Tx is a set of changes in the making; valid only inside Update.
type Tx struct {
	next    *Snapshot
	changed []Change // with repetitions
	dirty   bool     // something without a key changed: a Synced flag
}

// Set adds or replaces v, one of the model's object types. It must not be
// changed afterwards.
func (tx *Tx) Set(v any) {
	id := ChangeOf(v)
	tx.next.table(id.Kind).set(id.Key, v, tx.next.Revision)
	tx.changed = append(tx.changed, id)
}

// Delete removes the object under key; an absent one is no change.
func (tx *Tx) Delete(kind model.Kind, key string) {
	t := tx.next.table(kind)
	if _, ok := t.get(key); !ok {
		return
	}
	t.del(key, tx.next.Revision)
	tx.changed = append(tx.changed, Change{kind, key})
}

// Get returns the object under key as the transaction sees it.
func (tx *Tx) Get(kind model.Kind, key string) (any, bool) { return tx.next.table(kind).get(key) }

// SetSynced marks the source of kind as having delivered its first complete list.
func (tx *Tx) SetSynced(kind model.Kind) {
	if tx.next.synced&(1<<kind) == 0 {
		tx.next.synced |= 1 << kind
		tx.dirty = true
	}
}

// Watch follows the store for one reader. Next must not be called by two
// goroutines at once.
type Watch struct {
	store *Store
	kinds uint32 // 0: all
	wake  chan struct{}

	mu      sync.Mutex
	pending Changes
	taken   bool // until then All says it without a list of the whole cluster
}

// Watch returns a Watch for the given kinds (none: all). Its first Next
// delivers at once, with Changes.All.
func (s *Store) Watch(kinds ...model.Kind) *Watch {
	w := &Watch{store: s, wake: make(chan struct{}, 1), pending: Changes{All: true, Keys: map[Change]struct{}{}}}
	for _, k := range kinds {
		w.kinds |= 1 << k
	}
	w.wake <- struct{}{}
	s.mu.Lock()
	s.watches[w] = struct{}{}
	s.mu.Unlock()
	return w
}

// Close ends the watch.
func (w *Watch) Close() {
	w.store.mu.Lock()
	delete(w.store.watches, w)
	w.store.mu.Unlock()
}

// C is signalled when Next would deliver at once.
func (w *Watch) C() <-chan struct{} { return w.wake }

// Synced reports Snapshot.Synced of the current snapshot, without taking anything.
func (w *Watch) Synced(kinds ...model.Kind) bool { return w.store.Snapshot().Synced(kinds...) }

// Next waits for a change and returns the current snapshot with all that
// changed since the last call. It ends with ctx's error.
func (w *Watch) Next(ctx context.Context) (*Snapshot, Changes, error) {
	select {
	case <-ctx.Done():
		return nil, Changes{}, ctx.Err()
	case <-w.wake:
	}
	snap, changes := w.Take()
	return snap, changes, nil
}

// Take returns the current snapshot and what changed, without waiting.
func (w *Watch) Take() (*Snapshot, Changes) {
	w.mu.Lock()
	defer w.mu.Unlock()
	changes := w.pending
	w.taken = true
	w.pending = Changes{Keys: map[Change]struct{}{}}
	// Read under mu: a change noted after this belongs to a later Take, and
	// one noted before it is already in this snapshot.
	return w.store.current.Load(), changes
}

// Requeue gives changes back after a failed attempt, so that the next Take
// delivers them again.
func (w *Watch) Requeue(c Changes) {
	w.mu.Lock()
	w.pending.All = w.pending.All || c.All
	maps.Copy(w.pending.Keys, c.Keys)
	w.mu.Unlock()
	w.signal()
}

// note runs under the store's lock, after the new snapshot is published.
func (w *Watch) note(tx *Tx) {
	w.mu.Lock()
	hit := tx.dirty
	for _, ch := range tx.changed {
		if w.kinds == 0 || w.kinds&(1<<ch.Kind) != 0 {
			hit = true
			if w.taken {
				w.pending.Keys[ch] = struct{}{}
			}
		}
	}
	w.mu.Unlock()
	if hit {
		w.signal()
	}
}

func (w *Watch) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
