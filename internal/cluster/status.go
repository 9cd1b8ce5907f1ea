package cluster

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/cluster/cgroup"
)

// Status is what `fairway status` tells.
type Status struct {
	Name      string           `json:"name"`
	Running   bool             `json:"running"` // the supervisor lives
	API       bool             `json:"api"`     // the API server is ready
	Server    string           `json:"server"`
	Context   string           `json:"context"`
	Pools     string           `json:"loadBalancerPools"`
	Egress    Egress           `json:"egress"`
	Error     string           `json:"error,omitempty"`
	Nodes     []NodeStatus     `json:"nodes"`
	Workloads []WorkloadStatus `json:"workloads"`
	Processes []Process        `json:"processes"`
	PSS       int64            `json:"pssKiB"` // of all processes together
}

// NodeStatus is one node.
type NodeStatus struct {
	Name       string            `json:"name"`
	Role       string            `json:"role"`
	Address    string            `json:"address"`       // the primary one
	Addresses  []netip.Addr      `json:"addresses"`     // one of each family
	PID        int               `json:"pid,omitempty"` // of its init
	Ready      bool              `json:"ready"`
	Message    string            `json:"message,omitempty"` // why it is not ready
	Restarts   int               `json:"restarts,omitempty"`
	Components []ComponentStatus `json:"components"`
}

// ComponentStatus is one process of a node's init.
type ComponentStatus struct {
	Name     string `json:"name"`
	Running  bool   `json:"running"`
	Done     bool   `json:"done,omitempty"` // it ran once and ended well
	Restarts int    `json:"restarts,omitempty"`
	Exit     string `json:"exit,omitempty"`
}

// WorkloadStatus is a DaemonSet or Deployment of Fairway's.
type WorkloadStatus struct {
	Kind  string `json:"kind"`
	Name  string `json:"name"` // with namespace
	Ready int    `json:"ready"`
	Want  int    `json:"want"`
}

// Process is one process of the cluster, seen from the machine.
type Process struct {
	PID   int    `json:"pid"`
	Node  string `json:"node,omitempty"`
	Where string `json:"where"` // supervisor, system, pod
	Name  string `json:"name"`
	PSS   int64  `json:"pssKiB"` // proportional set size
}

// Healthy reports whether everything is as `up` leaves it.
func (s *Status) Healthy() bool {
	bad := slices.ContainsFunc(s.Nodes, func(n NodeStatus) bool { return !n.Ready }) ||
		slices.ContainsFunc(s.Workloads, func(w WorkloadStatus) bool { return w.Ready < w.Want })
	return s.Running && s.API && !bad
}

// Status looks at a cluster from all sides. It needs no working API server.
func (r Root) Status(ctx context.Context, name string) (*Status, error) {
	s, err := r.Load(name)
	if err != nil {
		return nil, err
	}
	run, err := s.readRun()
	if err != nil {
		return nil, err
	}
	out := &Status{
		Name: s.Name, Running: s.supervised(), Server: s.plan.APIServer(), Context: s.context(),
		Pools: joinPrefixes(s.plan.LoadBalancers), Egress: s.Config.Egress,
		Nodes: []NodeStatus{}, Workloads: []WorkloadStatus{}, Processes: []Process{},
	}
	if out.Running {
		out.Error = run.Error
	} else {
		run = Run{}
	}
	nodes := s.askAPI(ctx, out)
	for i, n := range s.Config.Nodes {
		ns := NodeStatus{
			Name: n.Name, Role: n.Role, Address: s.plan.NodeIP(i).String(), Addresses: s.plan.NodeIPs(i),
			PID: run.Nodes[n.Name], Restarts: run.Restarts[n.Name], Components: s.componentStatus(n.Name, run.Nodes[n.Name] != 0),
		}
		switch obj := nodes[n.Name]; {
		case !out.Running:
			ns.Message = "the cluster is not running"
		case !out.API:
			ns.Message = "the API server does not answer"
		case obj == nil:
			ns.Message = "it has not registered"
		default:
			ns.Ready, ns.Message = obj.ready()
			if ns.Ready {
				ns.Message = ""
			}
		}
		out.Nodes = append(out.Nodes, ns)
	}
	return out, s.addProcesses(out)
}

// askAPI fills in what the API server knows, if it answers.
func (s *State) askAPI(ctx context.Context, out *Status) map[string]*nodeObject {
	client, err := s.newAPI()
	if err != nil || !out.Running {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if out.API = client.ready(ctx); !out.API {
		return nil
	}
	nodes, err := client.nodes(ctx)
	if err != nil {
		out.Error = err.Error()
	}
	list, err := client.fairway(ctx)
	if err != nil {
		out.Error = err.Error()
	}
	for _, w := range list {
		ready, want := w.counts()
		out.Workloads = append(out.Workloads, WorkloadStatus{w.Kind, w.Metadata.Namespace + "/" + w.Metadata.Name, ready, want})
	}
	return nodes
}

// componentStatus says how the components of a node fare; those of a node that
// does not run do not run either.
func (s *State) componentStatus(nodeName string, running bool) []ComponentStatus {
	out := []ComponentStatus{}
	stats, err := s.readStats(nodeName)
	if err != nil {
		return out // it has not started any
	}
	for _, c := range stats {
		out = append(out, ComponentStatus{c.Name, running && c.PID != 0, c.Done, max(0, c.Starts-1), c.Exit})
	}
	return out
}

// addProcesses lists the processes in the cluster's cgroups, largest first.
func (s *State) addProcesses(out *Status) error {
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	groups := map[string][2]string{"supervisor": {"", "supervisor"}}
	for _, n := range s.nodeNames() {
		groups[n+"/system"] = [2]string{n, "system"}
		groups[n+"/kubepods"] = [2]string{n, "pod"}
	}
	for group, label := range groups {
		for _, p := range processes(hs, s.cgroup()+"/"+group) {
			p.Node, p.Where = label[0], label[1]
			out.Processes = append(out.Processes, p)
			out.PSS += p.PSS
		}
	}
	slices.SortFunc(out.Processes, func(a, b Process) int {
		if a.PSS != b.PSS {
			return int(b.PSS - a.PSS)
		}
		return a.PID - b.PID
	})
	return nil
}

func processes(hs cgroup.Hierarchies, group string) []Process {
	var out []Process
	for _, pid := range hs.Procs(group) {
		dir := filepath.Join("/proc", strconv.Itoa(pid))
		cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || len(cmdline) == 0 {
			continue // it has just ended
		}
		out = append(out, Process{PID: pid, Name: processName(cmdline), PSS: readPSS(dir)})
	}
	return out
}

// processName shortens a command line to what tells processes apart: our
// multicall programs by their first argument.
func processName(cmdline []byte) string {
	args := strings.Split(strings.TrimRight(string(cmdline), "\x00"), "\x00")
	name := filepath.Base(args[0])
	if (name == kubeTool || name == "fairway") && len(args) > 1 {
		return args[1]
	}
	return name
}

// readPSS returns the proportional set size in KiB: shared pages count in parts.
func readPSS(procDir string) int64 {
	f, err := os.Open(filepath.Join(procDir, "smaps_rollup"))
	if err != nil {
		return 0
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		var kib int64
		if _, err := fmt.Sscanf(sc.Text(), "Pss: %d kB", &kib); err == nil {
			return kib
		}
	}
	return 0
}
