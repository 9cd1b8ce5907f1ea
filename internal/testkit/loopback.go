package testkit

import (
	"net"
	"net/netip"
	"testing"
)

// Loopback opens one port of 127.0.0.1 for TCP and for UDP, until the test ends.
func Loopback(t testing.TB) (net.Listener, net.PacketConn, netip.AddrPort) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	pc, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return l, pc, l.Addr().(*net.TCPAddr).AddrPort()
}

// Accept lets serve have each connection of l, all at once, and closes it thereafter.
func Accept(l net.Listener, serve func(net.Conn)) {
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
}
