package proxy

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// shared lets another process of the same user listen on the same port, so that the
// next gateway can begin before this one ends.
var shared = net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
	err := error(nil)
	if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }); e != nil {
		return e
	}
	return err
}}

// handshakes is how long connections that have begun may take to be established.
const handshakes = 100 * time.Millisecond

// divert sends new connections to the process that listens beside this one, if there
// is one. Each listener of a SO_REUSEPORT group has a queue of its own, and closing it
// resets what is in there; so it has to get nothing new for a while before. The group
// is given a program that chooses its second member, the younger one. While there is
// no such member the kernel ignores the choice: alone, we go on accepting, and so does
// the other one once we have gone.
func (s *Server) divert() {
	second := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 1}}
	program := unix.SockFprog{Len: 1, Filter: &second[0]}
	for name, l := range s.listeners {
		tcp, ok := l.(*net.TCPListener)
		if !ok {
			continue
		}
		raw, err := tcp.SyscallConn()
		if err == nil {
			_ = raw.Control(func(fd uintptr) {
				err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &program)
			})
		}
		if err != nil {
			s.opts.Log.Debug("hand listener over", "listener", name, "err", err)
		}
	}
}
