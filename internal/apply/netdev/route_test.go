package netdev

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
)

// TestMain runs the tests in a network namespace of their own, without any
// way out.
func TestMain(m *testing.M) {
	const inside = "FAIRWAY_TEST_IN_NETNS"
	if os.Geteuid() != 0 || os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			fmt.Fprintln(os.Stderr, "enter network namespace:", err)
		}
		os.Exit(1)
	}
}

// uplink makes a device with two addresses, one per family.
func uplink(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network devices")
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = "up0", 1400
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "up1"}))
	link, err := netlink.LinkByName("up0")
	must(t, err)
	t.Cleanup(func() { _ = netlink.LinkDel(link) })
	peer, err := netlink.LinkByName("up1")
	must(t, err)
	must(t, netlink.LinkSetUp(link))
	must(t, netlink.LinkSetUp(peer))
	for _, a := range []string{"192.0.2.1/24", "2001:db8::1/64"} {
		addr, err := netlink.ParseAddr(a)
		must(t, err)
		addr.Flags = 2 // IFA_F_NODAD
		must(t, netlink.AddrAdd(link, addr))
	}
	return "up0"
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func TestRouterApply(t *testing.T) {
	r := Router{Uplink: uplink(t)}
	foreign := &netlink.Route{Dst: ipNet(pfx("198.51.100.0/24")), Type: 7, Protocol: 4} // unreachable, static
	must(t, netlink.RouteAdd(foreign))
	t.Cleanup(func() { _ = netlink.RouteDel(foreign) })
	steps := []struct {
		name string
		want Routes
	}{
		{"from nothing", Routes{
			Peers:       map[netip.Prefix]netip.Addr{pfx("10.244.2.0/24"): netip.MustParseAddr("192.0.2.2"), pfx("fd00:2::/64"): netip.MustParseAddr("2001:db8::2")},
			Unreachable: []netip.Prefix{pfx("10.244.0.0/16"), pfx("fd00::/16")},
		}},
		{"a node changes its address, one comes", Routes{
			Peers: map[netip.Prefix]netip.Addr{pfx("10.244.2.0/24"): netip.MustParseAddr("192.0.2.9"), pfx("fd00:2::/64"): netip.MustParseAddr("2001:db8::9"),
				pfx("10.244.3.0/24"): netip.MustParseAddr("192.0.2.3")},
			Unreachable: []netip.Prefix{pfx("10.244.0.0/16"), pfx("fd00::/16")},
		}},
		{"a route turns unreachable and one the other way", Routes{
			Peers:       map[netip.Prefix]netip.Addr{pfx("10.244.0.0/16"): netip.MustParseAddr("192.0.2.2"), pfx("fd00::/16"): netip.MustParseAddr("2001:db8::2")},
			Unreachable: []netip.Prefix{pfx("10.244.2.0/24"), pfx("fd00:2::/64")},
		}},
		{"nothing", Routes{Peers: map[netip.Prefix]netip.Addr{}}},
	}
	for _, step := range steps {
		for _, again := range []string{"", ", again"} {
			if off, err := r.Apply(t.Context(), step.want); err != nil || len(off) != 0 {
				t.Fatalf("%s%s: %v, off link %v", step.name, again, err, off)
			}
			got, err := r.Read()
			must(t, err)
			slices.SortFunc(got.Unreachable, netip.Prefix.Compare)
			if !reflect.DeepEqual(got, step.want) {
				t.Errorf("%s%s: routes are\n%+v, want\n%+v", step.name, again, got, step.want)
			}
		}
	}
	if routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: foreign.Dst}, netlink.RT_FILTER_DST); err != nil || len(routes) != 1 {
		t.Errorf("the foreign route is gone: %v, %v", routes, err)
	}
}

// TestRouterReportsNodesThatAreNotOnLink: their pods are unreachable instead of
// looked for by the default route.
func TestRouterReportsNodesThatAreNotOnLink(t *testing.T) {
	r := Router{Uplink: uplink(t)}
	off, err := r.Apply(t.Context(), Routes{Peers: map[netip.Prefix]netip.Addr{
		pfx("10.244.2.0/24"): netip.MustParseAddr("203.0.113.2"), pfx("10.244.3.0/24"): netip.MustParseAddr("192.0.2.3"),
		pfx("fd00:2::/64"): netip.MustParseAddr("2001:db8:1::2"), pfx("fd00:3::/64"): netip.MustParseAddr("2001:db8::3")}})
	want := map[netip.Prefix]netip.Addr{pfx("10.244.2.0/24"): netip.MustParseAddr("203.0.113.2"), pfx("fd00:2::/64"): netip.MustParseAddr("2001:db8:1::2")}
	if err != nil || !reflect.DeepEqual(off, want) {
		t.Errorf("off link %v (%v), want %v", off, err, want)
	}
	got, err := r.Read()
	must(t, err)
	slices.SortFunc(got.Unreachable, netip.Prefix.Compare)
	if want := (Routes{
		Peers:       map[netip.Prefix]netip.Addr{pfx("10.244.3.0/24"): netip.MustParseAddr("192.0.2.3"), pfx("fd00:3::/64"): netip.MustParseAddr("2001:db8::3")},
		Unreachable: []netip.Prefix{pfx("10.244.2.0/24"), pfx("fd00:2::/64")},
	}); !reflect.DeepEqual(got, want) {
		t.Errorf("routes %v, want %v", got, want)
	}
	_, err = r.Apply(t.Context(), Routes{})
	must(t, err)
}

func TestFindUplink(t *testing.T) {
	name := uplink(t)
	for _, ip := range []string{"192.0.2.1", "2001:db8::1"} {
		got, err := FindUplink(netip.MustParseAddr(ip))
		if err != nil || got != (Uplink{Name: name, MTU: 1400}) {
			t.Errorf("%s: %+v, %v", ip, got, err)
		}
	}
	if got, err := FindUplink(netip.MustParseAddr("192.0.2.77")); err == nil {
		t.Errorf("found %+v for an address that nobody has", got)
	}
}

func TestSysctls(t *testing.T) {
	root := t.TempDir()
	write := func(name, value string) {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(root, name), []byte(value+"\n"), 0o644))
	}
	for _, s := range sysctls("up0", true) {
		write(s.name, "9")
	}
	write("net/ipv6/conf/up0/accept_ra", "0") // a node that does not listen must not begin to
	must(t, ApplySysctls(root, "up0", true))
	for name, want := range map[string]string{"net/ipv4/ip_forward": "1", "net/ipv4/conf/up0/rp_filter": "0", "net/ipv6/conf/all/forwarding": "1", "net/ipv6/conf/up0/accept_ra": "0"} {
		b, err := os.ReadFile(filepath.Join(root, name))
		if got := strings.TrimSpace(string(b)); err != nil || got != want {
			t.Errorf("%s is %q, want %s (%v)", name, got, want, err)
		}
	}
	write("net/ipv6/conf/up0/accept_ra", "1")
	must(t, ApplySysctls(root, "up0", true))
	if b, _ := os.ReadFile(filepath.Join(root, "net/ipv6/conf/up0/accept_ra")); string(b) != "2" {
		t.Errorf("accept_ra is %q after 1, want 2", b)
	}
	if err := ApplySysctls(t.TempDir(), "up0", false); err == nil {
		t.Error("no error for settings that do not exist")
	}
}
