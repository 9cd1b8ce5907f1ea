package dns

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// relay takes what comes in the sockets of a server that has ended to others, and their
// answers back.
type relay struct {
	k      *Keeper
	ctx    context.Context
	cancel context.CancelFunc
	slots  chan struct{}  // a token per question under way
	ready  sync.WaitGroup // readers of sockets
}

const (
	relayed     = 256                   // questions under way at once: what any server's socket has room for
	relayTry    = time.Second           // for an answer of one server
	relayTries  = 3                     // in less than the 5 s that clients wait
	relayLook   = 20 * time.Millisecond // for the relay's end, and for others where there were none
	relayStream = 10 * time.Second      // a connection's longest silence
)

// relay begins to read fds, which stay the caller's.
func (k *Keeper) relay(fds []int) *relay {
	r := &relay{k: k, slots: make(chan struct{}, relayed)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	for _, fd := range fds {
		switch kind, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); kind {
		case unix.SOCK_DGRAM:
			r.ready.Go(func() { r.packets(fd) })
		case unix.SOCK_STREAM:
			r.ready.Go(func() { r.connections(fd) })
		}
	}
	return r
}

// end returns when the sockets are read no more. Answers that are under way
// still go out: those of packets by sockets of their own.
func (r *relay) end() {
	r.cancel()
	r.ready.Wait()
}

// packets relays questions over UDP.
func (r *relay) packets(fd int) {
	mine, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return
	}
	sock := socketOf(mine)
	var under sync.WaitGroup
	defer func() {
		go func() { under.Wait(); sock.close() }()
	}()
	for r.ctx.Err() == nil {
		others := r.k.Others()
		if len(others) == 0 { // what comes waits in the socket
			time.Sleep(relayLook)
			continue
		}
		n, err := sock.readNow(relayLook)
		if err != nil {
			return
		}
		for i := range n {
			pkt := sock.packet(i)
			if len(pkt) < 12 {
				continue
			}
			pkt, answer := append([]byte(nil), pkt...), sock.later(i)
			r.slots <- struct{}{} // at most as long as one exchange takes
			under.Go(func() {
				defer func() { <-r.slots }()
				if b := r.exchange(pkt, others); b != nil {
					answer(b)
					r.k.Relayed.Add(1)
				} else {
					r.k.Lost.Add(1)
				}
			})
		}
	}
}

// exchange asks others in turn, from one of them on; nil: none answered.
func (r *relay) exchange(pkt []byte, others []netip.AddrPort) []byte {
	first := rand.IntN(len(others))
	for try := range relayTries {
		if b, err := askOne(pkt, others[(first+try)%len(others)]); err == nil {
			return b
		}
	}
	return nil
}

// askOne accepts the answer of the asked server, with the question's ID.
func askOne(pkt []byte, server netip.AddrPort) ([]byte, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(relayTry))
	if _, err := conn.Write(pkt); err != nil {
		return nil, err
	}
	for buf := make([]byte, 4096); ; {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		if n >= 12 && buf[0] == pkt[0] && buf[1] == pkt[1] && buf[2]&0x80 != 0 {
			return buf[:n], nil
		}
	}
}

// connections relays those over TCP. They go on after the relay's end.
func (r *relay) connections(fd int) {
	mine, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(mine), "tcp")
	l, err := net.FileListener(f)
	f.Close()
	if err != nil {
		return
	}
	// Closing a listener of a shared socket wakes nobody else.
	stop := context.AfterFunc(r.ctx, func() { l.Close() })
	defer stop()
	for {
		for len(r.k.Others()) == 0 && r.ctx.Err() == nil {
			time.Sleep(relayLook)
		}
		c, err := l.Accept()
		if err != nil {
			return
		}
		go r.connection(c.(*net.TCPConn))
	}
}

func (r *relay) connection(client *net.TCPConn) {
	defer client.Close()
	others := r.k.Others()
	if len(others) == 0 {
		return
	}
	c, err := net.DialTimeout("tcp", others[rand.IntN(len(others))].String(), relayTry)
	if err != nil {
		return
	}
	server := c.(*net.TCPConn)
	defer server.Close()
	for _, c := range []*net.TCPConn{client, server} {
		_ = c.SetDeadline(time.Now().Add(relayStream))
	}
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.CloseWrite()
		close(done)
	}()
	_, _ = io.Copy(client, server)
	_ = client.CloseWrite()
	<-done
}

// readNow is read for a socket that may have several readers: it waits at most
// patience, and not in the kernel's queue of those who receive.
func (s *socket) readNow(patience time.Duration) (int, error) {
	p := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(p, int(patience.Milliseconds())); n == 0 || err == unix.EINTR {
		return 0, nil
	} else if err != nil {
		return 0, os.NewSyscallError("poll", err)
	}
	n, err := s.receive(unix.MSG_DONTWAIT)
	if err == unix.ECONNREFUSED { // of an earlier answer
		return 0, nil
	}
	return n, err
}
