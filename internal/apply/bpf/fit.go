package bpf

import (
	"path/filepath"

	"github.com/cilium/ebpf"
)

// fit makes the maps of spec as large as those that are pinned: one that has
// grown stays so.
func fit(spec *ebpf.CollectionSpec, mapDir string) {
	for name, want := range spec.Maps {
		m, err := ebpf.LoadPinnedMap(filepath.Join(mapDir, name), nil)
		if err != nil {
			continue // it is not there, or loading will say what is wrong
		}
		if m.MaxEntries() > want.MaxEntries || name == kernelMapNames {
			want.MaxEntries = m.MaxEntries()
		}
		m.Close()
	}
}
