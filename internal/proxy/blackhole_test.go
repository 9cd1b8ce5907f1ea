package proxy

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fullListener listens on loopback with the smallest backlog and never accepts.
func fullListener(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	in4 := sa.(*unix.SockaddrInet4)
	return netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), uint16(in4.Port))
}

// blackHole returns an address on loopback that does not answer.
func blackHole(t *testing.T) netip.AddrPort {
	t.Helper()
	addr := fullListener(t)
	for range 8 { // fill what the kernel accepts on its own
		if c, err := net.DialTimeout("tcp", addr.String(), 100*time.Millisecond); err == nil {
			t.Cleanup(func() { c.Close() })
		} else {
			return addr
		}
	}
	t.Fatal("the listener's backlog does not fill")
	return addr
}
