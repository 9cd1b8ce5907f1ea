package bpf

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"os"
	"path/filepath"
	"sync"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// tables are the maps for Services, which are as large as a cluster needs.
type tables struct {
	frontends table[kernelFrontendKey, kernelFrontend]
	slots     table[kernelSlotKey, kernelBackend]
	members   table[kernelMemberKey, kernelMember]
	ranges    table[kernelRangeKey, uint32] // a trie, which has no size
	names     table[kernelNameKey, kernelName]
}

// mostEntries is where a table stops growing: half a gigabyte for its buckets
// and entries alone says that something else is wrong.
const mostEntries = 1 << 22

// openTables finds the maps that are in use, and makes those that are not there.
// spec is what m was loaded from, and mapDir where it is pinned.
func openTables(m *kernelMaps, spec *ebpf.CollectionSpec, mapDir string, most int, log *slog.Logger) (*tables, error) {
	if most == 0 {
		most = mostEntries
	}
	t := &tables{}
	err := errors.Join(
		t.frontends.open(m.Frontends, spec.Maps[kernelMapFrontends]),
		t.slots.open(m.Slots, spec.Maps[kernelMapSlots]),
		t.members.open(m.Members, spec.Maps[kernelMapMembers]),
		t.names.open(m.Names, spec.Maps[kernelMapNames]),
	)
	t.names.use = pinInstead(filepath.Join(mapDir, kernelMapNames))
	t.ranges.m, t.ranges.name = m.Ranges, kernelMapRanges
	t.frontends.log, t.slots.log, t.members.log, t.names.log = log, log, log, log
	t.frontends.most, t.slots.most, t.members.most, t.names.most = most, most, most, most
	return t, err
}

func (t *tables) close() {
	t.frontends.close()
	t.slots.close()
	t.members.close()
	t.names.close()
}

// table is a hash that grows: one that is full is replaced by one of twice the
// size with the same entries. That costs the kernel memory for what there is, and
// not for what there may be. Only this process writes into it, and nobody else
// while it is copied, so that programs find in the one map what they would have
// found in the other.
type table[K comparable, V any] struct {
	mu   sync.Mutex // of whoever changes the map or makes it another one
	m    *ebpf.Map
	name string
	spec *ebpf.MapSpec               // of m, but for its size
	use  func(fresh *ebpf.Map) error // makes fresh the map that is used; nil: it does not grow
	most int                         // entries
	log  *slog.Logger
}

// open finds the map behind m: in its one element if m is an array of maps, else m.
func (t *table[K, V]) open(m *ebpf.Map, spec *ebpf.MapSpec) error {
	t.name = spec.Name
	t.spec = spec.Copy()
	t.spec.Pinning = ebpf.PinNone
	if spec.InnerMap == nil {
		var err error
		t.m, err = m.Clone()
		return err
	}
	t.spec = spec.InnerMap.Copy()
	t.spec.Name = spec.Name
	t.use = func(fresh *ebpf.Map) error { return m.Put(uint32(0), fresh) }
	err := m.Lookup(uint32(0), &t.m)
	if !errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	if t.m, err = ebpf.NewMap(t.spec); err != nil {
		return refused(err)
	}
	return t.use(t.m)
}

func (t *table[K, V]) close() {
	if t.m != nil {
		t.m.Close()
	}
}

// pinInstead returns how to give a map the name of another at one stroke.
func pinInstead(path string) func(*ebpf.Map) error {
	return func(fresh *ebpf.Map) error {
		next := path + "_next" // no dots: bpffs reserves them
		if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return errors.Join(pinAgain(fresh, next), os.Rename(next, path))
	}
}

// clone returns the map of this moment, for who only reads. The caller closes it.
func (t *table[K, V]) clone() (*ebpf.Map, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.m.Clone()
}

// fill counts the entries.
func (t *table[K, V]) fill() (MapFill, error) {
	f := MapFill{Map: t.name}
	m, err := t.clone() // to read all of it takes long
	if err != nil {
		return f, err
	}
	defer m.Close()
	f.Capacity = int(m.MaxEntries())
	return f, eachBatch(m, func(K, V) { f.Entries++ })
}

// put writes entries and returns how many it has written, more than which only
// because of an error. It is called with mu held.
func (t *table[K, V]) put(keys []K, values []V) (int, error) {
	done := 0
	for {
		n, err := t.m.BatchUpdate(keys[done:], values[done:], nil)
		done += n
		if !full(err) {
			return done, err
		}
		if err := t.grow(); err != nil {
			return done, err
		}
	}
}

// putOne is put for one entry.
func (t *table[K, V]) putOne(k K, v V) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := t.put([]K{k}, []V{v}); err != nil {
		return explain(t.name, err)
	}
	return nil
}

// full reports whether err means that a map has no room: hashes say the one,
// tries the other.
func full(err error) bool { return errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ENOSPC) }

// grow makes the table twice as large, at a power of two.
func (t *table[K, V]) grow() error {
	have := int(t.m.MaxEntries())
	if t.use == nil || have >= t.most {
		return t.outOfRoom(nil)
	}
	spec := t.spec.Copy()
	spec.MaxEntries = uint32(min(1<<bits.Len(uint(have)), t.most))
	fresh, err := ebpf.NewMap(spec)
	if err != nil {
		return t.outOfRoom(err)
	}
	if err = copyEntries[K, V](t.m, fresh); err == nil {
		err = t.use(fresh)
	}
	if err != nil {
		fresh.Close()
		return t.outOfRoom(err)
	}
	t.log.Info("a map is larger now", "map", t.name, "entries", spec.MaxEntries)
	t.m.Close()
	t.m = fresh
	return nil
}

func (t *table[K, V]) outOfRoom(cause error) error {
	err := fmt.Errorf("map %s is full: it has room for %d entries", t.name, t.m.MaxEntries())
	fix := "remove Services or endpoints that nobody needs"
	if cause != nil {
		err = fmt.Errorf("%w, and cannot grow: %w", err, cause)
		fix = "free memory on the node, or remove Services or endpoints that nobody needs"
	}
	return Trouble{"MapFull", err, fix + ": what waits is tried again every few seconds; what is in the kernel goes on working"}
}

// copyEntries writes all of from into to.
func copyEntries[K, V any](from, to *ebpf.Map) error {
	keys, values := make([]K, 4096), make([]V, 4096)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := from.BatchLookup(&cursor, keys, values, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("read all: %w", err)
		}
		if n > 0 {
			if _, err := to.BatchUpdate(keys[:n], values[:n], nil); err != nil {
				return fmt.Errorf("write all: %w", err)
			}
		}
		if err != nil { // the end
			return nil
		}
	}
}
