package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/testkit"
)

// Associations of SCTP by every kind of client, where the kernel has such sockets.
func TestSCTPSockets(t *testing.T) {
	fd, err := sctpSocket(netip.IPv4Unspecified())
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ESOCKTNOSUPPORT) {
		t.Skip("this kernel has no SCTP sockets (modprobe sctp)")
	} else if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	w := newWorld(t)
	w.node1.Route("10.96.0.0/16", "198.51.100.2")
	w.node1.Route("fd00:96::/112", "2001:db8::2")
	pods := []*testkit.Pod{w.a1, w.a2, w.b1}
	for _, p := range pods {
		for _, a := range p.IPs {
			w.serveSCTP(p.NS, netip.AddrPortFrom(a, 8080))
		}
	}
	svc := &model.Service{Name: model.Name{Namespace: "test", Name: "web"}, Type: model.NodePort, ClusterIPs: addrsOf("10.96.0.1", "fd00:96::1"),
		Ports: []model.ServicePort{{Name: "tcp", Protocol: model.SCTP, Port: 80, NodePort: 30080}}}
	for family, vip := range svc.ClusterIPs {
		for _, backend := range pods {
			w.setSCTP(svc, backend.IPs[family])
			for _, c := range []struct {
				from  *testkit.NS
				local netip.Addr
				to    netip.AddrPort
			}{
				{w.a1.NS, w.a1.IPs[family], netip.AddrPortFrom(vip, 80)},
				{w.node1.NS, w.node1.Addrs[family], netip.AddrPortFrom(vip, 80)},
				{w.client.NS, w.client.Addrs[family], netip.AddrPortFrom(w.node1.Addrs[family], 30080)},
			} {
				if got, err := askSCTP(c.from, c.local, c.to); got != backend.Name {
					w.dump()
					t.Errorf("%s at %v: %q, %v, want %s", c.from.Name, c.to, got, err, backend.Name)
				}
			}
		}
	}
}

func sctpSocket(like netip.Addr) (int, error) {
	family := unix.AF_INET6
	if like.Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if err != nil {
		return -1, err
	}
	patience := unix.Timeval{Sec: 5}
	return fd, errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience))
}

func sockaddrOf(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// serveSCTP answers each association at one address with the name of the namespace
// and what was sent.
func (w *world) serveSCTP(ns *testkit.NS, at netip.AddrPort) {
	w.Helper()
	fd := -1
	w.must(ns.Do(func() (err error) {
		if fd, err = sctpSocket(at.Addr()); err != nil {
			return err
		}
		return errors.Join(unix.Bind(fd, sockaddrOf(at)), unix.Listen(fd, 16))
	}))
	ended := make(chan struct{})
	w.Cleanup(func() { unix.Shutdown(fd, unix.SHUT_RDWR); <-ended; unix.Close(fd) })
	go func() {
		defer close(ended)
		for w.Context().Err() == nil {
			c, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
			if err != nil { // after some seconds without a client, too
				continue
			}
			b := make([]byte, 64)
			if n, err := unix.Read(c, b); err == nil {
				unix.Write(c, fmt.Appendf(nil, "%s %s", ns.Name, b[:n]))
			}
			unix.Close(c)
		}
	}()
}

// askSCTP returns the name of who answers.
func askSCTP(ns *testkit.NS, local netip.Addr, to netip.AddrPort) (name string, err error) {
	fd := -1
	err = ns.Do(func() (err error) { fd, err = sctpSocket(to.Addr()); return err })
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, sockaddrOf(netip.AddrPortFrom(local, 0))), unix.Connect(fd, sockaddrOf(to))); err != nil {
		return "", err
	}
	if _, err := unix.Write(fd, []byte("hello")); err != nil {
		return "", err
	}
	b := make([]byte, 64)
	n, err := unix.Read(fd, b)
	if err != nil {
		return "", err
	}
	name, text, _ := strings.Cut(string(b[:n]), " ")
	if text != "hello" {
		return "", fmt.Errorf("the answer is %q", b[:n])
	}
	return name, nil
}
