package proxy

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// listen opens a port that another process of the same user may listen on, too, so
// that the next gateway can begin before this one ends.
func listen(addr string) (*net.TCPListener, error) {
	config := net.ListenConfig{Control: share}
	config.SetMultipathTCP(false) // whose sockets take no program (see divert)
	l, err := config.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// share lets others listen at the same address.
func share(_, _ string, c syscall.RawConn) (err error) {
	if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }); e != nil {
		return e
	}
	return err
}

// listenPacket is listen for UDP. There are no connections that the kernel could tell
// apart, so the group gets a program at once: it says which datagrams are for its first
// member, the older process, and which for its second, this one. While we are alone
// there is no second, and the kernel gives us all.
func listenPacket(addr string, program []unix.SockFilter) (*net.UDPConn, error) {
	config := net.ListenConfig{Control: share}
	c, err := config.ListenPacket(context.Background(), "udp", addr)
	if err != nil {
		return nil, err
	}
	conn := c.(*net.UDPConn)
	if err := control(conn, func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	}); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("share port with the next process: %w", err)
	}
	return conn, nil
}

// takeAll gives every datagram to the younger process.
func takeAll() []unix.SockFilter { return []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 1}} }

// How long connections that have begun may take to be established, and those that
// are established to be accepted, before a listener is closed.
const (
	handshakes = 100 * time.Millisecond
	acceptance = time.Second
)

// divert sends new connections to the process that listens beside this one, if there
// is one. Each listener of a SO_REUSEPORT group has a queue of its own, and closing it
// resets what is in there, and the handshakes that were begun with it; so it has to get
// nothing new for a while before. The group is given a program that chooses its second
// member, the younger one. While there is no such member the kernel ignores the choice:
// alone, we go on accepting, and so does the other one once we have gone. (If it is the
// younger one that ends, it is chosen until it has closed, and what comes in the moment
// between its last look into the queue and that is reset.)
func (s *Server) divert(listeners []*net.TCPListener) {
	second := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 1}}
	program := unix.SockFprog{Len: 1, Filter: &second[0]}
	for _, l := range listeners {
		err := control(l, func(fd int) error {
			return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &program)
		})
		if err != nil {
			s.opts.Log.Warn("hand listener over: connections that begin now may be reset", "listener", l.Addr().String(), "err", err)
		}
	}
}

// settle waits until every connection that was established has been accepted: on a
// busy machine that is later than the end of its handshake.
func (s *Server) settle(listeners []*net.TCPListener) {
	for until := time.Now().Add(acceptance); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		n := uint32(0)
		for _, l := range listeners {
			queued, err := queued(l)
			if err != nil {
				s.opts.Log.Warn("look into the queue of a listener", "listener", l.Addr().String(), "err", err)
			}
			n += queued
		}
		if n == 0 {
			return
		}
	}
}

// queued is how many connections wait to be accepted.
func queued(l *net.TCPListener) (n uint32, err error) {
	err = control(l, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return fmt.Errorf("getsockopt TCP_INFO: %w", err)
		}
		n = info.Unacked // which of a listener is this (tcp_get_info)
		return nil
	})
	return n, err
}

// control does something with the descriptor of l.
func control(l syscall.Conn, do func(fd int) error) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = do(int(fd)) }); e != nil {
		return e
	}
	return err
}

// ports are all the listeners for TCP.
func (s *Server) ports() []*net.TCPListener {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*net.TCPListener
	for _, l := range s.listeners {
		all = append(all, l)
	}
	for _, l := range s.layer4 {
		if l.tcp != nil {
			all = append(all, l.tcp)
		}
	}
	return all
}
