package bpf

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/service"
	"github.com/fairway-net/fairway/internal/testkit"
)

// openAlone opens a datapath that has no node: its maps are all that matters.
func openAlone(t testing.TB, dir string) *Datapath {
	t.Helper()
	ns := testkit.NewNS(t, "alone")
	var dp *Datapath
	if err := ns.Do(func() (err error) { dp, err = Open(Options{Dir: dir}); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dp.Close() })
	return dp
}

// tcpPlan is a Service with one port and these endpoints.
func tcpPlan(name, addr string, endpoints ...string) service.Plan {
	p := service.Port{Family: model.IPv4, Protocol: model.TCP, Sets: []service.Set{{}}}
	for _, e := range endpoints {
		a := netip.MustParseAddrPort(e)
		p.Serving = append(p.Serving, a)
		p.Sets[0].Backends = append(p.Sets[0].Backends, service.Backend{Addr: a})
	}
	p.Frontends = []service.Frontend{{Addr: netip.MustParseAddr(addr), Port: 80}}
	return service.Plan{Key: service.Key{Kind: model.KindService, Name: model.Name{Namespace: "test", Name: name}}, Ports: []service.Port{p}}
}

// The names of numbers are what earlier versions wrote, byte by byte.
func TestDigests(t *testing.T) {
	for _, key := range []service.Key{
		{Kind: model.KindService, Name: model.Name{Namespace: "ns", Name: "web"}},
		{Kind: model.KindPod, Name: model.Name{Name: "x"}},
	} {
		for _, p := range []service.Port{{Family: model.IPv4, Protocol: model.TCP}, {Family: model.IPv6, Name: "dns", Protocol: model.UDP}, {Protocol: 99}} {
			if got, want := portDigest(key, &p), digestOf(key, p.Family, p.Name, p.Protocol); got != want {
				t.Errorf("%v %v: %x, want %x", key, p.Name, got, want)
			}
		}
	}
	set := []service.Backend{}
	for _, a := range []string{"", "10.0.0.1:80", "[fd00::1]:443", "10.255.255.255:65535"} {
		if a != "" {
			set = append(set, service.Backend{Addr: netip.MustParseAddrPort(a), Local: len(set)%2 == 0})
		}
		if got, want := setDigest(set), digestOf(set); got != want {
			t.Errorf("%v: %x, want %x", set, got, want)
		}
	}
}

// A change costs what changes, however much there is beside it.
func TestWritesOfOneChange(t *testing.T) {
	testkit.NeedRoot(t)
	for _, services := range []int{10, 2000} {
		dp := openAlone(t, testkit.BPFFS(t))
		var plans []service.Plan
		for i := range services {
			plans = append(plans, tcpPlan(fmt.Sprint(i), fmt.Sprintf("10.96.%d.%d", i>>8, i&255), fmt.Sprintf("10.1.%d.%d:80", i>>8, i&255), "10.2.0.1:80", "10.2.0.2:80"))
		}
		step := func(what string, want int, plans ...service.Plan) {
			t.Helper()
			writes, deletes := dp.ServiceChanges()
			if err := dp.ApplyServices(t.Context(), plans); err != nil {
				t.Fatal(err)
			}
			w, d := dp.ServiceChanges()
			if got := int(w - writes + d - deletes); got != want {
				t.Errorf("%d Services: %s: %d entries changed, want %d", services, what, got, want)
			}
		}
		// Per Service two names, three slots, three members, two frontends.
		step("all", services*10, plans...)
		step("the same again", 0, plans...)
		step("an endpoint comes", 1+4+1+1, tcpPlan("7", "10.96.0.7", "10.1.0.7:80", "10.2.0.1:80", "10.2.0.2:80", "10.2.0.3:80"))
		step("it goes again", 1+1, tcpPlan("7", "10.96.0.7", "10.1.0.7:80", "10.2.0.1:80", "10.2.0.2:80")) // the set is there still
		step("the Service goes", 2, service.Plan{Key: plans[7].Key})
		step("and comes again", 2, plans[7])
	}
}

// Whatever the order in which plans come, go, collide and fail, the maps hold
// what the plans that are in force say, and the books hold what the maps do.
func TestServicesFollowPlans(t *testing.T) {
	testkit.NeedRoot(t)
	dir := testkit.BPFFS(t)
	dp := openAlone(t, dir)
	rnd := rand.New(rand.NewPCG(1, 2))
	inForce := map[service.Key]service.Plan{}
	for turn := range 400 {
		var plans []service.Plan
		for _, i := range rnd.Perm(20)[:1+rnd.IntN(6)] {
			plans = append(plans, randomPlan(rnd, i))
		}
		for _, p := range plans {
			inForce[p.Key] = p
		}
		if err := dp.ApplyServices(t.Context(), plans); err != nil {
			t.Fatal(err)
		}
		if turn%100 == 99 { // another process takes over, and some things went while nobody looked
			if err := dp.Close(); err != nil {
				t.Fatal(err)
			}
			dp = openAlone(t, dir)
			for _, i := range rnd.Perm(20)[:3] {
				delete(inForce, randomPlan(rnd, i).Key)
			}
			if err := dp.ApplyServices(t.Context(), slices.Collect(maps.Values(inForce))); err != nil {
				t.Fatal(err)
			}
			if err := dp.PruneServices(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		checkServices(t, dp.services, inForce)
	}
}

// Where a map is full, some Services fail and say so. All others follow their
// plans, and those that failed do once there is room.
func TestServicesInFullMaps(t *testing.T) {
	testkit.NeedRoot(t)
	spec, err := loadKernel()
	if err != nil {
		t.Fatal(err)
	}
	fresh := func(name string, entries uint32) *ebpf.Map {
		ms := spec.Maps[name].Copy()
		if ms.InnerMap != nil {
			ms = ms.InnerMap
		}
		ms.Pinning, ms.MaxEntries = ebpf.PinNone, entries
		m, err := ebpf.NewMap(ms)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		return m
	}
	const plenty, scarce = 10000, 25
	for _, full := range []string{kernelMapNames, kernelMapSlots, kernelMapMembers, kernelMapRanges, kernelMapFrontends} {
		t.Run(full, func(t *testing.T) {
			sizes := map[string]uint32{kernelMapNames: plenty, kernelMapSlots: plenty, kernelMapMembers: plenty, kernelMapRanges: plenty, kernelMapFrontends: plenty}
			sizes[full] = scarce
			if full == kernelMapRanges {
				sizes[full] = 4
			}
			m := &tables{}
			m.names.m, m.slots.m, m.members.m = fresh(kernelMapNames, sizes[kernelMapNames]), fresh(kernelMapSlots, sizes[kernelMapSlots]), fresh(kernelMapMembers, sizes[kernelMapMembers])
			m.ranges.m, m.frontends.m = fresh(kernelMapRanges, sizes[kernelMapRanges]), fresh(kernelMapFrontends, sizes[kernelMapFrontends])
			m.names.name, m.slots.name, m.members.name, m.ranges.name, m.frontends.name = kernelMapNames, kernelMapSlots, kernelMapMembers, kernelMapRanges, kernelMapFrontends
			all, err := restoreIDs(&m.names)
			if err != nil {
				t.Fatal(err)
			}
			s, err := restoreServices(m, all[kindService], all[kindBackends])
			if err != nil {
				t.Fatal(err)
			}
			rnd := rand.New(rand.NewPCG(3, 4))
			inForce, failures := map[service.Key]service.Plan{}, 0
			bury := func() { // without the wait
				for _, i := range []*ids{s.ports, s.sets} {
					for id := range i.condemned {
						i.condemned[id] = time.Time{}
					}
				}
				if err := s.bury(); err != nil {
					t.Fatal(err)
				}
			}
			for range 200 {
				var plans []service.Plan
				for _, i := range rnd.Perm(20)[:1+rnd.IntN(6)] {
					plans = append(plans, randomPlan(rnd, i))
				}
				for _, f := range s.round.apply(plans) {
					failures++
					if !strings.Contains(f.Err.Error(), "map "+full+" is full: it has room for") {
						t.Fatal(f.Err)
					}
				}
				for _, p := range plans {
					inForce[p.Key] = p
				}
				bury()
				for k, f := range s.frontends {
					var v kernelFrontend
					if err := m.frontends.m.Lookup(k, &v); f.written && (err != nil || v != f.value) {
						t.Fatalf("frontend %v:%d: books %+v, map %+v, %v", k.Addr.addr(), swap(k.Port), f, v, err)
					}
				}
			}
			if failures < 50 {
				t.Fatalf("only %d failures", failures)
			}
			// Two Services fit anywhere. Things go before others come, but twice round
			// there is room for all.
			for key := range inForce {
				if key.Name.Name != "3" && key.Name.Name != "4" {
					inForce[key] = service.Plan{Key: key}
				}
			}
			var failed []Failed
			for range 2 {
				failed = s.round.apply(slices.Collect(maps.Values(inForce)))
				bury()
			}
			if failed != nil {
				t.Fatal(failed)
			}
			checkServices(t, s, inForce)
		})
	}
}

// What an earlier process has left of a Service stays whole while the new plan
// for it fails.
func TestPruneSparesWhatFailed(t *testing.T) {
	testkit.NeedRoot(t)
	dir := testkit.BPFFS(t)
	dp := openAlone(t, dir)
	old, other := tcpPlan("web", "10.96.0.1", "10.1.0.1:80"), tcpPlan("db", "10.96.0.2", "10.1.0.2:80")
	if err := dp.ApplyServices(t.Context(), []service.Plan{old, other}); err != nil {
		t.Fatal(err)
	}
	if err := dp.Close(); err != nil {
		t.Fatal(err)
	}
	dp = openAlone(t, dir)
	s := dp.services
	slots := s.maps.slots.m
	tiny, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 8, ValueSize: 20, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer tiny.Close()
	s.maps.slots.m, s.maps.slots.most = tiny, 1 // one slot fits
	next := tcpPlan("web", "10.96.0.1", "10.1.0.1:80", "10.1.0.3:80")
	var failed *ApplyError
	if err := dp.ApplyServices(t.Context(), []service.Plan{next}); !errors.As(err, &failed) || len(failed.Failed) != 1 || failed.Failed[0].Key != next.Key {
		t.Fatalf("got %v", err)
	}
	s.maps.slots.m, s.maps.slots.most = slots, mostEntries
	bury := func() {
		for _, i := range []*ids{s.ports, s.sets} {
			for id := range i.condemned {
				i.condemned[id] = time.Time{}
			}
		}
		if err := errors.Join(dp.PruneServices(t.Context()), s.bury()); err != nil {
			t.Fatal(err)
		}
	}
	bury()
	bury()
	rows := readServices(t, s.maps)
	if !strings.Contains(rows, "10.96.0.1:80/TCP -> [{10.1.0.1:80 false}]") || strings.Contains(rows, "10.96.0.2") {
		t.Fatalf("the maps have\n%s", rows)
	}
	if err := dp.ApplyServices(t.Context(), []service.Plan{next}); err != nil {
		t.Fatal(err)
	}
	bury()
	bury()
	checkServices(t, s, map[service.Key]service.Plan{next.Key: next})
}

// checkServices compares the maps with the plans in force, and the books with the maps.
func checkServices(t *testing.T, s *services, inForce map[service.Key]service.Plan) {
	t.Helper()
	if got, want := readServices(t, s.maps), wantServices(inForce); got != want {
		t.Fatalf("the maps have\n%swant\n%s", got, want)
	}
	checkBooks(t, s)
}

// randomPlan plans Service i anew: nothing, or ports at addresses that it may
// share with others.
func randomPlan(rnd *rand.Rand, i int) service.Plan {
	plan := service.Plan{Key: service.Key{Kind: model.KindService, Name: model.Name{Namespace: "test", Name: fmt.Sprint(i)}}}
	for port := range rnd.IntN(3) {
		p := service.Port{Family: model.IPv4, Name: fmt.Sprint(port), Protocol: []model.Protocol{model.TCP, model.UDP}[rnd.IntN(2)]}
		for e := range 6 {
			if rnd.IntN(2) == 0 {
				p.Serving = append(p.Serving, netip.MustParseAddrPort(fmt.Sprintf("10.1.0.%d:%d", e, 8080+port)))
			}
		}
		p.Sets = []service.Set{{Drop: rnd.IntN(2) == 0}, {}}
		for _, a := range p.Serving {
			p.Sets[0].Backends = append(p.Sets[0].Backends, service.Backend{Addr: a})
			if rnd.IntN(2) == 0 {
				p.Sets[1].Backends = append(p.Sets[1].Backends, service.Backend{Addr: a, Local: true})
			}
		}
		if rnd.IntN(4) == 0 {
			p.SourceRanges = []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/32", rnd.IntN(4)))}
		}
		p.Frontends = []service.Frontend{{Addr: netip.MustParseAddr(fmt.Sprintf("10.96.0.%d", i)), Port: uint16(80 + port), External: 1}}
		if rnd.IntN(2) == 0 { // one that others may want as well
			p.Frontends = append(p.Frontends, service.Frontend{Addr: netip.MustParseAddr(fmt.Sprintf("203.0.113.%d", rnd.IntN(3))), Port: uint16(80 + port), Kind: service.ExternalIP})
		}
		plan.Ports = append(plan.Ports, p)
	}
	return plan
}

// wantServices is what plans say, for every frontend; of several that want the
// same one the first by name has it.
func wantServices(plans map[service.Key]service.Plan) string {
	rows := map[string]string{}
	keys := slices.SortedFunc(maps.Keys(plans), func(a, b service.Key) int { return a.Name.Compare(b.Name) })
	for _, key := range keys {
		for _, p := range plans[key].Ports {
			members := map[netip.AddrPort]uint32{}
			for _, a := range p.Serving {
				members[a] = 0
			}
			for i, s := range p.Sets {
				for _, b := range s.Backends {
					members[b.Addr] |= 1 << i
					if b.Local {
						members[b.Addr] |= localMember
					}
				}
			}
			for _, f := range p.Frontends {
				at := fmt.Sprintf("%v:%d/%v", f.Addr, f.Port, p.Protocol)
				if rows[at] == "" {
					rows[at] = describe(p.Sets[f.Internal].Backends, p.Sets[f.External].Backends, p.Sets[f.Internal].Drop, members, len(p.SourceRanges))
				}
				if any := fmt.Sprintf("%v:0/", f.Addr); f.Kind == service.ClusterIP {
					rows[any] = "any"
				}
			}
		}
	}
	return list(rows)
}

func describe(internal, external []service.Backend, drop bool, members map[netip.AddrPort]uint32, ranges int) string {
	var all []string
	for a, sets := range members {
		all = append(all, fmt.Sprintf("%v=%x", a, sets))
	}
	slices.Sort(all)
	return fmt.Sprint(internal, external, drop, all, ranges)
}

func list(rows map[string]string) string {
	var b strings.Builder
	for _, at := range slices.Sorted(maps.Keys(rows)) {
		fmt.Fprintf(&b, "%s -> %s\n", at, rows[at])
	}
	return b.String()
}

// readServices describes the maps as the programs of the kernel follow them.
func readServices(t *testing.T, m *tables) string {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	members, ranges := map[uint32]map[netip.AddrPort]uint32{}, map[uint32]int{}
	must(each(m.members.m, func(k kernelMemberKey, v kernelMember) {
		if members[k.Service] == nil {
			members[k.Service] = map[netip.AddrPort]uint32{}
		}
		members[k.Service][netip.AddrPortFrom(k.Addr.addr(), swap(k.Port))] = v.Sets
	}))
	must(each(m.ranges.m, func(k kernelRangeKey, _ uint32) { ranges[k.Service]++ }))
	set := func(id, n uint32) (out []service.Backend) {
		for i := range n {
			var b kernelBackend
			must(m.slots.m.Lookup(kernelSlotKey{Set: id, Index: i}, &b))
			out = append(out, service.Backend{Addr: netip.AddrPortFrom(b.Addr.addr(), swap(b.Port)), Local: b.Local == 1})
		}
		return out
	}
	rows := map[string]string{}
	must(each(m.frontends.m, func(k kernelFrontendKey, v kernelFrontend) {
		if v.Flags == feAddress {
			rows[fmt.Sprintf("%v:0/", k.Addr.addr())] = "any"
			return
		}
		rows[fmt.Sprintf("%v:%d/%v", k.Addr.addr(), swap(k.Port), model.Protocol(k.Proto))] = describe(
			set(v.Internal, v.N_internal), set(v.External, v.N_external), v.Flags&feInternalDrop != 0, members[v.Service], ranges[v.Service])
	}))
	return list(rows)
}

// checkBooks compares the books with the maps.
func checkBooks(t *testing.T, s *services) {
	t.Helper()
	again, err := restoreIDs(&s.maps.names)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := restoreServices(s.maps, again[kindService], again[kindBackends])
	if err != nil {
		t.Fatal(err)
	}
	if len(fresh.frontends) != len(s.frontends) {
		t.Errorf("%d frontends in the map, %d in the books", len(fresh.frontends), len(s.frontends))
	}
	for k, f := range fresh.frontends {
		if b := s.frontends[k]; b.value != f.value || !b.written {
			t.Errorf("frontend %v: map %+v, books %+v", k, f.value, b)
		}
	}
	if !maps.EqualFunc(fresh.members, s.members, slices.Equal) {
		t.Errorf("members: map %v, books %v", fresh.members, s.members)
	}
	sorted := func(m map[uint32][]kernelRangeKey) string {
		for _, r := range m {
			slices.SortFunc(r, func(a, b kernelRangeKey) int { return slices.Compare(a.Addr.W[:], b.Addr.W[:]) })
		}
		return fmt.Sprint(m)
	}
	if got, want := sorted(s.ranges), sorted(fresh.ranges); got != want {
		t.Errorf("ranges: map %v, books %v", want, got)
	}
	for kind, books := range map[uint32]*ids{kindService: s.ports, kindBackends: s.sets} {
		if !maps.Equal(again[kind].byName, books.byName) {
			t.Errorf("names of kind %d: map %v, books %v", kind, again[kind].byName, books.byName)
		}
	}
}
