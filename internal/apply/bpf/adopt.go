package bpf

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// flowMaps hold what no applier can make again: the flows and sockets that
// there are, and the numbers of Services in them. A new layout takes those of the
// one before over; as long as a map has the same form, both use the same one.
var flowMaps = []string{
	kernelMapNames, kernelMapConns, kernelMapFrags, kernelMapAffinities, kernelMapTcpPeers, kernelMapSockPeer, kernelMapSockPeers, kernelMapTalkers, kernelMapGone,
}

// adopt pins the flow maps of another layout below mapDir, too, where ours are
// not there yet. It returns the connection table if that has another form: its
// entries must be copied, and the caller closes it.
func (d *Datapath) adopt(spec *ebpf.CollectionSpec, mapDir string) (conns *ebpf.Map, err error) {
	dirs, err := layouts(d.o.Dir)
	if err != nil {
		return nil, err
	}
	dirs = slices.DeleteFunc(dirs, func(dir string) bool { return dir == d.dir() })
	// The last one made is the one that works, if an upgrade has not ended.
	slices.SortFunc(dirs, func(a, b string) int { return cmp.Compare(madeAt(b), madeAt(a)) })
	for _, name := range flowMaps {
		path := filepath.Join(mapDir, name)
		if _, err := os.Stat(path); err == nil {
			continue
		}
		for _, dir := range dirs {
			old, err := ebpf.LoadPinnedMap(filepath.Join(dir, "maps", name), nil)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return conns, fmt.Errorf("open map %s of %s: %w", name, dir, err)
			}
			if sameForm(spec.Maps[name], old) {
				err = pinAgain(old, path)
			} else if name == kernelMapConns {
				conns = old
				break
			} else {
				d.log.Warn("a map of another version is of no use to this one", "map", name, "dir", dir)
			}
			if err = errors.Join(err, old.Close()); err != nil {
				return conns, fmt.Errorf("take over map %s: %w", name, err)
			}
			break
		}
	}
	return conns, nil
}

func madeAt(dir string) int64 {
	info, err := os.Stat(dir)
	if err != nil {
		return 0
	}
	return info.ModTime().UnixNano()
}

// pinAgain gives a map a second name.
func pinAgain(m *ebpf.Map, path string) error {
	second, err := m.Clone()
	if err != nil {
		return err
	}
	defer second.Close()
	return second.Pin(path)
}

// sameForm reports whether programs made for spec can use m. What they call a
// member at some place must be called so in m, where the kernel knows its types.
func sameForm(spec *ebpf.MapSpec, m *ebpf.Map) bool {
	if spec == nil {
		return false
	}
	sized := spec.Copy()
	if spec.Name == kernelMapNames { // it grows
		sized.MaxEntries = m.MaxEntries()
	}
	if sized.Compatible(m) != nil {
		return false
	}
	want, ok := spec.Value.(*btf.Struct)
	if !ok {
		return true
	}
	have, err := valueType(m, want.Name)
	return err != nil || slices.Equal(leaves(nil, "", 0, have), leaves(nil, "", 0, want))
}

// valueType finds the struct called name in the types that m was made with.
func valueType(m *ebpf.Map, name string) (*btf.Struct, error) {
	info, err := m.Info()
	if err != nil {
		return nil, err
	}
	id, ok := info.BTFID()
	if !ok {
		return nil, fmt.Errorf("map %s has no types", info.Name)
	}
	handle, err := btf.NewHandleFromID(id)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	types, err := handle.Spec(nil)
	if err != nil {
		return nil, err
	}
	var s *btf.Struct
	return s, types.TypeByName(name, &s)
}

// leaf is a member of a struct, or of a struct in it, that is no struct.
type leaf struct {
	path       string
	offset, of uint32 // where it is, and its size; bytes
}

func leaves(out []leaf, path string, offset uint32, s *btf.Struct) []leaf {
	for _, m := range s.Members {
		at, name := offset+m.Offset.Bytes(), path+"."+m.Name
		if inner, ok := btf.UnderlyingType(m.Type).(*btf.Struct); ok {
			out = leaves(out, name, at, inner)
		} else if size, err := btf.Sizeof(m.Type); err == nil {
			out = append(out, leaf{name, at, uint32(size)})
		}
	}
	return out
}

// converter copies the members that both structs have from a value of the one
// into one of the other, and leaves the others zero. Numbers are little-endian,
// so that a wider or narrower member keeps a value that fits.
func converter(from, to *btf.Struct) func(old, new []byte) {
	type step struct{ from, to, n uint32 }
	var steps []step
	for _, t := range leaves(nil, "", 0, to) {
		for _, f := range leaves(nil, "", 0, from) {
			if f.path == t.path {
				steps = append(steps, step{f.offset, t.offset, min(f.of, t.of)})
			}
		}
	}
	return func(old, new []byte) {
		clear(new)
		for _, s := range steps {
			copy(new[s.to:s.to+s.n], old[s.from:])
		}
	}
}

// inherit copies the flows of another layout's connection table that ours does
// not have. The programs of the other one may be writing into it. A flow that ours
// has and that has been seen there later, and since that time, is another one by
// the same ports: that of ours, from an earlier copy, is over.
func (d *Datapath) inherit(old *ebpf.Map, since time.Duration) (int, error) {
	to := d.objs.Conns
	convert := func(old, new []byte) { copy(new, old) }
	if from, err := valueType(old, "conn"); err == nil {
		if want, err := valueType(to, "conn"); err == nil {
			convert = converter(from, want)
		}
	}
	if old.KeySize() != to.KeySize() {
		return 0, fmt.Errorf("copy flows: keys of %d bytes, not %d", old.KeySize(), to.KeySize())
	}
	n := 0
	var key, value []byte
	fresh := make([]byte, to.ValueSize())
	it := old.Iterate()
	for it.Next(&key, &value) {
		convert(value, fresh)
		err := to.Update(key, fresh, ebpf.UpdateNoExist)
		if errors.Is(err, ebpf.ErrKeyExist) {
			if seen(fresh) < since || !newer(to, key, fresh) {
				continue
			}
			err = to.Update(key, fresh, ebpf.UpdateAny)
		}
		if err != nil {
			return n, fmt.Errorf("copy flows: %w", err)
		}
		n++
	}
	return n, it.Err()
}

// newer reports whether a flow was seen after the one that m has under its key.
func newer(m *ebpf.Map, key, value []byte) bool {
	have, err := m.LookupBytes(key)
	return err == nil && (have == nil || seen(value) > seen(have))
}

// seen returns when a flow of our own form was seen last.
func seen(value []byte) time.Duration {
	at := unsafe.Offsetof(kernelConn{}.Seen)
	return time.Duration(binary.LittleEndian.Uint64(value[at:]))
}
