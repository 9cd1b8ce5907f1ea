package bpf

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// groups are the multicast groups in which neighbours ask for the announced
// IPv6 addresses (RFC 4291 section 2.7.1). Being a member makes the device take
// such frames in and tells switches that look into MLD. It ends with the
// process: until the next one, those who know the address keep it, as they ask
// by unicast (RFC 4861 section 7.3.3).
type groups struct {
	fd     int
	joined map[[16]byte]bool
}

func newGroups() (*groups, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open socket for multicast groups: %w", err)
	}
	return &groups{fd: fd, joined: map[[16]byte]bool{}}, nil
}

func (g *groups) close() { unix.Close(g.fd) }

// apply makes the device a member of the groups of vips and of no others.
func (g *groups) apply(ifindex int, vips []netip.Addr) error {
	want := map[[16]byte]bool{}
	for _, a := range vips {
		if a.Is6() {
			want[solicitedNode(a)] = true
		}
	}
	var errs []error
	set := func(group [16]byte, option int) error {
		m := &unix.IPv6Mreq{Multiaddr: group, Interface: uint32(ifindex)}
		err := unix.SetsockoptIPv6Mreq(g.fd, unix.IPPROTO_IPV6, option, m)
		if err != nil {
			err = fmt.Errorf("change membership of %v: %w", netip.AddrFrom16(group), err)
		}
		errs = append(errs, err)
		return err
	}
	for group := range want {
		if !g.joined[group] && set(group, unix.IPV6_JOIN_GROUP) == nil {
			g.joined[group] = true
		}
	}
	for group := range g.joined {
		if !want[group] {
			set(group, unix.IPV6_LEAVE_GROUP) // it fails if the device is gone, and the membership with it
			delete(g.joined, group)
		}
	}
	return errors.Join(errs...)
}

func solicitedNode(a netip.Addr) [16]byte {
	g, ip := netip.MustParseAddr("ff02::1:ff00:0").As16(), a.As16()
	copy(g[13:], ip[13:])
	return g
}
