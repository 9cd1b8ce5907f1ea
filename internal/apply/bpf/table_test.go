package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/service"
	"github.com/fairway-net/fairway/internal/testkit"
)

// smallTable is a table of numbers for four entries.
func smallTable(t *testing.T, most int) *table[uint32, uint32] {
	t.Helper()
	testkit.NeedRoot(t)
	spec := &ebpf.MapSpec{Name: "small", Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: 4, Flags: 1}
	m, err := ebpf.NewMap(spec)
	if err != nil {
		t.Fatal(err)
	}
	tab := &table[uint32, uint32]{m: m, name: "small", spec: spec, most: most, use: func(*ebpf.Map) error { return nil }, log: slog.New(slog.DiscardHandler)}
	t.Cleanup(tab.close)
	return tab
}

func (t *table[K, V]) entries() (n int) {
	each(t.m, func(K, V) { n++ })
	return n
}

// A table takes what is put into it, at whatever size, up to its most.
func TestTableGrows(t *testing.T) {
	tab := smallTable(t, 1000)
	for i, want := range map[int]uint32{4: 4, 5: 8, 64: 64, 65: 128} { // in any order: it never shrinks
		var b batch[uint32, uint32]
		for k := range uint32(i) {
			b.put(k, k, k)
		}
		if failed := b.flush(tab, new(changes)); failed != nil {
			t.Fatalf("%d entries: %v", i, failed)
		}
		if got := tab.m.MaxEntries(); got < want {
			t.Errorf("%d entries are in a map for %d, want %d", i, got, want)
		}
	}
	if n, size := tab.entries(), tab.m.MaxEntries(); n != 65 || size != 128 {
		t.Errorf("%d entries in a map for %d, want 65 and 128", n, size)
	}
	var b batch[uint32, uint32]
	for k := range uint32(1200) {
		b.put(k, k, k)
	}
	failed := b.flush(tab, new(changes))
	if len(failed) != 200 || tab.entries() != 1000 {
		t.Errorf("%d of 1200 failed and %d are there, want 200 and 1000", len(failed), tab.entries())
	}
	for _, err := range failed {
		var trouble Trouble
		if !errors.As(err, &trouble) || trouble.Reason != "MapFull" || err.Error() != "map small is full: it has room for 1000 entries" {
			t.Errorf("%#v", err)
		}
	}
}

// A table that cannot grow stays as it is, and says why.
func TestTableCannotGrow(t *testing.T) {
	tab := smallTable(t, 1000)
	tab.use = func(*ebpf.Map) error { return errors.New("no use") }
	var b batch[uint32, uint32]
	for k := range uint32(6) {
		b.put(k, k, k)
	}
	failed := b.flush(tab, new(changes))
	if len(failed) != 2 || tab.entries() != 4 || failed[5].Error() != "map small is full: it has room for 4 entries, and cannot grow: no use" {
		t.Errorf("%d entries, %v", tab.entries(), failed)
	}
}

// Far more Services than the maps have room for at first: meanwhile and
// afterwards connections are made, others go on, and none fails.
func TestGrowUnderConnections(t *testing.T) {
	w := newWorld(t)
	svc := nodePort("web", "10.96.0.1")
	w.set(svc, w.a2.IPs[0], w.b1.IPs[0])
	var held []*testkit.Conn
	for _, c := range []struct {
		ns            *testkit.NS
		cgroup        *testkit.Cgroup
		network, addr string
	}{
		{w.client.NS, nil, "tcp", "198.51.100.1:30080"}, {w.client.NS, nil, "udp", "198.51.100.1:30080"},
		{w.a1.NS, w.node1.cgroup, "tcp", "10.96.0.1:80"}, {w.a1.NS, nil, "tcp", "10.96.0.1:80"}, {w.a1.NS, nil, "udp", "10.96.0.1:80"},
	} {
		conn, err := c.ns.Dial(c.cgroup, c.network, c.addr, "")
		w.must(err)
		defer conn.Close()
		held = append(held, conn)
	}
	sock, err := w.a1.ListenUDP(w.node1.cgroup, "0.0.0.0:0")
	w.must(err)
	defer sock.Close()

	stop := make(chan struct{})
	var rounds, failures int
	var load sync.WaitGroup
	load.Go(func() {
		check := func(what string, err error) {
			if err != nil {
				failures++
				t.Errorf("%s: %v", what, err)
			}
		}
		for ; ; rounds++ {
			select {
			case <-stop:
				return
			default:
			}
			for i, c := range held {
				_, err := c.Ask("x")
				check(fmt.Sprint("held connection ", i), err)
			}
			_, err := sock.Ask("10.96.0.1:80", "x")
			check("unconnected socket", err)
			_, err = w.a1.Ask(w.node1.cgroup, "tcp", "10.96.0.1:80")
			check("new from a socket", err)
			_, err = w.a1.Ask(nil, "tcp", "10.96.0.1:80")
			check("new by packets", err)
			_, err = w.client.Ask(nil, "tcp", "198.51.100.1:30080")
			check("new from outside", err)
		}
	})
	const services, ports = 30000, 5
	plans := manyPorts(services, ports)
	for some := range slices.Chunk(plans, 1000) {
		w.must(w.node1.dp.ApplyServices(t.Context(), some))
	}
	close(stop)
	load.Wait()
	if rounds < 10 || failures > 0 {
		t.Errorf("%d rounds, %d failures", rounds, failures)
	}
	want := services*(ports+1) + 10
	for _, again := range []bool{false, true} {
		if again { // the next process finds the same
			w.must(w.node1.dp.Close())
			w.node1.open()
			w.must(w.node1.dp.ApplyServices(t.Context(), plans[:1]))
		}
		fill, err := w.node1.dp.ReadFill()
		w.must(err)
		for _, f := range fill {
			t.Logf("%+v", f)
			if f.Map == kernelMapFrontends && (f.Entries < want-10 || f.Entries > want || f.Capacity != 1<<18) {
				t.Errorf("%+v, want about %d entries", f, want)
			}
			if f.Map == kernelMapNames && f.Capacity < services*ports {
				t.Errorf("%+v", f)
			}
		}
		w.ask(w.a1.NS, w.node1.cgroup, "tcp", "10.96.0.1:80")
		w.ask(w.client.NS, nil, "tcp", "198.51.100.1:30080")
	}
	// And so does another version, whose numbers of Services are the same.
	w.must(w.node1.dp.Close())
	id := w.node1.dp.services.ports.byName
	w.node1.layout = "v99"
	w.node1.open()
	for name, n := range w.node1.dp.services.ports.byName {
		if id[name] != n {
			t.Fatalf("%x is number %d, was %d", name, n, id[name])
		}
	}
	if n := len(w.node1.dp.services.ports.byName); n < services*ports {
		t.Errorf("%d names in the other version", n)
	}
}

// manyPorts are Services with one backend and several ports each.
func manyPorts(services, ports int) []service.Plan {
	backend := netip.MustParseAddrPort("10.9.9.9:8080")
	plans := make([]service.Plan, services)
	for i := range plans {
		plans[i].Key = service.Key{Kind: model.KindService, Name: model.Name{Namespace: "many", Name: fmt.Sprint(i)}}
		for p := range ports {
			plans[i].Ports = append(plans[i].Ports, service.Port{
				Family: model.IPv4, Name: fmt.Sprint(p), Protocol: model.TCP, Serving: []netip.AddrPort{backend},
				Sets:      []service.Set{{Backends: []service.Backend{{Addr: backend}}}},
				Frontends: []service.Frontend{{Kind: service.ClusterIP, Addr: netip.AddrFrom4([4]byte{10, 100 + byte(i>>16), byte(i >> 8), byte(i)}), Port: uint16(80 + p)}},
			})
		}
	}
	return plans
}

// BenchmarkLookup is what a program pays to find an entry: in a map that it has
// itself, and by way of an array of maps; in one as large as its entries ask for,
// and in one that is large enough for anybody.
func BenchmarkLookup(b *testing.B) {
	testkit.NeedRoot(b)
	const lookups = 100
	type key = kernelFrontendKey
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	for _, entries := range []int{10, 10000, 100000} {
		for _, c := range []struct {
			name   string
			size   int
			nested bool
		}{{"own", 1 << 17, false}, {"nested", 1 << 17, true}, {"own, huge", 1 << 22, false}} {
			b.Run(fmt.Sprint(entries, " ", c.name), func(b *testing.B) {
				m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 20, ValueSize: 28, MaxEntries: uint32(c.size), Flags: 1})
				must(err)
				defer m.Close()
				for i := range uint32(entries) {
					k := key{Port: 80, Proto: 6}
					k.Addr.W[3] = i
					must(m.Put(k, make([]byte, 28)))
				}
				target := m
				if c.nested {
					target, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: &ebpf.MapSpec{Type: ebpf.Hash, KeySize: 20, ValueSize: 28, MaxEntries: 1, Flags: 1}})
					must(err)
					defer target.Close()
					must(target.Put(uint32(0), m))
				}
				prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "GPL", Instructions: lookupLoop(target, c.nested, lookups, entries)})
				must(err)
				defer prog.Close()
				_, each, err := prog.Benchmark(make([]byte, 64), max(b.N/lookups, 1), b.ResetTimer)
				must(err)
				b.ReportMetric(float64(each.Nanoseconds())/lookups, "ns/lookup")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// lookupLoop looks up entries at random, n times.
func lookupLoop(m *ebpf.Map, nested bool, n, entries int) asm.Instructions {
	const at = -24 // of the key on the stack
	code := asm.Instructions{asm.Mov.Imm(asm.R6, int32(n)), asm.Mov.Imm(asm.R7, 0)}
	for off := range int16(4) {
		code = append(code, asm.StoreMem(asm.R10, -32+off*8, asm.R7, asm.DWord))
	}
	port := binary.NativeEndian.Uint32([]byte{80, 0, 6, 0})
	code = append(code,
		asm.Mov.Imm32(asm.R7, int32(port)),
		asm.StoreMem(asm.R10, at+16, asm.R7, asm.Word),
		asm.FnGetPrandomU32.Call().WithSymbol("next"),
		asm.Mod.Imm32(asm.R0, int32(entries)),
		asm.StoreMem(asm.R10, at+12, asm.R0, asm.Word),
	)
	if nested {
		code = append(code,
			asm.LoadMapPtr(asm.R1, m.FD()), asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -32), asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "done"), asm.Mov.Reg(asm.R1, asm.R0))
	} else {
		code = append(code, asm.LoadMapPtr(asm.R1, m.FD()))
	}
	return append(code,
		asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, at), asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "done"),
		asm.Sub.Imm(asm.R6, 1), asm.JNE.Imm(asm.R6, 0, "next"),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("done"), asm.Return())
}
