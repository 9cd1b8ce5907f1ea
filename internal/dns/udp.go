package dns

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sizes of a batch. A query is a question and an OPT record; one that is
// larger than maxQuery is no query that anybody means.
const (
	batch    = 32
	maxQuery = 1536
	maxReply = 1536
	oobLen   = 64
)

// maxWait is how long a reader waits before it looks whether to go on. Waking it
// by shutdown(2) would end the socket for those as well that it is left to.
const maxWait = 100 * time.Millisecond

// yieldAfter is how long a reader goes on before it lets the runtime schedule. After 10 ms
// the runtime takes its processor away, also in a system call, and the monitor
// that does so looks every 20 µs for a while after: a fifteenth of what a server
// of 20,000 questions a second uses.
const yieldAfter = 8 * time.Millisecond

// mmsghdr is the kernel's struct mmsghdr.
type mmsghdr struct {
	unix.Msghdr
	n uint32
}

// socket reads and writes many packets with one system call each. Its reader
// blocks in the kernel rather than in the runtime's poller: at a moderate rate,
// where each packet wakes somebody, that is two system calls per query instead
// of five.
type socket struct {
	fd   int
	addr netip.AddrPort

	in, out   [batch]mmsghdr
	inV, outV [batch]unix.Iovec
	names     [batch]unix.RawSockaddrInet6 // large enough for both families
	oob       [batch][oobLen]byte
	inB, outB [batch][]byte
	used      int // how many of in the kernel has written to

	mu     sync.RWMutex // held for reading while fd is used by anybody but the reader
	closed bool
}

// newSocket opens a UDP socket that shares its port with others. On a wildcard
// address the kernel tells each packet's destination, and the reply leaves from
// there: a client drops others.
func newSocket(addr netip.AddrPort) (*socket, error) {
	family := unix.AF_INET
	if addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s := socketOf(fd)
	s.addr = addr
	if err := s.setUp(); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return s, nil
}

// socketOf makes a socket of a file descriptor that has been one before.
func socketOf(fd int) *socket {
	s := &socket{fd: fd, used: batch}
	for i := range batch {
		s.inB[i], s.outB[i] = make([]byte, maxQuery), make([]byte, 0, maxReply)
		s.inV[i] = unix.Iovec{Base: &s.inB[i][0]}
		s.inV[i].SetLen(maxQuery)
		s.in[i].Iov = &s.inV[i]
		s.in[i].SetIovlen(1)
		s.in[i].Name = (*byte)(unsafe.Pointer(&s.names[i]))
	}
	return s
}

func (s *socket) setUp() error {
	set := func(level, option, value int) error {
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(s.fd, level, option, value))
	}
	if err := set(unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return err
	}
	if err := set(unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20); err != nil { // the kernel caps it at rmem_max
		return err
	}
	wait := unix.NsecToTimeval(maxWait.Nanoseconds())
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	a := s.addr.Addr()
	if a.Is4() {
		if a.IsUnspecified() {
			if err := set(unix.IPPROTO_IP, unix.IP_PKTINFO, 1); err != nil {
				return err
			}
		}
		return os.NewSyscallError("bind", unix.Bind(s.fd, &unix.SockaddrInet4{Port: int(s.addr.Port()), Addr: a.As4()}))
	}
	if a.IsUnspecified() {
		if err := set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
			return err
		}
		if err := set(unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1); err != nil {
			return err
		}
	}
	return os.NewSyscallError("bind", unix.Bind(s.fd, &unix.SockaddrInet6{Port: int(s.addr.Port()), Addr: a.As16(), ZoneId: zoneIndex(a)}))
}

// zoneIndex is the number of a link-local address's interface, 0 for others.
func zoneIndex(a netip.Addr) uint32 {
	if ifi, err := net.InterfaceByName(a.Zone()); a.Zone() != "" && err == nil {
		return uint32(ifi.Index)
	}
	return 0
}

// mmsg is recvmmsg or sendmmsg; it waits.
func mmsg(trap uintptr, fd int, m []mmsghdr, flags uintptr) (int, error) {
	for {
		n, _, e := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), flags, 0, 0)
		switch e {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, e
		}
	}
}

// read waits for packets, but not longer than maxWait, takes all that are there,
// and returns how many.
func (s *socket) read() (int, error) { return s.receive(unix.MSG_WAITFORONE) }

func (s *socket) receive(flags uintptr) (int, error) {
	for i := range s.used {
		s.in[i].Namelen = unix.SizeofSockaddrInet6
		s.in[i].Control = &s.oob[i][0]
		s.in[i].SetControllen(oobLen)
	}
	n, err := mmsg(unix.SYS_RECVMMSG, s.fd, s.in[:], flags)
	s.used = min(n+1, batch) // it has begun with one more
	if err == unix.EAGAIN {
		return 0, nil
	}
	return n, err
}

// packet is the i-th packet of the batch, nil if it was cut off.
func (s *socket) packet(i int) []byte {
	if s.in[i].Flags&unix.MSG_TRUNC != 0 {
		return nil
	}
	return s.inB[i][:s.in[i].n]
}

// put makes b the k-th reply, to the sender of the i-th packet.
func (s *socket) put(k, i int, b []byte) {
	s.outV[k].Base = &b[0]
	s.outV[k].SetLen(len(b))
	m := &s.out[k]
	m.Msghdr = unix.Msghdr{Name: s.in[i].Name, Namelen: s.in[i].Namelen, Iov: &s.outV[k]}
	m.SetIovlen(1)
	if n := int(s.in[i].Controllen); n > 0 {
		clearInterface(s.oob[i][:n])
		m.Control = &s.oob[i][0]
		m.SetControllen(n)
	}
}

// clearInterface takes the interface out of a packet info: the source address
// is to be the one that was asked, the way out is the routing table's business.
func clearInterface(oob []byte) {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
	data := oob[unix.CmsgLen(0):]
	switch {
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		(*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0])).Ifindex = 0
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		p := (*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0]))
		if a := netip.AddrFrom16(p.Addr); !a.IsLinkLocalUnicast() {
			p.Ifindex = 0
		}
	}
}

// write sends the first n replies.
func (s *socket) write(n int) {
	for sent := 0; sent < n; {
		k, err := mmsg(unix.SYS_SENDMMSG, s.fd, s.out[sent:n], 0)
		if err != nil {
			k = 1 // this client cannot be reached; the others can
		}
		sent += k
	}
}

// later returns a function that sends one reply to the sender of the i-th
// packet after the batch is gone.
func (s *socket) later(i int) func([]byte) {
	to, size := s.names[i], s.in[i].Namelen
	var oob []byte
	if n := int(s.in[i].Controllen); n > 0 {
		clearInterface(s.oob[i][:n])
		oob = append([]byte(nil), s.oob[i][:n]...)
	}
	return func(b []byte) {
		v := unix.Iovec{Base: &b[0]}
		v.SetLen(len(b))
		m := [1]mmsghdr{{Msghdr: unix.Msghdr{Name: (*byte)(unsafe.Pointer(&to)), Namelen: size, Iov: &v}}}
		m[0].SetIovlen(1)
		if len(oob) > 0 {
			m[0].Control = &oob[0]
			m[0].SetControllen(len(oob))
		}
		s.mu.RLock()
		defer s.mu.RUnlock()
		if !s.closed {
			_, _ = mmsg(unix.SYS_SENDMMSG, s.fd, m[:], 0) // a client that has gone is no error
		}
	}
}

// client is the sender of the i-th packet.
func (s *socket) client(i int) netip.Addr {
	sa := &s.names[i]
	if sa.Family == unix.AF_INET {
		return netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(sa)).Addr)
	}
	return netip.AddrFrom16(sa.Addr).Unmap()
}

// close closes the socket; its reader must have ended.
func (s *socket) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		unix.Close(s.fd)
	}
}

// serveUDP answers one socket's packets in batches. At the end it takes what
// waits in the socket, but not for ever if the packets do not end.
func (s *Server) serveUDP(sock *socket) {
	k := &worker{s: s, stats: s.stats.reader("udp")}
	yielded := s.now()
	for left := 64; left > 0; {
		n, err := sock.read()
		if err != nil {
			// Of an earlier reply, or for want of memory; a socket that is
			// broken for good must not be asked as fast as we can.
			k.stats.readErrors.Add(1)
			if s.ending.Load() {
				return
			}
			time.Sleep(time.Millisecond)
			continue
		}
		came := s.now()
		if came-yielded > yieldAfter {
			yielded = came
			runtime.Gosched()
		}
		out := 0
		for i := range n {
			b := k.packet(sock, i, out, came)
			if b != nil {
				sock.put(out, i, b)
				out++
			}
		}
		if out > 0 {
			sock.write(out)
			k.stats.duration.observe(s.now()-came, uint64(out))
		}
		if s.ending.Load() {
			if n < batch {
				return
			}
			left--
		}
	}
}

// packet answers the i-th packet into the buffer of the out-th reply.
func (k *worker) packet(sock *socket, i, out int, came time.Duration) []byte {
	pkt := sock.packet(i)
	if pkt == nil {
		k.oversized()
		return nil
	}
	what, b := k.answer(pkt, sock.outB[out], 0, sock.client(i), came)
	if what == wait {
		b = k.resume(pkt, 0, sock.later(i))
	}
	return b
}
