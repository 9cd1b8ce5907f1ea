package main

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"

	"golang.org/x/sys/unix"
)

// What a client says first on a connection.
const (
	askWho  = 'w' // the address that it has reached, and the end
	askEcho = 'e' // every further byte comes back
	askBulk = 'b' // bytes without end
)

// acceptors is how many threads wait for connections: as many as clients do that
// ask at the same time. Calls block, as in the clients: what is measured is the
// path, not a runtime's poller.
const acceptors = 4

// serve answers at all addresses of the namespace, on TCP and UDP.
func serve() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: port})
	}
	if err == nil {
		err = unix.Listen(fd, 4096)
	}
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	failed := make(chan error, 1+acceptors)
	go func() { failed <- serveUDP() }()
	for range acceptors {
		go func() {
			runtime.LockOSThread()
			for {
				c, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
				switch {
				case err == nil:
					answer(c)
				case !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ECONNABORTED):
					failed <- fmt.Errorf("accept: %w", err)
					return
				}
			}
		}()
	}
	return <-failed
}

// answer closes first, so that no client's port is left waiting. What lasts gets
// a thread of its own.
func answer(fd int) {
	patience := unix.Timeval{Sec: 5}
	var b [1]byte
	if unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience) != nil || !readByte(fd, b[:]) {
		unix.Close(fd)
		return
	}
	switch b[0] {
	case askEcho:
		go echo(fd)
	case askBulk:
		go pour(fd)
	default:
		if own, err := unix.Getsockname(fd); err == nil {
			unix.Write(fd, []byte(netip.AddrFrom4(own.(*unix.SockaddrInet4).Addr).String()))
		}
		unix.Close(fd)
	}
}

func readByte(fd int, b []byte) bool {
	n, err := unix.Read(fd, b)
	return n == 1 && err == nil
}

func echo(fd int) {
	runtime.LockOSThread()
	defer unix.Close(fd)
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	for b := make([]byte, 1); readByte(fd, b); {
		if _, err := unix.Write(fd, b); err != nil {
			return
		}
	}
}

func pour(fd int) {
	runtime.LockOSThread()
	defer unix.Close(fd)
	for b := make([]byte, 1<<17); ; {
		if _, err := unix.SendmsgN(fd, b, nil, nil, unix.MSG_NOSIGNAL); err != nil {
			return
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
