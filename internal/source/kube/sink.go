package kube

import (
	"log/slog"
	"reflect"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// table is what the sinks of one kind share. It is used inside Store.Update only.
type table struct {
	kind  model.Kind
	store *state.Store
	// owner tells which sink wrote a key last: an object that moves from one
	// selector to another is deleted by the one watch and added by the other, in
	// any order.
	owner   map[string]*sink
	waiting int // sinks without a complete list
}

func newTable(kind model.Kind, store *state.Store, sinks int) *table {
	return &table{kind: kind, store: store, owner: map[string]*sink{}, waiting: sinks}
}

// sink is the reflector's store for one kind, or for one selector of it: it
// converts each object and writes it to the state. A reflector calls it from
// one goroutine.
type sink struct {
	*table
	log *slog.Logger
	// keys maps an object's API key to its key in the table; it tells what a
	// new list no longer has, and what a label change of a slice left behind.
	keys   map[string]string
	synced bool
}

var (
	_ cache.ReflectorStore    = (*sink)(nil)
	_ cache.TransformingStore = (*sink)(nil)
)

func newSink(t *table, log *slog.Logger) *sink {
	return &sink{table: t, log: log, keys: map[string]string{}}
}

// converted stands for an object of a list that is still arriving.
type converted struct {
	metav1.ObjectMeta // no more than the reflector asks for: name and version
	key               string
	v                 any
}

// Transformer converts the objects of a list as each arrives, and takes the value
// that the state has if it is the same: so the list that follows a lost
// connection, with every object in it, does not hold the cluster a second time.
func (s *sink) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		m, err := meta.Accessor(obj)
		if err != nil {
			return nil, err
		}
		c := &converted{ObjectMeta: metav1.ObjectMeta{Namespace: m.GetNamespace(), Name: m.GetName(), ResourceVersion: m.GetResourceVersion()}}
		c.key, c.v = Convert(obj)
		if c.v == nil {
			return c, nil
		}
		s.store.Update(func(tx *state.Tx) {
			if old, ok := tx.Get(s.kind, c.key); ok && reflect.DeepEqual(old, c.v) {
				c.v = old
			}
		})
		return c, nil
	}
}

func (s *sink) Add(obj any) error { return s.Update(obj) }
func (s *sink) Resync() error     { return nil }
func (s *sink) Update(obj any) error {
	s.store.Update(func(tx *state.Tx) { s.set(tx, obj) })
	return nil
}

func (s *sink) Delete(obj any) error {
	api, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj)
	if err != nil {
		return err
	}
	s.store.Update(func(tx *state.Tx) { s.remove(tx, api) })
	return nil
}

// Replace takes a complete list: what it lacks is gone.
func (s *sink) Replace(list []any, _ string) error {
	s.store.Update(func(tx *state.Tx) {
		seen := make(map[string]struct{}, len(list))
		for _, obj := range list {
			if api := s.set(tx, obj); api != "" {
				seen[api] = struct{}{}
			}
		}
		for api := range s.keys {
			if _, ok := seen[api]; !ok {
				s.remove(tx, api)
			}
		}
		if !s.synced {
			s.synced = true
			s.waiting--
		}
		if s.waiting == 0 {
			tx.SetSynced(s.kind)
		}
	})
	s.log.Debug("list complete", "kind", s.kind.String(), "objects", len(list))
	return nil
}

// set writes obj and returns its API key. An object that Fairway has no use
// for is as good as absent.
func (s *sink) set(tx *state.Tx, obj any) string {
	api, err := cache.MetaNamespaceKeyFunc(obj)
	if err != nil {
		s.log.Error("object without metadata", "kind", s.kind.String(), "err", err)
		return ""
	}
	var key string
	var v any
	if c, ok := obj.(*converted); ok {
		key, v = c.key, c.v
	} else {
		key, v = Convert(obj)
	}
	if old, ok := s.keys[api]; ok && (old != key || v == nil) {
		s.remove(tx, api)
	}
	if v == nil {
		return api
	}
	s.keys[api] = key
	s.owner[key] = s
	if old, ok := tx.Get(s.kind, key); ok && (old == v || reflect.DeepEqual(old, v)) {
		return api
	}
	tx.Set(v)
	return api
}

func (s *sink) remove(tx *state.Tx, api string) {
	key, ok := s.keys[api]
	if !ok {
		return
	}
	delete(s.keys, api)
	if s.owner[key] == s {
		delete(s.owner, key)
		tx.Delete(s.kind, key)
	}
}
