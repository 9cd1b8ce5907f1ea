package kube

import (
	"log/slog"
	"reflect"

	"k8s.io/client-go/tools/cache"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// sink is the reflector's store for one kind: it converts each object and
// writes it to the state. A reflector calls it from one goroutine.
type sink struct {
	kind  model.Kind
	store *state.Store
	log   *slog.Logger
	// keys maps an object's API key to its key in the table; it tells what a
	// new list no longer has, and what a label change of a slice left behind.
	keys map[string]string
}

var _ cache.ReflectorStore = (*sink)(nil)

func newSink(kind model.Kind, store *state.Store, log *slog.Logger) *sink {
	return &sink{kind: kind, store: store, log: log, keys: map[string]string{}}
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
		tx.SetSynced(s.kind)
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
	key, v := Convert(obj)
	if old, ok := s.keys[api]; ok && old != key {
		tx.Delete(s.kind, old)
		delete(s.keys, api)
	}
	if v == nil {
		return api
	}
	s.keys[api] = key
	if old, ok := tx.Get(s.kind, key); ok && reflect.DeepEqual(old, v) {
		return api
	}
	tx.Set(v)
	return api
}

func (s *sink) remove(tx *state.Tx, api string) {
	if key, ok := s.keys[api]; ok {
		tx.Delete(s.kind, key)
		delete(s.keys, api)
	}
}
