package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"runtime/debug"
	"time"

	"k8s.io/client-go/rest"

	"github.com/fairway-net/fairway/internal/apply/bpf"
	"github.com/fairway-net/fairway/internal/apply/netdev"
	"github.com/fairway-net/fairway/internal/apply/status"
	"github.com/fairway-net/fairway/internal/cni/server"
	"github.com/fairway-net/fairway/internal/config"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/policy"
	"github.com/fairway-net/fairway/internal/plan/service"
	"github.com/fairway-net/fairway/internal/run"
	"github.com/fairway-net/fairway/internal/source/kube"
	"github.com/fairway-net/fairway/internal/state"
	"github.com/fairway-net/fairway/internal/sys"
)

// NodeOptions are what `fairway agent` is started with.
type NodeOptions struct {
	Config  config.Config
	Rest    *rest.Config
	Node    string // name of the Node object that this process runs on
	Socket  string // where the CNI plugin calls
	Records string // directory of the records of attached pods, on a tmpfs
	BPF     string // directory of the pinned maps and links, on a bpffs
	Plugin  Plugin // what the container runtime is given
	Health  string // address of /livez, /readyz and /metrics; "": none
	// NodeHealth is the address where load balancers outside ask about the
	// node, which is kube-proxy's port; "": none.
	NodeHealth string
	Log        *slog.Logger
}

// RunNode is the agent of one node: it attaches pods, keeps Services and
// policies in the kernel, and routes between nodes. What it has put into the
// kernel goes on working when it ends, however it ends. It returns nil when
// ctx ends, and an error when it cannot work: the process must then end.
func RunNode(ctx context.Context, o NodeOptions) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	store, jobs := state.New(), newJobs(ctx, stop)
	kinds := []model.Kind{model.KindService, model.KindEndpointSlice, model.KindPod, model.KindNamespace, model.KindNode, model.KindNetworkPolicy, model.KindServiceCIDR}
	jobs.start("source", func(ctx context.Context) error {
		return kube.Run(ctx, kube.Options{Rest: o.Rest, Kinds: kinds, Log: o.Log}, store)
	})
	gates := newGates("node", "services", "policies", "routes", "plugin", "self-test")
	metrics := &nodeMetrics{gates: gates}
	if o.Health != "" {
		if err := serveHealth(ctx, o.Health, gates.check, o.Log, endpoint{"GET /metrics", metrics.serve}); err != nil {
			return err
		}
	}

	self, err := awaitNode(ctx, store, o.Node, o.Log)
	if err != nil {
		return jobs.wait(err)
	}
	uplink, err := netdev.FindUplink(self.InternalIPs[0])
	if err != nil {
		return jobs.wait(err)
	}
	if err := netdev.ApplySysctls("/proc/sys", uplink.Name, hasIPv6(self.PodCIDRs)); err != nil {
		return jobs.wait(err)
	}
	cgroup, err := sys.NodeCgroup()
	if err != nil {
		return jobs.wait(err)
	}
	datapath, err := bpf.Open(bpf.Options{Dir: o.BPF, Cgroup: cgroup, Uplink: uplink.Name, Log: o.Log})
	if err != nil {
		return jobs.wait(fmt.Errorf("open datapath: %w", err))
	}
	defer datapath.Close()
	o.Log.Info("datapath is open", "node", o.Node, "uplink", uplink.Name, "mtu", uplink.MTU, "cgroup", cgroup, "pod_cidrs", self.PodCIDRs)
	gates.open("node")

	policies := &policies{planner: policy.NewPlanner(o.Node), datapath: datapath, planned: newPlanned(), done: gates.opener("policies")}
	pods, err := server.New(server.Options{
		Dir: o.Records, PodCIDRs: self.PodCIDRs, Sources: self.InternalIPs, MTU: uplink.MTU,
		Datapath: podLinks{datapath}, AwaitPolicy: policies.planned.await, Log: o.Log,
	})
	if err != nil {
		return jobs.wait(err)
	}
	metrics.pods, metrics.datapath = pods, datapath
	health := newHealthPorts(func() bool { return gates.check() == nil }, o.Log)
	defer health.close()
	services := &services{params: service.Params{Node: o.Node}, datapath: datapath, health: health, done: gates.opener("services")}
	events, err := status.NewWriter(o.Rest, o.Log)
	if err != nil {
		return jobs.wait(err)
	}
	routes := &routes{node: o.Node, config: o.Config, router: netdev.Router{Uplink: uplink.Name}, datapath: datapath, events: events, log: o.Log, offLink: &metrics.offLink, done: gates.opener("routes")}
	vips := &vips{node: o.Node, datapath: datapath}

	loop := func(name string, o2 run.Options, step run.Step) {
		w := store.Watch(o2.Synced...)
		jobs.start(name, func(ctx context.Context) error { return run.Loop(ctx, o.Log, name, w, o2, step) })
	}
	loop("services", run.Options{Synced: services.kinds(), Interval: time.Millisecond}, services.step)
	loop("policies", run.Options{Synced: policies.kinds(), Interval: 5 * time.Millisecond}, policies.step)
	addrs := &podAddrs{datapath: datapath}
	loop("pod addresses", run.Options{Synced: addrs.kinds(), Interval: 5 * time.Millisecond}, addrs.step)
	loop("routes", run.Options{Synced: routes.kinds(), Interval: 20 * time.Millisecond, Resync: time.Minute}, routes.step)
	loop("vips", run.Options{Synced: vips.kinds(), Interval: 20 * time.Millisecond}, vips.step)

	if o.NodeHealth != "" {
		eligible := func() bool { n := store.Snapshot().Node(o.Node); return n != nil && !n.Deleting }
		if err := (nodeHealth{eligible, gates.check, time.Now}).serve(ctx, o.NodeHealth, o.Log); err != nil {
			o.Log.Warn("load balancers cannot ask about this node; does kube-proxy run beside Fairway?", "err", err)
		}
	}
	listener, err := server.Listen(o.Socket)
	if err != nil {
		return jobs.wait(err)
	}
	jobs.start("cni", func(ctx context.Context) error { return pods.Serve(ctx, listener) })
	jobs.every("sweep", 10*time.Second, o.Log, func(ctx context.Context) error {
		swept, err := datapath.Sweep(ctx)
		metrics.flows.Store(int64(swept.Flows - swept.Expired))
		return errors.Join(err, pods.Reconcile())
	})
	jobs.start("install", func(ctx context.Context) error {
		// Only a node that forwards may call itself Ready, which is what the
		// configuration file makes it.
		if err := gates.await(ctx, "services", "policies", "routes"); err != nil {
			return err
		}
		debug.FreeOSMemory() // the programs' types and the first lists took several times what is left of them
		if err := o.Plugin.Install(); err != nil {
			return err
		}
		gates.open("plugin")
		o.Log.Info("node is ready for pods", "config", filepath.Join(o.Plugin.ConfigDir, configName))
		return selfTest(ctx, datapath, gates, o.Log)
	})
	return jobs.wait(nil)
}

// awaitNode waits until the API has what the agent must know of its node.
func awaitNode(ctx context.Context, store *state.Store, name string, log *slog.Logger) (*model.Node, error) {
	w := store.Watch(model.KindNode)
	defer w.Close()
	missing := ""
	for {
		snap, _, err := w.Next(ctx)
		if err != nil {
			return nil, err
		}
		n, now := snap.Node(name), ""
		switch {
		case n == nil && !snap.Synced(model.KindNode):
			continue
		case n == nil:
			now = "there is no Node of this name"
		case len(n.InternalIPs) == 0:
			now = "the Node has no InternalIP yet"
		case len(n.PodCIDRs) == 0:
			now = "the Node has no podCIDR; kube-controller-manager gives one with --allocate-node-cidrs"
		default:
			return n, nil
		}
		if now != missing {
			missing = now
			log.Info("waiting for the Node", "node", name, "reason", now)
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

func hasIPv6(cidrs []netip.Prefix) bool {
	for _, c := range cidrs {
		if c.Addr().Is6() {
			return true
		}
	}
	return false
}

// podLinks is the datapath as the CNI server needs it.
type podLinks struct{ datapath *bpf.Datapath }

func (p podLinks) Attach(rec server.Record) error {
	return p.datapath.AttachPod(bpf.PodLink{Pod: rec.Pod, UID: rec.UID, IfIndex: rec.IfIndex, IPs: rec.IPs})
}

func (p podLinks) Detach(rec server.Record) error { return p.datapath.DetachPod(rec.IfIndex) }
