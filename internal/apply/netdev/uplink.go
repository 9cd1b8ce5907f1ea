package netdev

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Uplink is the device by which a node reaches the others.
type Uplink struct {
	Name string
	MTU  int
}

// FindUplink returns the device that has the node's own address ip.
func FindUplink(ip netip.Addr) (Uplink, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return Uplink{}, fmt.Errorf("list links: %w", err)
	}
	for _, link := range links {
		addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
		if err != nil {
			return Uplink{}, fmt.Errorf("list addresses of %s: %w", link.Attrs().Name, err)
		}
		for _, a := range addrs {
			if a.IP.Equal(ip.AsSlice()) {
				return Uplink{Name: link.Attrs().Name, MTU: link.Attrs().MTU}, nil
			}
		}
	}
	return Uplink{}, fmt.Errorf("find uplink: no device has the node's InternalIP %v", ip)
}
