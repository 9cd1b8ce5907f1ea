package node

import (
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/fairway-net/fairway/internal/testkit"
	"github.com/vishvananda/netlink"
)

// TestLink: a node has its addresses of both families at once, and what has no
// route is unreachable in both, except by the gateway of a family that has one.
func TestLink(t *testing.T) {
	testkit.NeedRoot(t)
	pfx := netip.MustParsePrefix
	for _, c := range []struct {
		name     string
		gateways []netip.Addr
		routes   map[string]string // to an address: how the answer begins
	}{
		{"alone", nil, map[string]string{
			"203.0.113.1": "unreachable", "2001:db8::1": "unreachable", "198.19.0.9": "unreachable", "2001:2:0:9000::9": "unreachable",
			"198.18.3.9": "198.18.3.9 dev eth0", "2001:2:0:3::9": "2001:2:0:3::9 from :: dev eth0"}},
		{"IPv4 goes out", []netip.Addr{netip.MustParseAddr("198.18.3.1")}, map[string]string{
			"203.0.113.1": "203.0.113.1 via 198.18.3.1", "2001:db8::1": "unreachable", "198.19.0.9": "unreachable", "2001:2:0:9000::9": "unreachable"}},
		{"both go out", []netip.Addr{netip.MustParseAddr("198.18.3.1"), netip.MustParseAddr("2001:2:0:3::1")}, map[string]string{
			"203.0.113.1": "203.0.113.1 via 198.18.3.1", "2001:db8::1": "2001:db8::1 from :: via 2001:2:0:3::1", "198.19.0.9": "unreachable", "2001:2:0:9000::9": "unreachable"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ns := testkit.NewNS(t, "node")
			l := Link{Name: "eth0", Addrs: []netip.Prefix{pfx("198.18.3.2/24"), pfx("2001:2:0:3::2/64")}, Gateways: c.gateways,
				Unreachable: []netip.Prefix{pfx("198.19.0.0/16"), pfx("2001:2:0:9000::/112")}}
			err := ns.Do(func() error {
				veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "wire"}
				if err := netlink.LinkAdd(veth); err != nil {
					return err
				}
				wire, err := netlink.LinkByName("wire")
				if err != nil {
					return err
				}
				if err := netlink.LinkSetUp(wire); err != nil {
					return err
				}
				if err := l.setUp(); err != nil {
					return err
				}
				for _, a := range l.Addrs { // a tentative address cannot be bound
					b, err := net.Listen("tcp", netip.AddrPortFrom(a.Addr(), 80).String())
					if err != nil {
						return err
					}
					b.Close()
				}
				for to, want := range c.routes {
					out, _ := exec.Command("ip", "route", "get", to).CombinedOutput() // an unreachable route is also an error
					text := string(out)
					if strings.Contains(text, "No route to host") || strings.Contains(text, "Network is unreachable") {
						text = "unreachable"
					}
					if !strings.HasPrefix(text, want) {
						t.Errorf("to %s: %q, want %q", to, text, want)
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}
