package bpf

import (
	"context"
	"errors"
	"net/netip"

	"github.com/fairway-net/fairway/internal/plan/policy"
	"github.com/fairway-net/fairway/internal/plan/service"
)

// Datapath is the kernel datapath of one node. Its methods may be called by
// several goroutines; each is one change at a time.
type Datapath struct{ o Options }

var errNotYet = errors.New("not implemented yet")

// Open loads the programs, with the maps pinned below o.Dir if there are any,
// and attaches them to the cgroup and the uplink. It removes nothing.
func Open(o Options) (*Datapath, error) { return nil, errNotYet }

// Close lets go of the maps and links; the kernel keeps them and works on.
func (d *Datapath) Close() error { return errNotYet }

// Uninstall detaches everything below dir and removes it: the node is without Services and policy afterwards.
func Uninstall(dir string) error { return errNotYet }

// ApplyServices makes the datapath answer exactly what plans say, for the keys
// of plans; other keys are not touched. A plan without ports removes its key.
func (d *Datapath) ApplyServices(ctx context.Context, plans []service.Plan) error { return errNotYet }

// PruneServices removes what no ApplyServices since Open has mentioned. Call it
// once, after the first complete ApplyServices with synced sources.
func (d *Datapath) PruneServices(ctx context.Context) error { return errNotYet }

// ApplyPolicy enforces plan on all attached pods. Pods that the plan does not
// mention stay closed, or keep what they have if they were open.
func (d *Datapath) ApplyPolicy(ctx context.Context, plan policy.Plan) error { return errNotYet }

// AttachPod attaches the programs to a pod's link. The pod is closed until a
// plan with its name is applied, unless the last plan has it already. Calling
// it again for the same link, after a restart say, changes nothing.
func (d *Datapath) AttachPod(l PodLink) error { return errNotYet }

// DetachPod forgets the pod behind ifindex; the link itself may be gone.
func (d *Datapath) DetachPod(ifindex int) error { return errNotYet }

// ReadPods lists the attached pods, by ifindex.
func (d *Datapath) ReadPods() ([]PodStatus, error) { return nil, errNotYet }

// ReadServices lists the installed frontends, by address.
func (d *Datapath) ReadServices() ([]FrontendStatus, error) { return nil, errNotYet }

// ReadDrops lists the drop counters that are not zero.
func (d *Datapath) ReadDrops() ([]DropCount, error) { return nil, errNotYet }

// ApplyVIPs sets the addresses for which this node answers ARP and neighbour
// solicitations on the uplink, and announces new ones once.
func (d *Datapath) ApplyVIPs(ctx context.Context, vips []netip.Addr) error { return errNotYet }

// ApplyNodes tells the datapath what is a node and what is a pod.
func (d *Datapath) ApplyNodes(ctx context.Context, n Nodes) error { return errNotYet }

// Sweep removes what has expired: flows, affinity, and backend sets whose grace
// period is over. Call it every ten seconds or so.
func (d *Datapath) Sweep(ctx context.Context) (Swept, error) { return Swept{}, errNotYet }

// SelfTest connects to a Service that exists for the moment only and fails if
// the socket hooks do not see this process: attached to the wrong cgroup, they
// would lose every ClusterIP silently.
func (d *Datapath) SelfTest(ctx context.Context) error { return errNotYet }
