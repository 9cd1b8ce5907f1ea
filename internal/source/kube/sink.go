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
	// owner tells which sink wrote a key last, where there are several: an object
	// that moves from one selector to another is deleted by the one watch and
	// added by the other, in any order.
	owner   map[string]*sink
	waiting int // sinks without a complete list
}

func newTable(kind model.Kind, store *state.Store, sinks int) *table {
	t := &table{kind: kind, store: store, waiting: sinks}
	if sinks > 1 {
		t.owner = map[string]*sink{}
	}
	return t
}

// sink is the reflector's store for one kind, or for one selector of it: it
// converts each object and writes it to the state. A reflector calls it from
// one goroutine.
type sink struct {
	*table
	log *slog.Logger
	// keys maps an object to its key in the table; it tells what a new list no
	// longer has, and what a label change of a slice left behind.
	keys    map[model.Name]string
	strings interner
	synced  bool
	trim    func(any) // of Options; nil: nothing is left out
}

var (
	_ cache.ReflectorStore    = (*sink)(nil)
	_ cache.TransformingStore = (*sink)(nil)
)

func newSink(t *table, log *slog.Logger) *sink {
	return &sink{table: t, log: log, keys: map[model.Name]string{}, strings: interner{}}
}

// converted stands for an object of a list that is still arriving.
type converted struct {
	name    model.Name
	version string
	key     string
	v       any
}

// GetObjectMeta tells the reflector what it asks for, name and version.
func (c *converted) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: c.name.Namespace, Name: c.name.Name, ResourceVersion: c.version}
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
		c := &converted{name: model.Name{Namespace: s.strings.one(m.GetNamespace()), Name: m.GetName()}, version: m.GetResourceVersion()}
		c.name, c.key, c.v = s.convert(c.name, obj)
		if c.v == nil {
			return c, nil
		}
		snap := s.store.Snapshot()
		if old, ok := snap.Get(s.kind, c.key); ok && reflect.DeepEqual(old, c.v) {
			c.v = old
		}
		return c, nil
	}
}

// convert is Convert for the object called name, with the strings that objects
// have in common, among each other and in themselves, made one.
func (s *sink) convert(name model.Name, obj any) (model.Name, string, any) {
	key, v := Convert(obj)
	if v != nil && s.trim != nil {
		s.trim(v)
	}
	s.strings.object(v)
	switch v := v.(type) {
	case *model.Service:
		v.Name.Name = key[len(key)-len(name.Name):]
		name = v.Name
	case *model.EndpointSlice:
		v.Name.Name = key[len(key)-len(name.Name):]
		v.Service = key[len(v.Namespace)+1:][:len(v.Service)]
		name = v.Name
	}
	return name, key, v
}

func (s *sink) Add(obj any) error { return s.Update(obj) }
func (s *sink) Resync() error     { return nil }
func (s *sink) Update(obj any) error {
	s.store.Update(func(tx *state.Tx) { s.set(tx, obj) })
	return nil
}

func (s *sink) Delete(obj any) error {
	var name model.Name
	var err error
	if d, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		name = model.ParseName(d.Key)
	} else if name, err = nameIn(obj); err != nil {
		return err
	}
	s.store.Update(func(tx *state.Tx) { s.remove(tx, name) })
	return nil
}

// nameIn is the name of an API object, or of what stands for one.
func nameIn(obj any) (model.Name, error) {
	if c, ok := obj.(*converted); ok {
		return c.name, nil
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return model.Name{}, err
	}
	return model.Name{Namespace: m.GetNamespace(), Name: m.GetName()}, nil
}

// Replace takes a complete list: what it lacks is gone.
func (s *sink) Replace(list []any, _ string) error {
	s.store.Update(func(tx *state.Tx) {
		seen := make(map[model.Name]struct{}, len(s.keys))
		first := len(s.keys) == 0 // then nothing can be gone
		for _, obj := range list {
			if name := s.set(tx, obj); !first {
				seen[name] = struct{}{}
			}
		}
		for name := range s.keys {
			if _, ok := seen[name]; !ok && !first {
				s.remove(tx, name)
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

// set writes obj and returns its name. An object that Fairway has no use for is
// as good as absent.
func (s *sink) set(tx *state.Tx, obj any) model.Name {
	name, err := nameIn(obj)
	if err != nil {
		s.log.Error("object without metadata", "kind", s.kind.String(), "err", err)
		return name
	}
	var key string
	var v any
	if c, ok := obj.(*converted); ok {
		key, v = c.key, c.v
	} else {
		name, key, v = s.convert(name, obj)
	}
	old, had := s.keys[name]
	if had && (old != key || v == nil) {
		s.remove(tx, name)
		had = false
	}
	if v == nil {
		return name
	}
	if !had {
		s.keys[name] = key
	}
	if s.owner != nil {
		s.owner[key] = s
	}
	if old, ok := tx.Get(s.kind, key); ok && (old == v || reflect.DeepEqual(old, v)) {
		return name
	}
	tx.Set(v)
	return name
}

func (s *sink) remove(tx *state.Tx, name model.Name) {
	key, ok := s.keys[name]
	if !ok {
		return
	}
	delete(s.keys, name)
	if s.owner == nil {
		tx.Delete(s.kind, key)
	} else if s.owner[key] == s {
		delete(s.owner, key)
		tx.Delete(s.kind, key)
	}
}
