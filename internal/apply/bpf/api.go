package bpf

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/service"
)

// Options says where a Datapath lives.
type Options struct {
	Dir    string // directory on a bpffs, made if missing; say /sys/fs/bpf/fairway
	Cgroup string // cgroup2 directory whose processes' sockets are served (sys.NodeCgroup); "": no socket hooks
	Uplink string // name of the device to other nodes and clients; "": no node hooks
	Log    *slog.Logger

	// For tests of upgrades and faults: another version of the maps' form ("": this
	// one's), changes to the maps and programs before they are loaded, and where
	// maps stop growing (0: where they do).
	Layout      string
	Spec        func(*ebpf.CollectionSpec)
	MostEntries int
}

// PodLink is the host side of a pod's network.
type PodLink struct {
	Pod     model.Name
	UID     string       // optional; a policy planned for another pod of the same name is then not taken
	IfIndex int          // of the veth in the node's namespace
	IPs     []netip.Addr // at most one of each family
}

// Nodes is what the datapath must know about the cluster's nodes.
type Nodes struct {
	Self     []netip.Addr   // this node's InternalIPs, primary first: masquerading uses the first of each family, NodePorts answer on all
	Others   []netip.Addr   // addresses of the other nodes: never masqueraded
	PodCIDRs []netip.Prefix // of the whole cluster: never masqueraded
	Local    []netip.Prefix // this node's own PodCIDRs: only their traffic is masqueraded
	// ServiceCIDRs are where ClusterIPs come from: what is addressed to one that
	// no Service has goes nowhere.
	ServiceCIDRs []netip.Prefix
}

// Swept is the result of a Sweep.
type Swept struct {
	Flows   int // entries in the connection table before
	Expired int // removed
}

// DropCount is the number of packets dropped for one reason since the maps exist.
type DropCount struct {
	Reason Drop
	Count  uint64
}

// MapFill is how full a map of the kernel is.
type MapFill struct {
	Map               string
	Entries, Capacity int
}

// FrontendStatus is one row of the frontend map, for status output.
type FrontendStatus struct {
	Addr     netip.AddrPort
	Protocol model.Protocol
	Owner    service.Key      // the zero Key: nobody has claimed it since Open
	Internal []netip.AddrPort // backends
	External []netip.AddrPort
	Affinity time.Duration
}

// PodStatus is one row of the endpoint map, for status output.
type PodStatus struct {
	IfIndex         int
	IPs             []netip.Addr
	Closed          bool // no policy known yet
	IngressIsolated bool
	EgressIsolated  bool
}
