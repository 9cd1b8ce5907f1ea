package state

import (
	"context"
	"fmt"
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
	tx := &Tx{next: &next, changed: map[Change]struct{}{}}
	f(tx)
	if len(tx.changed) == 0 && !tx.dirty {
		return
	}
	next.Revision++
	s.current.Store(&next)
	for w := range s.watches {
		w.note(tx)
	}
}

// Tx is a set of changes in the making; valid only inside Update.
type Tx struct {
	next    *Snapshot
	changed map[Change]struct{}
	dirty   bool // something without a key changed: a Synced flag
}

// Set adds or replaces v under its own key. v must be a pointer to one of the
// model's object types and must not be changed afterwards.
func (tx *Tx) Set(v any) {
	s := tx.next
	switch v := v.(type) {
	case *model.Service:
		set(tx, model.KindService, &s.Services, v.String(), v)
	case *model.EndpointSlice:
		set(tx, model.KindEndpointSlice, &s.Slices, v.Key(), v)
	case *model.Pod:
		set(tx, model.KindPod, &s.Pods, v.String(), v)
	case *model.Namespace:
		set(tx, model.KindNamespace, &s.Namespaces, v.Name, v)
	case *model.Node:
		set(tx, model.KindNode, &s.Nodes, v.Name, v)
	case *model.NetworkPolicy:
		set(tx, model.KindNetworkPolicy, &s.Policies, v.String(), v)
	case *model.Ingress:
		set(tx, model.KindIngress, &s.Ingresses, v.String(), v)
	case *model.IngressClass:
		set(tx, model.KindIngressClass, &s.IngressClasses, v.Name, v)
	case *model.Secret:
		set(tx, model.KindSecret, &s.Secrets, v.String(), v)
	case *model.ConfigMap:
		set(tx, model.KindConfigMap, &s.ConfigMaps, v.String(), v)
	default:
		panic(fmt.Sprintf("state: no table for %T", v))
	}
}

// Delete removes the object under key; an absent one is no change.
func (tx *Tx) Delete(kind model.Kind, key string) {
	s := tx.next
	switch kind {
	case model.KindService:
		del(tx, kind, &s.Services, key)
	case model.KindEndpointSlice:
		del(tx, kind, &s.Slices, key)
	case model.KindPod:
		del(tx, kind, &s.Pods, key)
	case model.KindNamespace:
		del(tx, kind, &s.Namespaces, key)
	case model.KindNode:
		del(tx, kind, &s.Nodes, key)
	case model.KindNetworkPolicy:
		del(tx, kind, &s.Policies, key)
	case model.KindIngress:
		del(tx, kind, &s.Ingresses, key)
	case model.KindIngressClass:
		del(tx, kind, &s.IngressClasses, key)
	case model.KindSecret:
		del(tx, kind, &s.Secrets, key)
	case model.KindConfigMap:
		del(tx, kind, &s.ConfigMaps, key)
	default:
		panic(fmt.Sprintf("state: no table for %v", kind))
	}
}

// Get returns the object under key as the transaction sees it.
func (tx *Tx) Get(kind model.Kind, key string) (any, bool) {
	s := tx.next
	switch kind {
	case model.KindService:
		return get(s.Services, key)
	case model.KindEndpointSlice:
		return get(s.Slices, key)
	case model.KindPod:
		return get(s.Pods, key)
	case model.KindNamespace:
		return get(s.Namespaces, key)
	case model.KindNode:
		return get(s.Nodes, key)
	case model.KindNetworkPolicy:
		return get(s.Policies, key)
	case model.KindIngress:
		return get(s.Ingresses, key)
	case model.KindIngressClass:
		return get(s.IngressClasses, key)
	case model.KindSecret:
		return get(s.Secrets, key)
	case model.KindConfigMap:
		return get(s.ConfigMaps, key)
	}
	panic(fmt.Sprintf("state: no table for %v", kind))
}

// SetSynced marks the source of kind as having delivered its first complete list.
func (tx *Tx) SetSynced(kind model.Kind) {
	if tx.next.synced&(1<<kind) == 0 {
		tx.next.synced |= 1 << kind
		tx.dirty = true
	}
}

func get[V any](t Table[V], key string) (any, bool) {
	v, ok := t.Get(key)
	return v, ok
}

func set[V any](tx *Tx, kind model.Kind, t *Table[V], key string, v V) {
	*t = t.with(key, v)
	tx.changed[Change{kind, key}] = struct{}{}
}

func del[V any](tx *Tx, kind model.Kind, t *Table[V], key string) {
	if _, ok := t.Get(key); !ok {
		return
	}
	*t = t.without(key)
	tx.changed[Change{kind, key}] = struct{}{}
}

// Watch follows the store for one reader. Next must not be called by two
// goroutines at once.
type Watch struct {
	store *Store
	kinds uint32 // 0: all
	wake  chan struct{}

	mu      sync.Mutex
	pending Changes
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
	for ch := range tx.changed {
		if w.kinds == 0 || w.kinds&(1<<ch.Kind) != 0 {
			w.pending.Keys[ch] = struct{}{}
			hit = true
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
