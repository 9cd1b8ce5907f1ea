package agent

import (
	"context"
	"errors"
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
	Keeper  string // where this node's DNS server has its sockets kept; "": nowhere
	BPF     string // directory of the pinned maps and links, on a bpffs
	Plugin  Plugin // what the container runtime is given
	Health  string // address of /livez, /readyz and /metrics; "": none
	// NodeHealth is the address where load balancers outside ask about the
	// node, which is kube-proxy's port; "": none.
	NodeHealth string
	ProxyMode  string // address of kube-proxy's /proxyMode; "": none
	Log        *slog.Logger

	// tweak changes how the datapath is opened; for tests.
	tweak      func(*bpf.Options)
	findCgroup func() (string, error) // instead of sys.NodeCgroup; for tests
}

// nodeAgent is what the parts of RunNode share.
type nodeAgent struct {
	o        NodeOptions
	store    *state.Store
	jobs     *jobs
	gates    *gates
	problems *problems
	metrics  *nodeMetrics
	inspect  *inspector
	homeless bool // no device has the node's address; of check alone
	rootless bool // the node's cgroup was not found; of tryOpen and check, which follow each other
}

// RunNode is the agent of one node: it attaches pods, keeps Services and
// policies in the kernel, and routes between nodes. What it has put into the
// kernel goes on working when it ends, however it ends. Where the node lacks
// something it says so, waits and tries again. It returns nil when ctx ends, and
// an error when it cannot go on: the process must then end.
func RunNode(ctx context.Context, o NodeOptions) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	n := &nodeAgent{o: o, store: state.New(), jobs: newJobs(ctx, stop)}
	n.gates = newGates("node", "services", "policies", "routes", "addresses", "plugin", "self-test")
	n.problems = newProblems(o.Node, o.Log)
	n.metrics = newNodeMetrics(n.gates, n.problems)
	n.inspect = &inspector{node: o.Node, ready: n.ready, passed: func() bool { return n.gates.passed("node") }}
	n.follow()
	if err := n.serve(ctx); err != nil {
		return n.jobs.wait(err)
	}
	self, err := awaitNode(ctx, n.store, o.Node, o.Log)
	if err != nil {
		return n.jobs.wait(err)
	}
	datapath, uplink, err := n.open(ctx, self)
	if err != nil {
		return n.jobs.wait(err)
	}
	defer datapath.Close()
	n.metrics.datapath, n.inspect.datapath = datapath, datapath
	n.gates.open("node")
	return n.jobs.wait(n.work(self, datapath, uplink))
}

// follow starts what comes from the API server, and the Events that go there.
func (n *nodeAgent) follow() {
	kinds := []model.Kind{model.KindService, model.KindEndpointSlice, model.KindPod, model.KindNamespace, model.KindNode, model.KindNetworkPolicy, model.KindServiceCIDR}
	n.jobs.start("source", func(ctx context.Context) error {
		return kube.Run(ctx, kube.Options{Rest: n.o.Rest, Kinds: kinds, Log: n.o.Log}, n.store)
	})
	n.jobs.start("events", func(ctx context.Context) error { return n.problems.tell(ctx, n.o.Rest) })
}

// serve answers those who ask about the agent and about the node.
func (n *nodeAgent) serve(ctx context.Context) error {
	if n.o.Health != "" {
		more := []endpoint{{"GET /metrics", n.metrics.serve}, {"GET /services", n.inspect.serve}}
		if err := serveHealth(ctx, n.o.Health, n.ready, n.o.Log, more...); err != nil {
			return err
		}
	}
	health := &nodeHealth{eligible: n.eligible, ready: n.ready, now: time.Now}
	for addr, serve := range map[string]func(context.Context, string, *slog.Logger) error{n.o.NodeHealth: health.serve, n.o.ProxyMode: serveProxyMode} {
		if addr == "" {
			continue
		}
		if err := serve(ctx, addr, n.o.Log); err != nil {
			n.o.Log.Warn("a port of kube-proxy is taken; does kube-proxy run beside Fairway?", "addr", addr, "err", err)
		}
	}
	return nil
}

// ready says why the agent is not ready; nil: it is.
func (n *nodeAgent) ready() error {
	if err := n.problems.severe(); err != nil { // it knows the reason, and a remedy
		return err
	}
	return n.gates.check()
}

// eligible reports whether load balancers should still use this node (KEP-3836).
func (n *nodeAgent) eligible() bool {
	node := n.store.Snapshot().Node(n.o.Node)
	return node != nil && !node.Deleting
}

// work does what the agent is there for, from the moment when the datapath is
// open. It returns when all of it has been started.
func (n *nodeAgent) work(self *model.Node, datapath *bpf.Datapath, uplink netdev.Uplink) error {
	o, done := n.o, n.gates.opener
	policies := &policies{planner: policy.NewPlanner(o.Node), datapath: datapath, planned: newPlanned(), done: done("policies")}
	pods, err := server.New(server.Options{
		Dir: o.Records, PodCIDRs: self.PodCIDRs, Sources: self.InternalIPs, MTU: uplink.MTU,
		Datapath: podLinks{datapath}, AwaitPolicy: policies.planned.await, Log: o.Log,
	})
	if err != nil {
		return err
	}
	n.metrics.pods.Store(pods)
	health := newHealthPorts(func() bool { return n.ready() == nil }, o.Log)
	serviceEvents, err := status.NewWriter(o.Rest, o.Log)
	if err != nil {
		return err
	}
	services := &services{params: service.Params{Node: o.Node, NoSCTP: !sys.HasSCTP()}, datapath: datapath, health: health, metrics: n.metrics.services, problems: n.problems, events: serviceEvents, log: o.Log, done: done("services")}
	failed := services.failures
	n.inspect.failed.Store(&failed)
	events, err := status.NewWriter(o.Rest, o.Log)
	if err != nil {
		return err
	}
	routes := &routes{node: o.Node, config: o.Config, router: netdev.Router{Uplink: uplink.Name}, datapath: datapath, events: events, log: o.Log, offLink: &n.metrics.offLink, done: done("routes")}
	vips := &vips{node: o.Node, datapath: datapath, done: done("addresses")}
	addrs := &podAddrs{datapath: datapath}

	n.loop("services", run.Options{Synced: services.kinds(), Interval: time.Millisecond}, services.step)
	n.loop("policies", run.Options{Synced: policies.kinds(), Interval: 5 * time.Millisecond}, policies.step)
	n.loop("pod addresses", run.Options{Synced: addrs.kinds(), Interval: 5 * time.Millisecond}, addrs.step)
	n.loop("routes", run.Options{Synced: routes.kinds(), Interval: 20 * time.Millisecond, Resync: 10 * time.Second}, routes.step)
	n.loop("vips", run.Options{Synced: vips.kinds(), Interval: 20 * time.Millisecond}, vips.step)

	listener, err := server.Listen(o.Socket)
	if err != nil {
		return err
	}
	n.jobs.start("cni", func(ctx context.Context) error { return pods.Serve(ctx, listener) })
	if err := n.keepDNS(); err != nil {
		return err
	}
	n.jobs.start("health ports", func(ctx context.Context) error { <-ctx.Done(); health.close(); return nil })
	n.jobs.every("sweep", 10*time.Second, o.Log, func(ctx context.Context) error {
		return errors.Join(n.metrics.sweep(ctx, datapath), pods.Reconcile())
	})
	n.jobs.every("check", checkInterval, o.Log, func(context.Context) error { n.check(self, datapath); return nil })
	n.jobs.start("install", func(ctx context.Context) error {
		// Only a node that forwards may call itself Ready, which is what the
		// configuration file makes it.
		if err := n.gates.await(ctx, "services", "policies", "routes", "addresses"); err != nil {
			return err
		}
		if err := datapath.RetireOthers(); err != nil {
			return err
		}
		debug.FreeOSMemory() // the programs' types and the first lists took several times what is left of them
		if err := o.Plugin.Install(); err != nil {
			return err
		}
		n.gates.open("plugin")
		o.Log.Info("node is ready for pods", "config", filepath.Join(o.Plugin.ConfigDir, configName))
		return selfTest(ctx, datapath, n.gates, o.Log)
	})
	return nil
}

func (n *nodeAgent) loop(name string, o run.Options, step run.Step) {
	w := n.store.Watch(o.Synced...)
	n.jobs.start(name, func(ctx context.Context) error { return run.Loop(ctx, n.o.Log, name, w, o, step) })
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
