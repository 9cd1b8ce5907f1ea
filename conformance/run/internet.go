package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
)

// The suite asks whether a pod reaches the Internet by connecting to these and
// to google.com, which world.yaml says is at outside.
const (
	internet4 = "8.8.8.8"
	internet6 = "2001:4860:4860::8888"
	nftTable  = "conformance" // of each family; what it redirects comes in by the cluster's device
)

// internet lets this machine stand for the Internet: nodes have a route to it,
// and what comes by the cluster's device for the addresses above ends here. The
// machine's own way to those addresses stays as it is, and no packet of the
// cluster leaves the machine. stop takes it away.
func (c cluster) internet(ctx context.Context, u uplink) (stop func(), err error) {
	machine := []netip.Addr{netip.MustParseAddr(u.machine)}
	if six, err := address6(ctx, u.device); err != nil {
		return nil, err
	} else if six.IsValid() {
		machine = append(machine, six)
	}
	stand := &stand{}
	for _, addr := range machine {
		err := stand.add(ctx, u.device, addr)
		if err == nil {
			err = c.route(ctx, u, internetOf(addr), addr.String())
		}
		if err != nil {
			return nil, errors.Join(err, stand.close())
		}
	}
	return func() { stand.close() }, nil
}

func internetOf(family netip.Addr) string {
	if family.Is4() {
		return internet4
	}
	return internet6
}

// stand is what stands for the Internet on this machine.
type stand struct {
	listeners []net.Listener
	tables    []string // families that have a table
}

// add listens at addr, for those who asked for the Internet's address of that
// family (port 53) and for outside (port 80).
func (s *stand) add(ctx context.Context, device string, addr netip.Addr) error {
	dns, err := s.listen(netip.AddrPortFrom(addr, 0))
	if err != nil {
		return err
	}
	family := "ip6"
	if addr.Is4() {
		family = "ip"
		if _, err := s.listen(netip.MustParseAddrPort(outside + ":80")); err != nil {
			return err
		}
	}
	script := fmt.Sprintf(`table %[1]s %[2]s
delete table %[1]s %[2]s
table %[1]s %[2]s {
	chain prerouting {
		type nat hook prerouting priority dstnat
		iifname %[3]q %[1]s daddr %[4]s tcp dport 53 dnat to %[5]s
	}
}
`, family, nftTable, device, internetOf(addr), dns)
	s.tables = append(s.tables, family)
	return nft(ctx, script)
}

// listen accepts connections and ends them: reaching it is all that is asked.
func (s *stand) listen(at netip.AddrPort) (netip.AddrPort, error) {
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		return at, err
	}
	s.listeners = append(s.listeners, l)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort(), nil
}

func (s *stand) close() error {
	var errs []error
	for _, l := range s.listeners {
		errs = append(errs, l.Close())
	}
	for _, family := range s.tables {
		errs = append(errs, nft(context.Background(), fmt.Sprintf("table %[1]s %[2]s\ndelete table %[1]s %[2]s\n", family, nftTable)))
	}
	return errors.Join(errs...)
}

func nft(ctx context.Context, script string) error {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	_, err := output(cmd)
	return err
}

// address6 returns the device's global IPv6 address, or none.
func address6(ctx context.Context, device string) (netip.Addr, error) {
	var links []struct {
		AddrInfo []struct{ Local string } `json:"addr_info"`
	}
	if err := ipJSON(ctx, &links, "-6", "address", "show", "dev", device, "scope", "global"); err != nil {
		return netip.Addr{}, err
	}
	for _, l := range links {
		for _, a := range l.AddrInfo {
			return netip.ParseAddr(a.Local)
		}
	}
	return netip.Addr{}, nil
}
