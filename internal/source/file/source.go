package file

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// Options says what to read.
type Options struct {
	Paths    []string      // files, and directories of *.yaml, *.yml and *.json, without those below
	Interval time.Duration // how often to look for changes; 0: 1 s
	Log      *slog.Logger
}

// Source reads manifests into a store.
type Source struct {
	o     Options
	store *state.Store
	files map[string]stamp          // what was read last
	keys  map[state.Change]struct{} // what it has put into the store
}

// stamp tells whether a file has changed.
type stamp struct {
	mtime time.Time
	size  int64
}

// New returns a Source that has read nothing yet.
func New(o Options, store *state.Store) *Source {
	if o.Interval == 0 {
		o.Interval = time.Second
	}
	return &Source{o: o, store: store, keys: map[state.Change]struct{}{}}
}

// Load reads the files if they have changed since the last Load, and not within the last
// 100 ms, and makes the store hold what they say. All kinds are synced afterwards. After an error the
// store is as it was.
func (s *Source) Load() error {
	files, err := s.list()
	if err != nil {
		return err
	}
	if s.files != nil && (reflect.DeepEqual(files, s.files) || unsettled(files, s.files)) {
		return nil
	}
	s.files = files // an error is reported once, not every second
	want := map[state.Change]any{}
	for _, name := range sortedKeys(files) {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		objects, err := decode(b)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for _, o := range objects {
			change := state.ChangeOf(o)
			if want[change] != nil {
				return fmt.Errorf("%s: %v %s is there twice", name, change.Kind, change.Key)
			}
			want[change] = o
		}
	}
	s.replace(want)
	s.o.Log.Info("manifests read", "files", len(files), "objects", len(want))
	return nil
}

// settle is how long a file must have been left alone: what is being written may have been
// cut short first, and would read as if objects had gone.
const settle = 100 * time.Millisecond

// unsettled says that somebody may still be writing: the next Load looks again.
func unsettled(files, before map[string]stamp) bool {
	for name, f := range files {
		if age := time.Since(f.mtime); f != before[name] && age >= 0 && age < settle {
			return true
		}
	}
	return false
}

func (s *Source) replace(want map[state.Change]any) {
	s.store.Update(func(tx *state.Tx) {
		for c := range s.keys {
			if want[c] == nil {
				tx.Delete(c.Kind, c.Key)
				delete(s.keys, c)
			}
		}
		for c, v := range want {
			if old, ok := tx.Get(c.Kind, c.Key); !ok || !reflect.DeepEqual(old, v) {
				tx.Set(v)
			}
			s.keys[c] = struct{}{}
		}
		for k := range model.NumKinds {
			tx.SetSynced(model.Kind(k))
		}
	})
}

// Run loads again whenever a file changes, until ctx ends.
func (s *Source) Run(ctx context.Context) {
	t := time.NewTicker(s.o.Interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := s.Load(); err != nil {
			s.o.Log.Error("manifests not read; what was read before stays", "err", err)
		}
	}
}

func (s *Source) list() (map[string]stamp, error) {
	out := map[string]stamp{}
	for _, path := range s.o.Paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			out[path] = stampOf(info)
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			name := filepath.Join(path, e.Name())
			if !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name)) || strings.HasPrefix(e.Name(), ".") {
				continue
			}
			if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
				out[name] = stampOf(info)
			}
		}
	}
	return out, nil
}

func sortedKeys(files map[string]stamp) []string { return slices.Sorted(maps.Keys(files)) }

func stampOf(i fs.FileInfo) stamp { return stamp{i.ModTime(), i.Size()} }
