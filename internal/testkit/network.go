package testkit

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Network is one Ethernet segment with hosts on it:
//
//	                 bridge (no address, no way out)
//	      ┌────────────────┼──────────────────┐
//	   node a           node b             client
//	  ┌───┴───┐        ┌───┴───┐
//	pod     pod      pod     pod
type Network struct {
	t      testing.TB
	bridge *NS
	dev    netlink.Link
	hosts  int
}

// NewNetwork makes an empty segment.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	n := &Network{t: t, bridge: NewNS(t, "bridge")}
	n.bridge.Sysctl("ipv6/conf/all/disable_ipv6", "1")
	n.must(n.bridge.Link.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}))
	n.dev = n.link(n.bridge, "br0")
	n.must(n.bridge.Link.LinkSetUp(n.dev))
	return n
}

func (n *Network) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatalf("build network: %v", err)
	}
}

func (n *Network) link(ns *NS, name string) netlink.Link {
	n.t.Helper()
	l, err := ns.Link.LinkByName(name)
	n.must(err)
	return l
}

// Host is a namespace with an uplink eth0 on the segment.
type Host struct {
	*NS
	net    *Network
	Addrs  []netip.Addr
	Uplink netlink.Link
}

// Host adds a host with addresses on the segment, given with their lengths.
func (n *Network) Host(name string, addrs ...string) *Host {
	n.t.Helper()
	h := &Host{NS: NewNS(n.t, name), net: n}
	h.Plug(addrs...)
	for _, a := range addrs {
		h.Addrs = append(h.Addrs, netip.MustParsePrefix(a).Addr())
	}
	return h
}

// veth joins two namespaces and sets both ends up; addrs go to the second.
func (n *Network) veth(a *NS, nameA string, b *NS, nameB string, addrs ...string) netlink.Link {
	n.t.Helper()
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: nameA, MTU: 1500}, PeerName: nameB, PeerNamespace: netlink.NsFd(b.Fd())}
	n.must(a.Link.LinkAdd(pair))
	l := n.link(b, nameB)
	for _, s := range addrs {
		n.must(b.Link.AddrAdd(l, Addr(n.t, s)))
	}
	n.must(a.Link.LinkSetUp(n.link(a, nameA)))
	n.must(b.Link.LinkSetUp(l))
	return l
}

// Unplug removes the host's uplink; Plug gives it another of the same name.
func (h *Host) Unplug() {
	h.t.Helper()
	h.net.must(h.Link.LinkDel(h.Uplink))
}

// Plug gives the host an uplink again, with addrs as in Network.Host.
func (h *Host) Plug(addrs ...string) {
	h.t.Helper()
	n := h.net
	n.hosts++
	port := fmt.Sprintf("port%d", n.hosts)
	h.Uplink = n.veth(n.bridge, port, h.NS, "eth0", addrs...)
	n.must(n.bridge.Link.LinkSetMaster(n.link(n.bridge, port), n.dev))
}

// Node is a Host that forwards for its pods.
type Node struct {
	*Host
	PodCIDRs []netip.Prefix
	pods     int
}

// Node adds a node whose pods have addresses out of podCIDRs.
func (n *Network) Node(name string, addrs []string, podCIDRs ...string) *Node {
	n.t.Helper()
	node := &Node{Host: n.Host(name, addrs...)}
	for _, c := range podCIDRs {
		node.PodCIDRs = append(node.PodCIDRs, netip.MustParsePrefix(c))
	}
	node.Sysctl("ipv4/ip_forward", "1")
	node.Sysctl("ipv6/conf/all/forwarding", "1")
	return node
}

// Join gives each node routes to the pods of the others.
func Join(nodes ...*Node) {
	for _, a := range nodes {
		for _, b := range nodes {
			if a == b {
				continue
			}
			for _, c := range b.PodCIDRs {
				for _, via := range b.Addrs {
					if via.Is4() == c.Addr().Is4() {
						a.Route(c.String(), via.String())
					}
				}
			}
		}
	}
}

// Route adds a route by way of an address on the segment.
func (h *Host) Route(dst, via string) {
	h.t.Helper()
	_, to, err := net.ParseCIDR(dst)
	h.net.must(err)
	h.net.must(h.Link.RouteAdd(&netlink.Route{LinkIndex: h.Uplink.Attrs().Index, Dst: to, Gw: net.ParseIP(via)}))
}

// Pod is a namespace behind a node.
type Pod struct {
	*NS
	Node  *Node
	IPs   []netip.Addr
	Index int // of the veth in the node's namespace
}

// Pod adds a pod with the next address of each of the node's ranges. Its way
// out is a link-local gateway that the node answers for.
func (node *Node) Pod(name string) *Pod {
	node.t.Helper()
	n := node.net
	node.pods++
	p := &Pod{NS: NewNS(node.t, name), Node: node}
	host := fmt.Sprintf("pod%d", node.pods)
	var addrs []string
	for _, c := range node.PodCIDRs {
		a := c.Addr()
		for range node.pods + 1 {
			a = a.Next()
		}
		p.IPs = append(p.IPs, a)
		addrs = append(addrs, netip.PrefixFrom(a, a.BitLen()).String())
	}
	eth := n.veth(node.NS, host, p.NS, "eth0", addrs...)
	dev := n.link(node.NS, host)
	p.Index = dev.Attrs().Index
	for _, a := range p.IPs {
		gw, all := net.ParseIP("169.254.1.1"), "0.0.0.0/0"
		if a.Is6() {
			gw, all = net.ParseIP("fe80::1"), "::/0"
		}
		_, dst, err := net.ParseCIDR(all)
		n.must(err)
		n.must(p.Link.NeighAdd(neighbour(eth.Attrs().Index, gw, dev.Attrs().HardwareAddr)))
		n.must(p.Link.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Dst: dst, Gw: gw, Flags: int(netlink.FLAG_ONLINK)}))
		n.must(node.Link.NeighAdd(neighbour(p.Index, a.AsSlice(), eth.Attrs().HardwareAddr)))
		n.must(node.Link.RouteAdd(&netlink.Route{LinkIndex: p.Index, Dst: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}}))
	}
	return p
}

func neighbour(index int, ip net.IP, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, IP: ip, HardwareAddr: mac}
}

// Addr parses an address with its length for netlink.
func Addr(t testing.TB, s string) *netlink.Addr {
	t.Helper()
	a, err := netlink.ParseAddr(s)
	if err != nil {
		t.Fatal(err)
	}
	a.Flags = unix.IFA_F_NODAD
	return a
}
