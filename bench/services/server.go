package main

import (
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// What a client says first on a connection.
const (
	askWho  = 'w' // the address that it has reached, and the end
	askEcho = 'e' // every further byte comes back
	askBulk = 'b' // bytes without end
)

// serve answers at all addresses of the namespace, on TCP and UDP.
func serve() error {
	l, err := net.Listen("tcp4", listenAll)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- serveUDP() }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				failed <- err
				return
			}
			go answer(c.(*net.TCPConn))
		}
	}()
	return <-failed
}

// answer closes first, so that no client's port is left waiting.
func answer(c *net.TCPConn) {
	defer c.Close()
	var b [1]byte
	if _, err := c.Read(b[:]); err != nil {
		return
	}
	switch b[0] {
	case askWho:
		io.WriteString(c, c.LocalAddr().(*net.TCPAddr).IP.String())
	case askEcho:
		for {
			if _, err := c.Read(b[:]); err != nil {
				return
			}
			if _, err := c.Write(b[:]); err != nil {
				return
			}
		}
	case askBulk:
		for buf := make([]byte, 1<<17); ; {
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
	}
}

// serveUDP sends each datagram back from the address that it came to.
func serveUDP() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1); err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port}); err != nil {
		return err
	}
	buf, oob := make([]byte, 64), make([]byte, unix.CmsgSpace(unix.SizeofInet4Pktinfo))
	for {
		n, m, _, from, err := unix.Recvmsg(fd, buf, oob, 0)
		if err != nil {
			return err
		}
		if m >= unix.CmsgLen(4) { // by whatever device the route says
			clear(oob[unix.CmsgLen(0):unix.CmsgLen(4)])
		}
		if err := unix.Sendmsg(fd, buf[:n], oob[:m], from, 0); err != nil {
			return err
		}
	}
}
