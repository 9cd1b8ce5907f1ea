package agent

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/fairway-net/fairway/internal/apply/bpf"
	"github.com/fairway-net/fairway/internal/apply/netdev"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/sys"
)

const (
	checkInterval = 2 * time.Second // how long the loss of a device may stay unseen
	openInterval  = 5 * time.Second // between two attempts to open the datapath
)

// open opens the datapath, as often as it takes: what an earlier process has
// left in the kernel goes on working meanwhile, and a process that ends would
// only be started again, later and later, with nobody to say why.
func (n *nodeAgent) open(ctx context.Context, self *model.Node) (*bpf.Datapath, netdev.Uplink, error) {
	for {
		datapath, uplink, err := n.tryOpen(self)
		if err == nil {
			n.problems.clear("datapath")
			return datapath, uplink, nil
		}
		n.gates.note("node", err)
		n.problems.set("datapath", true, troubleOf(err))
		select {
		case <-ctx.Done():
			return nil, uplink, ctx.Err()
		case <-time.After(openInterval):
		}
	}
}

func (n *nodeAgent) tryOpen(self *model.Node) (*bpf.Datapath, netdev.Uplink, error) {
	uplink, err := netdev.FindUplink(self.InternalIPs[0])
	if err != nil {
		return nil, uplink, bpf.Trouble{Reason: "UplinkMissing", Err: err, Fix: fmt.Sprintf("give a network device of the node its address %v again", self.InternalIPs[0])}
	}
	if err := netdev.ApplySysctls("/proc/sys", uplink.Name, hasIPv6(self.PodCIDRs)); err != nil {
		return nil, uplink, bpf.Trouble{Reason: "SysctlRefused", Err: err, Fix: "run the agent privileged, with /proc/sys writable"}
	}
	o := bpf.Options{Dir: n.o.BPF, Cgroup: n.cgroup(), Uplink: uplink.Name, Log: n.o.Log}
	if n.o.tweak != nil {
		n.o.tweak(&o)
	}
	datapath, err := bpf.Open(o)
	if err != nil {
		return nil, uplink, fmt.Errorf("open datapath: %w", err)
	}
	n.o.Log.Info("datapath is open", "node", self.Name, "uplink", uplink.Name, "mtu", uplink.MTU, "cgroup", o.Cgroup, "pod_cidrs", self.PodCIDRs)
	return datapath, uplink, nil
}

// cgroup finds the node's cgroup; "": it is a problem that there is none. The
// packet path serves pods without the socket hooks; only the node's own programs
// do not reach Services.
func (n *nodeAgent) cgroup() string {
	find := sys.NodeCgroup
	if n.o.findCgroup != nil {
		find = n.o.findCgroup
	}
	dir, err := find()
	n.rootless = err != nil
	if err != nil {
		n.problems.set("cgroup", true, model.Rejected{Reason: "CgroupMissing", Message: err.Error(), Fix: "mount cgroup2 on the node and give the agent the host's /sys/fs/cgroup"})
		return ""
	}
	n.problems.clear("cgroup")
	return dir
}

// check looks whether the kernel has lost something that was attached: devices
// and cgroups come and go with their programs. What it cannot mend is a problem.
func (n *nodeAgent) check(self *model.Node, datapath *bpf.Datapath) {
	name := ""
	if uplink, err := netdev.FindUplink(self.InternalIPs[0]); err == nil {
		name = uplink.Name // it may have come back under another
		if err := netdev.ApplySysctls("/proc/sys", name, hasIPv6(self.PodCIDRs)); err != nil {
			n.o.Log.Warn("the node may not forward", "err", err)
		}
	}
	cgroup := ""
	if n.rootless {
		cgroup = n.cgroup() // there may be one now
	}
	troubles := map[string]bpf.Trouble{}
	for _, t := range datapath.Check(name, cgroup) {
		troubles[t.Reason] = t
	}
	if gone := name == ""; gone != n.homeless {
		n.homeless = gone
		if err := n.metrics.pods.Load().Reroute(gone); err != nil {
			n.o.Log.Warn("pods may be unreachable", "err", err)
		}
	}
	for _, reason := range bpf.CheckReasons {
		if t, ok := troubles[reason]; ok {
			n.problems.set(reason, true, troubleOf(t))
		} else {
			n.problems.clear(reason)
		}
	}
}

// selfTest opens its gate when the socket hooks have been seen to work. Until
// then the agent is not ready and says why, but pods have their network.
func selfTest(ctx context.Context, datapath *bpf.Datapath, gates *gates, log *slog.Logger) error {
	for {
		err := datapath.SelfTest(ctx)
		if err == nil {
			gates.open("self-test")
			return nil
		}
		log.Error("self-test of the socket hooks failed: connections to Services may not be translated", "err", err)
		gates.note("self-test", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Second):
		}
	}
}
