package underlay

import (
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/testkit"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// bench is a machine with an uplink to outside, the wire of a cluster, and one
// node on it:
//
//	outside 2001:db8::1 ── 2001:db8::2 machine ── fairway3 ── wire ── node
type bench struct {
	*testing.T
	outside, machine, wire, node *testkit.NS
	m                            *Machine
	pid                          int // of a process on the wire
}

func newBench(t *testing.T) *bench {
	testkit.NeedRoot(t)
	b := &bench{T: t, outside: testkit.NewNS(t, "outside"), machine: testkit.NewNS(t, "machine"), wire: testkit.NewNS(t, "wire"), node: testkit.NewNS(t, "node"),
		m: &Machine{
			Index: 3, Owner: "test", Addrs: []netip.Prefix{pfx("198.18.3.1/24"), pfx("2001:2:0:3::1/64")},
			OnLink: []netip.Prefix{pfx("198.18.19.0/24"), pfx("2001:2:0:103::/112")},
			Closed: []netip.Prefix{pfx("198.18.128.0/17"), pfx("198.19.0.0/16"), pfx("2001:2:0:8000::/56"), pfx("2001:2:0:9000::/112")},
		}}
	b.must(b.machine.Link.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "uplink"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(b.outside.Fd())}))
	b.addr(b.machine, "uplink", "203.0.113.2/24", "2001:db8::2/64")
	b.addr(b.outside, "eth0", "203.0.113.1/24", "2001:db8::1/64")
	for _, gw := range []string{"203.0.113.1", "2001:db8::1"} {
		b.must(b.machine.Link.RouteAdd(&netlink.Route{Gw: net.ParseIP(gw)}))
	}
	b.outside.Serve("[2001:db8::1]:80")
	b.pid = b.hold(b.wire)
	b.must(b.wire.Do(MakeBridge))
	node := b.hold(b.node)
	b.must(b.wire.Do(func() error { return Plug("port1", node, "eth0") }))
	b.addr(b.node, "eth0", "198.18.3.2/24", "2001:2:0:3::2/64", "2001:2:0:103::7/128")
	b.node.Serve("[2001:2:0:3::2]:80")
	b.node.Serve("[2001:2:0:103::7]:80")
	b.node.Serve("198.18.3.2:80")
	return b
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) addr(ns *testkit.NS, link string, addrs ...string) {
	b.Helper()
	l, err := ns.Link.LinkByName(link)
	b.must(err)
	for _, a := range addrs {
		b.must(ns.Link.AddrAdd(l, testkit.Addr(b, a)))
	}
	b.must(ns.Link.LinkSetUp(l))
}

// hold keeps a process in ns until the test ends.
func (b *bench) hold(ns *testkit.NS) (pid int) {
	cmd := exec.Command("sleep", "600")
	b.must(ns.Do(cmd.Start))
	b.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	return cmd.Process.Pid
}

// watch reports, on the channel, packets that outside gets with an address of
// the cluster. The machine's own neighbour discovery goes on all the time.
func (b *bench) watch() <-chan string {
	b.Helper()
	all := uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8)
	var fd int
	b.must(b.outside.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(all))
		return err
	}))
	leaks := make(chan string, 100)
	go func() {
		for buf := make([]byte, 2048); ; {
			n, _, err := unix.Recvfrom(fd, buf, 0)
			if err != nil {
				return // closed
			}
			if from, to := ends(buf[:n]); slices.ContainsFunc(cluster, func(p netip.Prefix) bool { return p.Contains(from) || p.Contains(to) }) {
				leaks <- from.String() + " to " + to.String()
			}
		}
	}()
	b.Cleanup(func() { unix.Close(fd) })
	return leaks
}

// cluster is what all ranges of clusters lie in.
var cluster = []netip.Prefix{pfx("198.18.0.0/15"), pfx("2001:2::/48")}

// ends returns the addresses of an IP packet.
func ends(p []byte) (from, to netip.Addr) {
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		return netip.AddrFrom4([4]byte(p[12:])), netip.AddrFrom4([4]byte(p[16:]))
	case len(p) >= 40 && p[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(p[8:])), netip.AddrFrom16([16]byte(p[24:]))
	}
	return
}

// routes lists the machine's routes of both families, and its rules.
func (b *bench) routes() []string {
	b.Helper()
	var out []string
	err := b.machine.Do(func() error {
		for _, args := range [][]string{{"-4", "route"}, {"-6", "route"}, {"-4", "rule"}, {"-6", "rule"}} {
			text, err := exec.Command("ip", args...).CombinedOutput()
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(text)) {
				out = append(out, strings.TrimSpace(line))
			}
		}
		return nil
	})
	b.must(err)
	return out
}

// TestBothFamilies: connected, the machine reaches the node by both families
// and at once; nothing of the cluster gets out, whatever the machine forwards;
// and what is removed leaves nothing.
func TestBothFamilies(t *testing.T) {
	b := newBench(t)
	before := b.routes()
	b.must(b.machine.Do(func() error { return b.m.Connect(b.pid) }))
	for _, addr := range []string{"198.18.3.2:80", "[2001:2:0:3::2]:80", "[2001:2:0:103::7]:80"} {
		if _, err := b.machine.Ask(nil, "tcp", addr); err != nil {
			t.Errorf("machine to %s: %v", addr, err)
		}
	}
	b.machine.Sysctl("ipv4/ip_forward", "1")
	b.machine.Sysctl("ipv6/conf/all/forwarding", "1")
	if _, err := b.machine.Ask(nil, "tcp", "[2001:db8::1]:80"); err != nil {
		t.Fatalf("machine to outside: %v", err) // or the test could not see a leak
	}
	leaks := b.watch()
	for _, addr := range []string{"[2001:2:0:8000::9]:80", "[2001:2:0:9000::9]:80", "198.18.200.1:80", "198.19.0.99:80"} {
		b.unreachable(b.machine, addr)
	}
	// A node that takes the machine for its router.
	for _, gw := range []string{"2001:2:0:3::1", "198.18.3.1"} {
		b.must(b.node.Link.RouteAdd(&netlink.Route{Gw: net.ParseIP(gw)}))
	}
	b.unreachable(b.node, "[2001:db8::1]:80")
	b.unreachable(b.node, "203.0.113.1:80")
	// A cluster that was killed: the wire is gone, and the machine's link with it.
	port, err := b.wire.Link.LinkByName(machinePort)
	b.must(err)
	b.must(b.wire.Link.LinkDel(port))
	for _, addr := range []string{"[2001:2:0:3::2]:80", "[2001:2:0:103::7]:80", "198.18.3.2:80"} {
		b.unreachable(b.machine, addr)
	}
	select {
	case leak := <-leaks:
		t.Error("a packet left by the uplink: ", leak)
	case <-time.After(100 * time.Millisecond):
	}
	b.must(b.machine.Do(func() error { _, err := b.m.Disconnect(); return err }))
	if after := b.routes(); !slices.Equal(before, after) {
		t.Errorf("before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
}

func (b *bench) unreachable(from *testkit.NS, addr string) {
	b.Helper()
	_, err := from.AskWithin(nil, "tcp", addr, 5*time.Second)
	if err == nil || !strings.Contains(err.Error(), "unreachable") && !strings.Contains(err.Error(), "no route to host") {
		b.Errorf("%s to %s: %v, want unreachable", from.Name, addr, err)
	}
}

// TestMachineBelievesNoRouter: a node that advertises itself as a router does
// not give the machine a route.
func TestMachineBelievesNoRouter(t *testing.T) {
	b := newBench(t)
	b.must(b.machine.Do(func() error { return b.m.Connect(b.pid) }))
	if _, err := b.machine.Ask(nil, "tcp", "[2001:2:0:3::2]:80"); err != nil {
		t.Fatal(err)
	}
	advertised := func() bool {
		b.must(b.node.Do(func() error { return advertise("eth0") }))
		time.Sleep(100 * time.Millisecond)
		return slices.ContainsFunc(b.routes(), func(r string) bool { return strings.Contains(r, "proto ra") })
	}
	if advertised() {
		t.Errorf("the machine has a route from a router advertisement:\n%s", strings.Join(b.routes(), "\n"))
	}
	b.machine.Sysctl("ipv6/conf/fairway3/accept_ra", "1") // the counter-check
	if !advertised() {
		t.Error("a machine that believes routers did not see the advertisement either")
	}
}

// advertise sends a router advertisement (RFC 4861, section 4.2) to all nodes.
func advertise(link string) error {
	l, err := net.InterfaceByName(link)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, l.Index); err != nil {
		return err
	}
	msg := []byte{134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0} // a default router for 1,800 s
	to := &unix.SockaddrInet6{Addr: netip.MustParseAddr("ff02::1").As16(), ZoneId: uint32(l.Index)}
	return unix.Sendto(fd, msg, 0, to)
}
