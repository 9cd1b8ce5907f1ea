package bpf

import (
	"testing"

	"github.com/cilium/ebpf"
)

// What another layout's programs write while its flows are copied: a port that a
// client uses again is another flow, which the second copy must bring, and what
// our own programs have written since is newer still.
func TestInheritLaterFlows(t *testing.T) {
	old, d := connTable(t), &Datapath{}
	d.objs.Conns = connTable(t)
	put := func(m *ebpf.Map, port uint16, seen uint64, service uint32) {
		t.Helper()
		if err := m.Put(&kernelTuple{Sport: port}, &kernelConn{Seen: seen, Service: service}); err != nil {
			t.Fatal(err)
		}
	}
	copied := func(want int) {
		t.Helper()
		if n, err := d.inherit(old, 100); n != want || err != nil {
			t.Errorf("%d flows copied (%v), want %d", n, err, want)
		}
	}
	for port := range uint16(4) {
		put(old, port, 50, 1)
	}
	copied(4)
	put(old, 1, 150, 2)          // a client has used its port again
	put(d.objs.Conns, 2, 160, 3) // ours have a new flow …
	put(old, 2, 150, 2)          // … after theirs had one
	put(old, 9, 150, 2)          // a flow of a new port
	copied(2)
	for port, want := range map[uint16]uint32{0: 1, 1: 2, 2: 3, 3: 1, 9: 2} {
		var c kernelConn
		if err := d.objs.Conns.Lookup(&kernelTuple{Sport: port}, &c); err != nil || c.Service != want {
			t.Errorf("port %d: flow of %d (%v), want that of %d", port, c.Service, err, want)
		}
	}
}

// connTable makes a connection table that nothing else uses.
func connTable(t *testing.T) *ebpf.Map {
	t.Helper()
	spec, err := loadKernel()
	if err != nil {
		t.Fatal(err)
	}
	s := spec.Maps[kernelMapConns].Copy()
	s.Pinning = ebpf.PinNone
	m, err := ebpf.NewMap(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}
