package dns

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
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

// mmsghdr is the kernel's struct mmsghdr.
type mmsghdr struct {
	unix.Msghdr
	n uint32
}

// socket reads and writes many packets with one system call each. The Go
// runtime's poller waits for it; x/net's batches would allocate an address per packet.
type socket struct {
	conn *net.UDPConn
	raw  syscall.RawConn

	in, out    [batch]mmsghdr
	inV, outV  [batch]unix.Iovec
	names      [batch]unix.RawSockaddrInet6 // large enough for both families
	oob        [batch][oobLen]byte
	inB, outB  [batch][]byte
	got, sent  int
	err        error
	recv, send func(fd uintptr) bool // made once, so that a call makes no closure
}

// newSocket prepares c. On a wildcard address the kernel tells each packet's
// destination, and the reply leaves from there: a client drops others.
func newSocket(c *net.UDPConn, wildcard bool) (*socket, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &socket{conn: c, raw: raw}
	if wildcard {
		if err := packetInfo(raw, c.LocalAddr()); err != nil {
			return nil, err
		}
	}
	if err := c.SetReadBuffer(4 << 20); err != nil { // best effort: the kernel caps it at rmem_max
		return nil, err
	}
	for i := range batch {
		s.inB[i], s.outB[i] = make([]byte, maxQuery), make([]byte, 0, maxReply)
		s.inV[i] = unix.Iovec{Base: &s.inB[i][0]}
		s.inV[i].SetLen(maxQuery)
		s.in[i].Iov = &s.inV[i]
		s.in[i].SetIovlen(1)
		s.in[i].Name = (*byte)(unsafe.Pointer(&s.names[i]))
	}
	s.recv = func(fd uintptr) bool {
		s.got, s.err = mmsg(unix.SYS_RECVMMSG, fd, s.in[:])
		return s.err != unix.EAGAIN
	}
	s.send = func(fd uintptr) bool {
		for s.sent < s.got {
			n, err := mmsg(unix.SYS_SENDMMSG, fd, s.out[s.sent:s.got])
			if err == unix.EAGAIN {
				return false
			}
			if err != nil {
				n = 1 // this client cannot be reached; the others can
			}
			s.sent += n
		}
		return true
	}
	return s, nil
}

func mmsg(trap, fd uintptr, m []mmsghdr) (int, error) {
	for {
		n, _, e := unix.Syscall6(trap, fd, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), unix.MSG_DONTWAIT, 0, 0)
		switch e {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, e
		}
	}
}

func packetInfo(raw syscall.RawConn, local net.Addr) error {
	var err error
	six := local.(*net.UDPAddr).IP.To4() == nil
	if e := raw.Control(func(fd uintptr) {
		if six {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		} else {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		}
	}); e != nil {
		return e
	}
	return err
}

// read fills the batch and returns how many packets came.
func (s *socket) read() (int, error) {
	for i := range batch {
		s.in[i].Namelen = unix.SizeofSockaddrInet6
		s.in[i].Control = &s.oob[i][0]
		s.in[i].SetControllen(oobLen)
	}
	if err := s.raw.Read(s.recv); err != nil {
		return 0, err
	}
	return s.got, s.err
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
func (s *socket) write(n int) error {
	s.got, s.sent = n, 0
	return s.raw.Write(s.send)
}

// later returns a function that sends one reply to the sender of the i-th
// packet after the batch is gone.
func (s *socket) later(i int) func([]byte) {
	to := s.peer(i)
	var oob []byte
	if n := int(s.in[i].Controllen); n > 0 {
		clearInterface(s.oob[i][:n])
		oob = append([]byte(nil), s.oob[i][:n]...)
	}
	return func(b []byte) {
		_, _, _ = s.conn.WriteMsgUDPAddrPort(b, oob, to) // a client that has gone is no error
	}
}

func (s *socket) peer(i int) netip.AddrPort {
	sa := &s.names[i]
	port := func(p *uint16) uint16 { b := (*[2]byte)(unsafe.Pointer(p)); return uint16(b[0])<<8 | uint16(b[1]) }
	if sa.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), port(&v4.Port))
	}
	a := netip.AddrFrom16(sa.Addr)
	if sa.Scope_id != 0 {
		if ifi, err := net.InterfaceByIndex(int(sa.Scope_id)); err == nil {
			a = a.WithZone(ifi.Name)
		}
	}
	return netip.AddrPortFrom(a, port(&sa.Port))
}

// stop makes read return.
func (s *socket) stop() { _ = s.conn.SetReadDeadline(time.Unix(1, 0)) }

// serveUDP answers one socket's packets in batches.
func (s *Server) serveUDP(sock *socket) error {
	k := &worker{s: s, stats: s.stats.reader("udp")}
	for {
		n, err := sock.read()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), closed(err):
			return nil
		case err != nil:
			// An ICMP error about an earlier reply is reported here.
			k.stats.readErrors.Add(1)
			continue
		}
		out := 0
		for i := range n {
			b := k.packet(sock, i, out)
			if b != nil {
				sock.put(out, i, b)
				out++
			}
		}
		if out > 0 {
			if err := sock.write(out); err != nil && !closed(err) {
				k.stats.readErrors.Add(1)
			}
		}
	}
}

// packet answers the i-th packet into the buffer of the out-th reply.
func (k *worker) packet(sock *socket, i, out int) []byte {
	pkt := sock.packet(i)
	what, b := k.answer(pkt, sock.outB[out], 0)
	if what == wait {
		b = k.resume(pkt, 0, sock.later(i))
	}
	return b
}
