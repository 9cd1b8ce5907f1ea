// Package underlay is the wire between the nodes of one embedded cluster and
// the machine: a bridge in a network namespace of its own, one veth per node,
// and one veth to the machine.
//
//	machine netns            underlay netns                 node netns
//	fairway0 198.18.0.1/24 ── machine ─┐
//	         2001:2::1/64             br0 ── node1 ───────── eth0 198.18.0.2 2001:2::2
//	                                   └──── node2 ───────── eth0 198.18.0.3 2001:2::3
//
// It routes nothing between pods; that is the agent's work.
//
// Invariant: without egress no packet that enters the machine through its veth
// is forwarded anywhere, whatever the machine's own forwarding settings are,
// and no packet to a cluster's ranges leaves the machine any other way.
package underlay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	bridgeName  = "br0"
	machinePort = "machine" // the machine's veth peer, in the underlay namespace
	linkPrefix  = "fairway" // the machine's links, one per cluster
)

// MakeBridge makes the bridge in the current network namespace.
func MakeBridge() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	// No multicast snooping: without a querier it drops what gossip and NDP
	// need after a while.
	snoop := false
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName}, MulticastSnooping: &snoop}
	if err := netlink.LinkAdd(br); err != nil {
		return fmt.Errorf("add bridge: %w", err)
	}
	return netlink.LinkSetUp(br)
}

// Plug connects the network namespace of process pid to the bridge of the
// current namespace: a veth called port here and inside there.
func Plug(port string, pid int, inside string) error {
	br, err := netlink.LinkByName(bridgeName)
	if err != nil {
		return err
	}
	veth := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: port, MasterIndex: br.Attrs().Index},
		PeerName:      inside,
		PeerNamespace: netlink.NsPid(pid),
	}
	// A port of the same name is what an earlier run of the node left.
	if old, err := netlink.LinkByName(port); err == nil {
		if err := netlink.LinkDel(old); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("remove old port %s: %w", port, err)
		}
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("add port %s: %w", port, err)
	}
	return netlink.LinkSetUp(veth)
}

// Machine is the machine's side of one cluster.
type Machine struct {
	Index  int            // of the cluster; names the link and orders its routes and rules
	Owner  string         // whose link it is, as its alias says: the cluster's state directory
	Addrs  []netip.Prefix // the machine's addresses on the underlay, one of each family
	OnLink []netip.Prefix // further ranges that nodes answer for: load balancers
	Closed []netip.Prefix // ranges that exist only inside the cluster
	NAT    bool           // let nodes reach what the machine reaches
	Mark   string         // with NAT: file that says who switched forwarding on
}

// LinkName is the name of the machine's veth for the cluster of that index.
func LinkName(index int) string { return fmt.Sprintf("%s%d", linkPrefix, index) }

// IsLink reports whether a link of the machine is that of some cluster.
func IsLink(name string) bool { return strings.HasPrefix(name, linkPrefix) }

// Priority of the cluster's policy rule: before any rule that a person would
// add, after the kernel's own for local addresses.
func (m *Machine) priority() int { return 180 + m.Index }

// metric is the cluster's own for routes that several clusters have in
// common, so that each can remove its own.
func (m *Machine) metric() int { return 1<<32 - 1000 + m.Index }

// Connect gives the machine its veth into the underlay namespace, which is
// that of process pid, and its routes. It replaces what is there.
func (m *Machine) Connect(pid int) error {
	if _, err := m.link(); err != nil {
		return err
	}
	// Close first, open last: no moment in which a packet can leak.
	for _, p := range m.closed() {
		if err := netlink.RouteReplace(m.closedRoute(p)); err != nil {
			return fmt.Errorf("close route to %s: %w", p, err)
		}
	}
	if err := m.fence(); err != nil {
		return err
	}
	link, err := m.addLink(pid)
	if err != nil {
		return err
	}
	for _, p := range m.OnLink {
		r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(p), Scope: netlink.SCOPE_LINK}
		for _, a := range m.Addrs {
			if a.Addr().Is4() == p.Addr().Is4() {
				r.Src = a.Addr().AsSlice()
			}
		}
		if err := netlink.RouteReplace(r); err != nil {
			return fmt.Errorf("add route to %s: %w", p, err)
		}
	}
	if m.NAT {
		return m.openNAT()
	}
	return nil
}

// ErrForeign says that the cluster's link is there and belongs to another one,
// of another state directory, which took the index while this one was down.
var ErrForeign = errors.New("belongs to another cluster")

// link returns the machine's veth of this cluster, or nil.
func (m *Machine) link() (netlink.Link, error) {
	link, err := netlink.LinkByName(LinkName(m.Index))
	if err != nil {
		return nil, nil // no such link
	}
	if alias := link.Attrs().Alias; alias != "" && alias != m.Owner { // "": Connect was cut short
		return nil, fmt.Errorf("%s %w: %s", LinkName(m.Index), ErrForeign, alias)
	}
	return link, nil
}

// addLink makes the veth and sets up both its ends.
func (m *Machine) addLink(pid int) (netlink.Link, error) {
	name := LinkName(m.Index)
	if old, err := m.link(); err != nil {
		return nil, err
	} else if old != nil {
		if err := netlink.LinkDel(old); err != nil && !errors.Is(err, unix.ENODEV) {
			return nil, fmt.Errorf("remove old %s: %w", name, err)
		}
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: machinePort, PeerNamespace: netlink.NsPid(pid)}
	if err := netlink.LinkAdd(veth); err != nil {
		return nil, fmt.Errorf("add %s: %w", name, err)
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	if err := netlink.LinkSetAlias(link, m.Owner); err != nil {
		return nil, fmt.Errorf("name owner of %s: %w", name, err)
	}
	if err := m.setSysctls(); err != nil {
		return nil, fmt.Errorf("set sysctl of %s: %w", name, err)
	}
	for _, a := range m.Addrs {
		// Nobody else is on the link: no time for duplicate address detection.
		if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(a), Flags: unix.IFA_F_NODAD}); err != nil {
			return nil, fmt.Errorf("set address %s of %s: %w", a, name, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("set up %s: %w", name, err)
	}
	return link, plugMachine(pid)
}

// setSysctls makes the machine's link a host's that believes no router: nobody
// on a node may give the machine a route. Of the machine's other links nothing
// is changed.
func (m *Machine) setSysctls() error {
	for _, kv := range [][2]string{{"disable_ipv6", "0"}, {"accept_ra", "0"}, {"accept_redirects", "0"}} {
		path := fmt.Sprintf("/proc/sys/net/ipv6/conf/%s/%s", LinkName(m.Index), kv[0])
		if err := os.WriteFile(path, []byte(kv[1]), 0o644); err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
			return err
		}
	}
	return nil
}

// plugMachine puts the far end of the machine's veth on the bridge.
func plugMachine(pid int) error {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("open underlay namespace: %w", err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("enter underlay namespace: %w", err)
	}
	defer h.Close()
	port, err := h.LinkByName(machinePort)
	if err != nil {
		return err
	}
	br, err := h.LinkByName(bridgeName)
	if err != nil {
		return err
	}
	if err := h.LinkSetMaster(port, br); err != nil {
		return fmt.Errorf("plug machine: %w", err)
	}
	return h.LinkSetUp(port)
}

// Connected reports whether the machine's veth is there and up.
func (m *Machine) Connected() bool {
	link, err := m.link()
	return err == nil && link != nil && link.Attrs().Flags&net.FlagUp != 0
}

// Disconnect removes everything that Connect made, whether or not all of it is
// still there, and says what it had to leave.
func (m *Machine) Disconnect() (kept []string, err error) {
	var errs []error
	link, err := m.link()
	if err != nil {
		return nil, err
	}
	if link != nil {
		// With the last process of the underlay namespace the kernel removes
		// its links, in its own time, perhaps just now.
		if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("remove %s: %w", LinkName(m.Index), err))
		}
	}
	for _, p := range m.closed() {
		err := netlink.RouteDel(m.closedRoute(p))
		if err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("remove unreachable route to %s: %w", p, err))
		}
	}
	errs = append(errs, m.unfence())
	if m.NAT {
		k, err := m.closeNAT()
		kept, errs = append(kept, k...), append(errs, err)
	}
	return kept, errors.Join(errs...)
}

// closed lists all ranges of the cluster: those that are on the link, too, for
// a link may end before the cluster does.
func (m *Machine) closed() []netip.Prefix {
	out := slices.Concat(m.Closed, m.OnLink)
	for _, a := range m.Addrs {
		out = append(out, a.Masked())
	}
	return out
}

// closedRoute is the last resort for a range: "unreachable", so that a packet
// to it never takes the machine's default route.
func (m *Machine) closedRoute(p netip.Prefix) *netlink.Route {
	return &netlink.Route{Dst: ipNet(p), Type: unix.RTN_UNREACHABLE, Priority: m.metric()}
}

// fence adds the rule that keeps what comes from the cluster from being
// forwarded. Packets for the machine itself were taken by the local table's
// rule before.
func (m *Machine) fence() error {
	if err := m.unfence(); err != nil {
		return err
	}
	if m.NAT {
		return nil
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		err := netlink.RuleAdd(m.rule(family))
		if err != nil && !(family == netlink.FAMILY_V6 && errors.Is(err, unix.EAFNOSUPPORT)) {
			return fmt.Errorf("add rule: %w", err)
		}
	}
	return nil
}

func (m *Machine) unfence() error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		for {
			err := netlink.RuleDel(m.rule(family))
			if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAFNOSUPPORT) {
				break
			}
			if err != nil {
				return fmt.Errorf("remove rule: %w", err)
			}
		}
	}
	return nil
}

func (m *Machine) rule(family int) *netlink.Rule {
	r := netlink.NewRule()
	r.Family = family
	r.Priority = m.priority()
	r.IifName = LinkName(m.Index)
	r.Type = unix.FR_ACT_UNREACHABLE
	return r
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
