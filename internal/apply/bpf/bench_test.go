package bpf

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/policy"
	"github.com/fairway-net/fairway/internal/plan/service"
	"github.com/fairway-net/fairway/internal/testkit"
)

// BenchmarkPacket is the cost of one packet of an open connection in each
// program, as the kernel's test run measures it: what Fairway adds to a hop.
// Packets that are rewritten are not measured: a test run repeats the program
// on the same packet, which would be another one from the second time on.
func BenchmarkPacket(b *testing.B) {
	testkit.NeedRoot(b)
	ns := testkit.NewNS(b, "bench")
	var dp *Datapath
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	must(ns.Do(func() (err error) { dp, err = Open(Options{Dir: testkit.BPFFS(b)}); return err }))
	b.Cleanup(func() { dp.Close() })
	addr := netip.MustParseAddr
	self, pod, peer := addr("198.51.100.1"), addr("10.1.1.2"), addr("10.1.2.2")
	must(dp.ApplyNodes(b.Context(), Nodes{Self: []netip.Addr{self}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, Local: []netip.Prefix{netip.MustParsePrefix("10.1.1.0/24")}}))

	open := func(isolated bool) { // test runs happen on a device with ifindex 1
		set := policy.Set{Name: "s", Rules: []policy.Rule{{Class: "c", Protocol: model.TCP, PortLo: 8080, PortHi: 8080}}}
		plan := policy.Plan{Classes: []policy.ClassPrefix{{Prefix: netip.MustParsePrefix("10.1.2.0/24"), Class: "c"}}, Sets: []policy.Set{set}}
		pp := policy.PodPolicy{Pod: model.Name{Name: "pod"}}
		if isolated {
			pp.Egress, pp.Ingress = &set.Name, &set.Name
		}
		plan.Pods = []policy.PodPolicy{pp}
		dp.pods[1].link.Pod = pp.Pod
		must(dp.ApplyPolicy(b.Context(), plan))
	}
	must(ns.Do(func() error {
		return dp.AttachPod(PodLink{Pod: model.Name{Name: "pod"}, IfIndex: 1, IPs: []netip.Addr{pod}})
	}))

	run := func(name string, prog *ebpf.Program, src, dst netip.AddrPort) {
		b.Run(name, func(b *testing.B) {
			const syn, ack = 2, 16
			_, _, err := prog.Benchmark(packet(src, dst, syn), 1, b.ResetTimer)
			must(err)
			verdict, each, err := prog.Benchmark(packet(src, dst, ack), b.N, b.ResetTimer)
			must(err)
			if int32(verdict) > 0 {
				b.Fatalf("verdict %d", int32(verdict))
			}
			b.ReportMetric(float64(each.Nanoseconds()), "ns/packet")
			b.ReportMetric(0, "ns/op")
		})
	}
	at := netip.AddrPortFrom
	open(false)
	run("from pod", dp.objs.FromPod, at(pod, 40000), at(peer, 8080))
	run("to pod, reply", dp.objs.ToPod, at(peer, 8080), at(pod, 40000))
	open(true)
	run("from pod, isolated", dp.objs.FromPod, at(pod, 40001), at(peer, 8080))
	run("uplink in, nothing of ours", dp.objs.FromNet, at(peer, 8080), at(pod, 40000))
	run("uplink out, to a pod", dp.objs.ToNet, at(pod, 40000), at(peer, 8080))
}

// packet is a TCP segment without checksums, which nothing here looks at.
func packet(src, dst netip.AddrPort, flags byte) []byte {
	p := make([]byte, 14+20+20+64)
	p[12] = 8 // IPv4
	ip, tcp := p[14:34], p[34:54]
	ip[0], ip[8], ip[9] = 0x45, 64, byte(model.TCP)
	binary.BigEndian.PutUint16(ip[2:], uint16(len(p)-14))
	s, d := src.Addr().As4(), dst.Addr().As4()
	copy(ip[12:], s[:])
	copy(ip[16:], d[:])
	binary.BigEndian.PutUint16(tcp, src.Port())
	binary.BigEndian.PutUint16(tcp[2:], dst.Port())
	tcp[12], tcp[13] = 5<<4, flags
	return p
}

// BenchmarkApply is the cost of a whole cluster at once, and of one endpoint
// that comes or goes in it, which must not depend on the size of the cluster:
// plans for Services of 5 endpoints.
func BenchmarkApply(b *testing.B) {
	testkit.NeedRoot(b)
	const endpoints = 5
	plan := func(i, change int) service.Plan {
		p := service.Port{Family: model.IPv4, Protocol: model.TCP}
		for e := range endpoints {
			n := i*endpoints + e
			p.Serving = append(p.Serving, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), uint16(8080+change)))
		}
		var set service.Set
		for _, a := range p.Serving {
			set.Backends = append(set.Backends, service.Backend{Addr: a})
		}
		p.Sets = []service.Set{set}
		p.Frontends = []service.Frontend{{Addr: netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)}), Port: 80}}
		return service.Plan{Key: service.Key{Kind: model.KindService, Name: model.Name{Namespace: "bench", Name: fmt.Sprint(i)}}, Ports: []service.Port{p}}
	}
	plans := make([]service.Plan, 40000)
	for i := range plans {
		plans[i] = plan(i, 0)
	}
	ns := testkit.NewNS(b, "bench")
	open := func() (dp *Datapath) {
		if err := ns.Do(func() (err error) { dp, err = Open(Options{Dir: testkit.BPFFS(b)}); return err }); err != nil {
			b.Fatal(err)
		}
		return dp
	}
	b.Run("all of 10000", func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			dp := open()
			b.StartTimer()
			if err := dp.ApplyServices(b.Context(), plans[:10000]); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			dp.Close()
			b.StartTimer()
		}
	})
	for _, services := range []int{1000, 40000} {
		b.Run(fmt.Sprint("one of ", services), func(b *testing.B) {
			dp := open()
			defer dp.Close()
			if err := dp.ApplyServices(b.Context(), plans[:services]); err != nil {
				b.Fatal(err)
			}
			one := [][]service.Plan{{plan(7, 1)}, {plan(7, 2)}}
			writes, deletes := dp.ServiceChanges()
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if err := dp.ApplyServices(b.Context(), one[i%2]); err != nil {
					b.Fatal(err)
				}
			}
			w, d := dp.ServiceChanges()
			b.ReportMetric(float64(w-writes+d-deletes)/float64(b.N), "entries/op")
		})
	}
}

// BenchmarkAttachPod is what a new pod waits for, alone and with nine others.
func BenchmarkAttachPod(b *testing.B) {
	testkit.NeedRoot(b)
	ns := testkit.NewNS(b, "bench")
	var dp *Datapath
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	must(ns.Do(func() (err error) { dp, err = Open(Options{Dir: testkit.BPFFS(b)}); return err }))
	b.Cleanup(func() { dp.Close() })
	for _, together := range []int{1, 10} {
		b.Run(fmt.Sprint(together, " at once"), func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				var pods []netlink.Link
				for i := range together {
					veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprint("pod", i)}, PeerName: fmt.Sprint("peer", i)}
					must(ns.Link.LinkAdd(veth))
					l, err := ns.Link.LinkByName(veth.Name)
					must(err)
					pods = append(pods, l)
				}
				errs := make(chan error)
				b.StartTimer()
				for _, l := range pods {
					go func() { errs <- dp.AttachPod(PodLink{IfIndex: l.Attrs().Index}) }()
				}
				for range pods {
					must(<-errs)
				}
				b.StopTimer()
				for _, l := range pods {
					must(dp.DetachPod(l.Attrs().Index))
					must(ns.Link.LinkDel(l))
				}
				b.StartTimer()
			}
		})
	}
}
