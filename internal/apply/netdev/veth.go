package netdev

import (
	"crypto/sha256"
	"encoding/hex"
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

	"github.com/fairway-net/fairway/internal/sys"
)

// HostPrefix begins the name of each pod's link on the node.
const HostPrefix = "fw"

// Gateway is the next hop of pods, an address that no interface has: the
// permanent neighbour entry is all that is used of it.
func Gateway(ip netip.Addr) netip.Addr {
	if ip.Is4() {
		return netip.AddrFrom4([4]byte{169, 254, 1, 1})
	}
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 15: 1})
}

// HostName returns the name of the node's side of an interface of a container:
// the same every time, and unlikely to be another's (44 bits of SHA-256).
func HostName(containerID, ifName string) string {
	sum := sha256.Sum256([]byte(containerID + "/" + ifName))
	return HostPrefix + hex.EncodeToString(sum[:])[:11]
}

// Veth is the link between a node and a pod.
type Veth struct {
	Host string // name on the node; see HostName
	Pod  string // name in the pod: eth0
	MTU  int
	IPs  []netip.Addr // of the pod, at most one of each family
}

// MACs returns the hardware addresses of the node's and the pod's side. They
// follow from the name, so that nobody has to ask the kernel for them.
func (v Veth) MACs() (host, pod net.HardwareAddr) {
	sum := sha256.Sum256([]byte(v.Host))
	host, pod = net.HardwareAddr(sum[0:6]), net.HardwareAddr(sum[6:12])
	for _, m := range []net.HardwareAddr{host, pod} {
		m[0] = m[0]&^1 | 2 // unicast, locally administered
	}
	return host, pod
}

// Create makes the pair with the pod's side in the namespace behind ns,
// configures that side completely, and leaves the node's side down. It also
// brings up the pod's loopback.
func Create(v Veth, ns *os.File) (ifindex int, err error) {
	hostMAC, podMAC := v.MACs()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = v.Host, v.MTU, hostMAC
	link := &netlink.Veth{
		LinkAttrs: attrs, PeerName: v.Pod, PeerHardwareAddr: podMAC, PeerMTU: uint32(v.MTU),
		PeerNamespace: netlink.NsFd(ns.Fd()), PeerTxQLen: -1,
	}
	if err := netlink.LinkAdd(link); err != nil {
		return 0, fmt.Errorf("create veth %s: %w", v.Host, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, Delete(v.Host))
		}
	}()
	if err := configurePod(v, hostMAC, ns); err != nil {
		return 0, err
	}
	if link.Index == 0 { // LinkAdd looks it up, and says nothing if it does not find it
		return 0, fmt.Errorf("find veth %s: it is gone", v.Host)
	}
	return link.Index, nil
}

func configurePod(v Veth, gatewayMAC net.HardwareAddr, ns *os.File) error {
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("enter network namespace of the pod: %w", err)
	}
	defer h.Close()
	if err := loopbackUp(h); err != nil {
		return err
	}
	link, err := h.LinkByName(v.Pod)
	if err != nil {
		return fmt.Errorf("find %s of the pod: %w", v.Pod, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s of the pod up: %w", v.Pod, err)
	}
	for _, ip := range v.IPs {
		err := configureFamily(h, link, ip, gatewayMAC)
		if ip.Is6() && errors.Is(err, unix.EACCES) {
			if err = sys.InNetns(ns, func() error { return enableIPv6(v.Pod) }); err == nil {
				err = configureFamily(h, link, ip, gatewayMAC)
			}
		}
		if err != nil {
			return fmt.Errorf("configure %s of the pod with %v: %w", v.Pod, ip, err)
		}
	}
	return nil
}

// enableIPv6 switches IPv6 on for a link of the thread's namespace. New links
// and namespaces have it off where the machine's administrator said so for all
// (net.ipv6.conf.default.disable_ipv6, net.core.devconf_inherit_init_net).
func enableIPv6(link string) error {
	path := "/proc/sys/net/ipv6/conf/" + link + "/disable_ipv6"
	have, err := os.ReadFile(path)
	if err != nil || strings.TrimSpace(string(have)) == "0" {
		return err
	}
	return os.WriteFile(path, []byte("0"), 0o644)
}

// configureFamily adds the address and the default route of one family. The
// address is no network of its own: everything goes to the gateway, whose
// hardware address is known.
func configureFamily(h *netlink.Handle, link netlink.Link, ip netip.Addr, gatewayMAC net.HardwareAddr) error {
	index, gw := link.Attrs().Index, Gateway(ip)
	// No duplicate address detection: we have just given the address away.
	if err := h.AddrAdd(link, &netlink.Addr{IPNet: ipNet(host(ip)), Flags: unix.IFA_F_NODAD}); err != nil {
		return fmt.Errorf("add address: %w", err)
	}
	if err := h.NeighSet(neighbour(index, gw, gatewayMAC)); err != nil {
		return fmt.Errorf("add neighbour %v: %w", gw, err)
	}
	if gw.Is4() {
		if err := h.RouteAdd(&netlink.Route{LinkIndex: index, Scope: netlink.SCOPE_LINK, Dst: ipNet(host(gw))}); err != nil {
			return fmt.Errorf("add route to %v: %w", gw, err)
		}
	}
	if err := h.RouteAdd(&netlink.Route{LinkIndex: index, Dst: ipNet(everything(ip)), Gw: gw.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}); err != nil {
		return fmt.Errorf("add default route: %w", err)
	}
	return nil
}

// Up opens the node's side for traffic: its link goes up, and the pod's
// addresses get a neighbour entry and a route. sources are the node's own
// addresses, one per family, that it uses towards its pods. Again on a link
// that is up it changes nothing.
func Up(v Veth, sources []netip.Addr) error {
	link, err := netlink.LinkByName(v.Host)
	if err != nil {
		return fmt.Errorf("find veth %s: %w", v.Host, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set veth %s up: %w", v.Host, err)
	}
	if slices.ContainsFunc(v.IPs, netip.Addr.Is6) {
		if err := enableIPv6(v.Host); err != nil {
			return fmt.Errorf("enable IPv6 on veth %s: %w", v.Host, err)
		}
	}
	_, podMAC := v.MACs()
	for _, ip := range v.IPs {
		if err := netlink.NeighSet(neighbour(link.Attrs().Index, ip, podMAC)); err != nil {
			return fmt.Errorf("add neighbour %v on %s: %w", ip, v.Host, err)
		}
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: ipNet(host(ip)), Protocol: protocolPod}
		for _, s := range sources {
			if s.Is4() == ip.Is4() {
				route.Src = s.AsSlice()
			}
		}
		if err := netlink.RouteReplace(route); err != nil {
			return fmt.Errorf("add route to pod %v on %s: %w", ip, v.Host, err)
		}
	}
	return nil
}

// Delete removes the pair, by the name of the node's side, and with it routes
// and programs. An absent one is no error.
func Delete(hostName string) error {
	link, err := netlink.LinkByName(hostName)
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil && !isNotFound(err) {
		return fmt.Errorf("delete veth %s: %w", hostName, err)
	}
	return nil
}

// Exists reports whether a link of that name is there.
func Exists(hostName string) (bool, error) {
	_, err := netlink.LinkByName(hostName)
	if isNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("find veth %s: %w", hostName, err)
	}
	return true, nil
}

// Verify reports what is wrong with a pod's link, for CHECK.
func Verify(v Veth, ns *os.File) error {
	if _, err := netlink.LinkByName(v.Host); err != nil {
		return fmt.Errorf("find veth %s: %w", v.Host, err)
	}
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("enter network namespace of the pod: %w", err)
	}
	defer h.Close()
	link, err := h.LinkByName(v.Pod)
	if err != nil {
		return fmt.Errorf("find %s of the pod: %w", v.Pod, err)
	}
	addrs, err := h.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses of the pod: %w", err)
	}
	for _, ip := range v.IPs {
		found := false
		for _, a := range addrs {
			found = found || a.IP.Equal(ip.AsSlice())
		}
		if !found {
			return fmt.Errorf("address %v is missing on %s of the pod", ip, v.Pod)
		}
	}
	return nil
}

// LoopbackUp brings up the loopback device of the namespace behind ns.
func LoopbackUp(ns *os.File) error {
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("enter network namespace of the pod: %w", err)
	}
	defer h.Close()
	return loopbackUp(h)
}

func loopbackUp(h *netlink.Handle) error {
	lo, err := h.LinkByName("lo")
	if err == nil {
		err = h.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set loopback of the pod up: %w", err)
	}
	return nil
}

func neighbour(ifindex int, ip netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	family := netlink.FAMILY_V6
	if ip.Is4() {
		family = netlink.FAMILY_V4
	}
	return &netlink.Neigh{LinkIndex: ifindex, Family: family, State: netlink.NUD_PERMANENT, IP: ip.AsSlice(), HardwareAddr: mac}
}

func isNotFound(err error) bool {
	var notFound netlink.LinkNotFoundError
	return errors.As(err, &notFound) || errors.Is(err, unix.ENODEV)
}

func host(ip netip.Addr) netip.Prefix { return netip.PrefixFrom(ip, ip.BitLen()) }

// everything is the default route's destination, of ip's family.
func everything(ip netip.Addr) netip.Prefix {
	p, _ := ip.Prefix(0)
	return p
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
