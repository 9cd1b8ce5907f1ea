package testkit

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Ping sends one echo request to addr from inside n and waits for the reply.
// It uses the kernel's ping sockets, so that the id is the kernel's business.
func (n *NS) Ping(addr string) error {
	a := netip.MustParseAddr(addr)
	n.Sysctl("ipv4/ping_group_range", "0 0")
	return n.Do(func() error {
		family, proto, request := unix.AF_INET, unix.IPPROTO_ICMP, byte(8)
		var to unix.Sockaddr
		if a.Is4() {
			to = &unix.SockaddrInet4{Addr: a.As4()}
		} else {
			family, proto, request = unix.AF_INET6, unix.IPPROTO_ICMPV6, 128
			to = &unix.SockaddrInet6{Addr: a.As16()}
		}
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, proto)
		if err != nil {
			return fmt.Errorf("open ping socket: %w", err)
		}
		defer unix.Close(fd)
		timeout := unix.NsecToTimeval(int64(wait))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
			return err
		}
		if err := unix.Sendto(fd, []byte{request, 0, 0, 0, 0, 0, 0, 1, 'h', 'i'}, 0, to); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		_, _, err = unix.Recvfrom(fd, make([]byte, 64), 0)
		return err
	})
}
