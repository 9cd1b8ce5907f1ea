package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// lastMetric makes a route the last resort of its destination.
const lastMetric = 1<<32 - 2

// setUp configures the loopback interface and the node's own one in the
// current network namespace.
func (l *Link) setUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set up lo: %w", err)
	}
	link, err := netlink.LinkByName(l.Name)
	if err != nil {
		return fmt.Errorf("find %s: %w", l.Name, err)
	}
	for _, a := range l.Addrs {
		// They were planned, and a node should not wait for them a second:
		// no duplicate address detection.
		if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(a), Flags: unix.IFA_F_NODAD}); err != nil {
			return fmt.Errorf("set address %s of %s: %w", a, l.Name, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set up %s: %w", l.Name, err)
	}
	return l.route(link)
}

// route adds the default routes, if there are any, and closes what must not use
// them. Without a gateway everything of its family that is not on the link is
// unreachable.
func (l *Link) route(link netlink.Link) error {
	for _, gw := range l.Gateways {
		r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: everything(gw), Gw: gw.AsSlice()}
		if err := netlink.RouteReplace(r); err != nil {
			return fmt.Errorf("add default route: %w", err)
		}
	}
	closed := slices.Clone(l.Unreachable)
	for _, all := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		if !slices.ContainsFunc(l.Gateways, func(gw netip.Addr) bool { return gw.Is4() == all.Is4() }) {
			closed = append(closed, netip.PrefixFrom(all, 0))
		}
	}
	for _, p := range closed {
		r := &netlink.Route{Dst: ipNet(p), Type: unix.RTN_UNREACHABLE, Priority: lastMetric}
		err := netlink.RouteReplace(r)
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) { // a kernel without IPv6
			err = nil
		}
		if err != nil {
			return fmt.Errorf("close route to %s: %w", p, err)
		}
	}
	return nil
}

func everything(ip netip.Addr) *net.IPNet { return ipNet(netip.PrefixFrom(ip, 0).Masked()) }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// setSysctls sets what a router of pods needs, in the node's network namespace.
func setSysctls() error {
	for _, kv := range [][2]string{
		{"net/ipv4/ip_forward", "1"},
		{"net/ipv4/conf/all/rp_filter", "0"},
		{"net/ipv4/conf/default/rp_filter", "0"},
		// A network namespace may inherit from the machine that there is no
		// IPv6. Forwarding also means: no route by router advertisements.
		{"net/ipv6/conf/all/disable_ipv6", "0"},
		{"net/ipv6/conf/default/disable_ipv6", "0"},
		{"net/ipv6/conf/all/forwarding", "1"},
	} {
		err := os.WriteFile("/proc/sys/"+kv[0], []byte(kv[1]), 0o644)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
			return err
		}
	}
	return nil
}
