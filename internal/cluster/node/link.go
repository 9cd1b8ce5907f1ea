package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

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
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(l.Addr)}); err != nil {
		return fmt.Errorf("set address of %s: %w", l.Name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set up %s: %w", l.Name, err)
	}
	return l.route(link)
}

// route adds the default route, if there is one, and closes what must not use
// it. Without a gateway everything that is not on the link is unreachable.
func (l *Link) route(link netlink.Link) error {
	closed := l.Unreachable
	if l.Gateway.IsValid() {
		gw := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: l.Gateway.AsSlice()}
		if err := netlink.RouteReplace(gw); err != nil {
			return fmt.Errorf("add default route: %w", err)
		}
	} else {
		closed = append([]netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}, closed...)
	}
	for _, p := range closed {
		r := &netlink.Route{Dst: ipNet(p), Type: unix.RTN_UNREACHABLE, Priority: lastMetric}
		if err := netlink.RouteReplace(r); err != nil {
			return fmt.Errorf("close route to %s: %w", p, err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// setSysctls sets what a router of pods needs, in the node's network namespace.
func setSysctls() error {
	for _, kv := range [][2]string{
		{"net/ipv4/ip_forward", "1"},
		{"net/ipv4/conf/all/rp_filter", "0"},
		{"net/ipv4/conf/default/rp_filter", "0"},
		{"net/ipv6/conf/all/forwarding", "1"},
	} {
		err := os.WriteFile("/proc/sys/"+kv[0], []byte(kv[1]), 0o644)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
			return err
		}
	}
	return nil
}
