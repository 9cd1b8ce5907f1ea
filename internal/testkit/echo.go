package testkit

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// wait bounds everything that a test waits for from the network.
const wait = 5 * time.Second

// Serve runs a TCP and a UDP server at addr inside n until the test ends. Each
// line or datagram is answered with "name client-address line".
func (n *NS) Serve(addr string) {
	n.t.Helper()
	var l net.Listener
	var u net.PacketConn
	err := n.Do(func() (err error) {
		if l, err = net.Listen("tcp", addr); err != nil {
			return err
		}
		u, err = net.ListenPacket("udp", addr)
		return err
	})
	if err != nil {
		n.t.Fatalf("serve at %s in %s: %v", addr, n.Name, err)
	}
	n.t.Cleanup(func() { l.Close(); u.Close() })
	Accept(l, func(c net.Conn) { serveConn(n.Name, c) })
	go func() {
		buf := make([]byte, 65536)
		for {
			k, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			u.WriteTo([]byte(fmt.Sprintf("%s %s %s", n.Name, unmap(from), buf[:k])), from)
		}
	}()
}

func serveConn(name string, c net.Conn) {
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		if _, err := fmt.Fprintf(c, "%s %s %s\n", name, unmap(c.RemoteAddr()), lines.Text()); err != nil {
			return
		}
	}
}

func unmap(a net.Addr) netip.AddrPort {
	ap := netip.MustParseAddrPort(a.String())
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// Conn is a connection to a server that Serve runs.
type Conn struct {
	net.Conn
	in *bufio.Reader
}

// Dial connects from inside n, in cgroup c (nil: none). local may be "", or an
// address to bind.
func (n *NS) Dial(c *Cgroup, network, addr, local string) (*Conn, error) {
	return n.dial(c, network, addr, local, wait)
}

func (n *NS) dial(c *Cgroup, network, addr, local string, timeout time.Duration) (*Conn, error) {
	d := net.Dialer{Timeout: timeout}
	if local != "" {
		ap := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(local))
		d.LocalAddr = ap
		if strings.HasPrefix(network, "udp") {
			d.LocalAddr = (*net.UDPAddr)(ap)
		}
		d.Control = shareAddr
	}
	var conn net.Conn
	err := c.Do(func() error {
		return n.Do(func() (err error) { conn, err = d.Dial(network, addr); return err })
	})
	if err != nil {
		return nil, err
	}
	return &Conn{conn, bufio.NewReader(conn)}, nil
}

// shareAddr lets several connections to different servers share one local port.
func shareAddr(_, _ string, c syscall.RawConn) error {
	var err error
	control := func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) }
	return errors.Join(c.Control(control), err)
}

// Answer is what a server saw.
type Answer struct {
	Server string
	Client netip.AddrPort
	Text   string
}

// Ask sends a line and reads the answer.
func (c *Conn) Ask(text string) (Answer, error) { return c.AskWithin(text, wait) }

// AskWithin is Ask with a patience of one's own.
func (c *Conn) AskWithin(text string, timeout time.Duration) (Answer, error) {
	c.SetDeadline(time.Now().Add(timeout))
	if _, err := fmt.Fprintln(c, text); err != nil {
		return Answer{}, err
	}
	line, err := c.in.ReadString('\n')
	if err != nil {
		return Answer{}, err
	}
	return ParseAnswer(line)
}

// ParseAnswer reads what a server of Serve says.
func ParseAnswer(line string) (Answer, error) {
	var a Answer
	var client string
	if _, err := fmt.Sscan(line, &a.Server, &client, &a.Text); err != nil {
		return a, fmt.Errorf("parse answer %q: %w", line, err)
	}
	var err error
	a.Client, err = netip.ParseAddrPort(client)
	return a, err
}

// Ask dials, asks once and closes.
func (n *NS) Ask(c *Cgroup, network, addr string) (Answer, error) {
	return n.AskWithin(c, network, addr, wait)
}

// AskWithin is Ask with a patience of one's own, for what is to fail.
func (n *NS) AskWithin(c *Cgroup, network, addr string, timeout time.Duration) (Answer, error) {
	conn, err := n.dial(c, network, addr, "", timeout)
	if err != nil {
		return Answer{}, err
	}
	defer conn.Close()
	return conn.AskWithin("hello", timeout)
}

// UDP is an unconnected socket.
type UDP struct{ net.PacketConn }

// ListenUDP makes one at addr inside n, in cgroup c (nil: none).
func (n *NS) ListenUDP(c *Cgroup, addr string) (*UDP, error) {
	var u net.PacketConn
	err := c.Do(func() error {
		network := "udp4"
		if netip.MustParseAddrPort(addr).Addr().Is6() {
			network = "udp6"
		}
		return n.Do(func() (err error) { u, err = net.ListenPacket(network, addr); return err })
	})
	return &UDP{u}, err
}

// Ask sends a datagram to addr and waits for the answer, which must come from there.
func (u *UDP) Ask(addr, text string) (Answer, error) {
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr))
	u.SetDeadline(time.Now().Add(wait))
	if _, err := u.WriteTo([]byte(text), to); err != nil {
		return Answer{}, err
	}
	buf := make([]byte, 2048)
	n, from, err := u.ReadFrom(buf)
	if err != nil {
		return Answer{}, err
	}
	if from.String() != to.String() {
		return Answer{}, fmt.Errorf("the answer comes from %v, not from %v", from, to)
	}
	return ParseAnswer(string(buf[:n]))
}
