package netdev

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairway-net/fairway/internal/diff"
)

// Our protocol numbers (rtm_protocol; nobody has registered them in
// /etc/iproute2/rt_protos). Routes to pods have one of their own because they
// come and go with the pods' links, not with Apply.
const (
	protocolNode netlink.RouteProtocol = 0xFA
	protocolPod  netlink.RouteProtocol = 0xFB
)

// Routes is what a node's routing table has of ours, but for its own pods.
type Routes struct {
	Peers       map[netip.Prefix]netip.Addr // PodCIDR of another node -> that node
	Unreachable []netip.Prefix              // what must never leave the cluster if nothing longer matches
}

// entry is one route: Via is invalid for an unreachable one.
type entry struct {
	Via netip.Addr
	Dev int // ifindex; 0 for an unreachable route
}

// Router owns the routes of one node.
type Router struct {
	Uplink string // device to the other nodes
}

// Apply makes the node's routes exactly want, but for the peers that the uplink
// does not reach directly: it returns those. They are no error, for trying
// again changes nothing; their pods are unreachable.
func (r Router) Apply(_ context.Context, want Routes) (offLink map[netip.Prefix]netip.Addr, err error) {
	uplink, err := netlink.LinkByName(r.Uplink)
	if err != nil {
		return nil, fmt.Errorf("find uplink %s: %w", r.Uplink, err)
	}
	onLink, err := networksOf(uplink)
	if err != nil {
		return nil, err
	}
	table, offLink := compile(want, uplink.Attrs().Index, onLink)
	have, err := read()
	if err != nil {
		return nil, err
	}
	var errs []error
	ops := diff.MapsFunc(have, table, func(a, b entry) bool { return a == b }, comparePrefix)
	for _, p := range append(ops.Add, ops.Update...) {
		if err := netlink.RouteReplace(routeOf(p, table[p])); err != nil {
			errs = append(errs, fmt.Errorf("set route %v: %w", p, err))
		}
	}
	for _, p := range append(ops.Remove, leftBehind(ops.Update, have, table)...) {
		if err := netlink.RouteDel(routeOf(p, have[p])); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("remove route %v: %w", p, err))
		}
	}
	return offLink, errors.Join(errs...)
}

// compile turns want into the table to install, leaving out what is off-link.
func compile(want Routes, uplink int, onLink []netip.Prefix) (table map[netip.Prefix]entry, offLink map[netip.Prefix]netip.Addr) {
	table, offLink = map[netip.Prefix]entry{}, map[netip.Prefix]netip.Addr{}
	for _, p := range want.Unreachable {
		table[p.Masked()] = entry{}
	}
	for p, via := range want.Peers {
		if !contains(onLink, via) {
			table[p.Masked()] = entry{} // not by the default route, which leads to strangers
			offLink[p] = via
			continue
		}
		table[p.Masked()] = entry{Via: via, Dev: uplink}
	}
	return table, offLink
}

// leftBehind returns those of updated that RouteReplace may have joined instead
// of replaced: an IPv6 route by a gateway stays beside an unreachable one.
func leftBehind(updated []netip.Prefix, have, want map[netip.Prefix]entry) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range updated {
		if p.Addr().Is6() && have[p].Via.IsValid() && !want[p].Via.IsValid() {
			out = append(out, p)
		}
	}
	return out
}

// Read returns the routes that are installed.
func (r Router) Read() (Routes, error) {
	table, err := read()
	out := Routes{Peers: map[netip.Prefix]netip.Addr{}}
	for p, e := range table {
		if e.Via.IsValid() {
			out.Peers[p] = e.Via
		} else {
			out.Unreachable = append(out.Unreachable, p)
		}
	}
	return out, err
}

func read() (map[netip.Prefix]entry, error) {
	have := map[netip.Prefix]entry{}
	routes, err := listRoutes(protocolNode)
	for _, route := range routes {
		e := entry{}
		if route.Type != unix.RTN_UNREACHABLE {
			via, _ := netip.AddrFromSlice(route.Gw)
			e = entry{Via: via.Unmap(), Dev: route.LinkIndex}
		}
		have[prefixOf(route.Dst)] = e
	}
	return have, err
}

// ReadPods returns the links that have routes to pods of this node.
func ReadPods() (map[netip.Addr]string, error) {
	routes, err := listRoutes(protocolPod)
	if err != nil {
		return nil, err
	}
	out := map[netip.Addr]string{}
	for _, route := range routes {
		if link, err := netlink.LinkByIndex(route.LinkIndex); err == nil {
			out[prefixOf(route.Dst).Addr()] = link.Attrs().Name
		}
	}
	return out, nil
}

func listRoutes(p netlink.RouteProtocol) ([]netlink.Route, error) {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: p, Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return routes, nil
}

func routeOf(p netip.Prefix, e entry) *netlink.Route {
	route := &netlink.Route{Dst: ipNet(p), Protocol: protocolNode, Type: unix.RTN_UNREACHABLE}
	if e.Via.IsValid() {
		route.Type, route.Gw, route.LinkIndex = unix.RTN_UNICAST, e.Via.AsSlice(), e.Dev
	}
	return route
}

func networksOf(link netlink.Link) ([]netip.Prefix, error) {
	addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", link.Attrs().Name, err)
	}
	var out []netip.Prefix
	for _, a := range addrs {
		out = append(out, prefixOf(a.IPNet).Masked())
	}
	return out, nil
}

func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	a, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones)
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// comparePrefix puts longer prefixes first, so that a more specific route is
// there before the wide one that would swallow its traffic.
func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(cmp.Compare(b.Bits(), a.Bits()), a.Addr().Compare(b.Addr()))
}
