package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"time"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/cluster/cgroup"
	"github.com/fairway-net/fairway/internal/cluster/node"
	"github.com/fairway-net/fairway/internal/cluster/underlay"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Root is the directory under which every cluster has its state.
type Root string

// FindRoot returns $FAIRWAY_STATE or its default.
func FindRoot(getenv func(string) string) Root {
	if dir := getenv("FAIRWAY_STATE"); dir != "" {
		if abs, err := filepath.Abs(dir); err == nil {
			return Root(abs)
		}
	}
	return "/var/lib/fairway"
}

// State is what is recorded of a cluster.
type State struct {
	Name    string    `json:"name"`
	Index   int       `json:"index"`
	Config  Config    `json:"config"`
	Created time.Time `json:"created"`
	// Kubeconfigs are the users' files that have the cluster's context.
	Kubeconfigs []string `json:"kubeconfigs,omitempty"`

	dir  string
	plan *Plan
}

// Layout of a cluster's state directory.
func (s *State) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

func (s *State) stateFile() string            { return s.path("state.json") }
func (s *State) runFile() string              { return s.path("run.json") }
func (s *State) supervisorLog() string        { return s.path("supervisor.log") }
func (s *State) supervisorLock() string       { return s.path("supervisor.lock") }
func (s *State) kubeconfig() string           { return s.path("kubeconfig") }
func (s *State) pki(name string) string       { return s.path("pki", name) }
func (s *State) images() string               { return s.path("images") }
func (s *State) nodeRoot(name string) string  { return s.path("nodes", name) }
func (s *State) nodeSpec(name string) string  { return s.path("specs", name+".json") }
func (s *State) nodeLogs(name string) string  { return filepath.Join(s.nodeRoot(name), node.LogDir) }
func (s *State) cgroup() string               { return "fairway/" + s.Name }
func (s *State) nodeCgroup(n string) string   { return s.cgroup() + "/" + n }
func (s *State) systemCgroup(n string) string { return s.nodeCgroup(n) + "/system" }
func (s *State) context() string              { return "fairway-" + s.Name }
func (s *State) nodeNames() []string {
	var out []string
	for _, n := range s.Config.Nodes {
		out = append(out, n.Name)
	}
	return out
}

func (s *State) machine() *underlay.Machine {
	return &underlay.Machine{
		Index:  s.Index,
		Owner:  s.dir,
		Addrs:  s.plan.Machine(),
		OnLink: s.plan.LoadBalancers,
		Closed: s.plan.closed(),
		NAT:    s.Config.Egress == EgressNAT,
		Mark:   s.path("forward"),
	}
}

// ErrNoCluster says that there is no cluster of that name.
var ErrNoCluster = errors.New("no such cluster")

// Load reads the state of a cluster.
func (r Root) Load(name string) (*State, error) {
	if err := CheckName("cluster", name); err != nil {
		return nil, err
	}
	s := &State{dir: filepath.Join(string(r), name)}
	data, err := os.ReadFile(s.stateFile())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, cli.Hint(fmt.Errorf("cluster %q: %w", name, ErrNoCluster), fmt.Sprintf("start it with \"fairway up --name %s\"", name))
	case errors.Is(err, fs.ErrPermission):
		return nil, cli.Hint(err, "run it with sudo")
	case err != nil:
		return nil, err
	}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, cli.Hint(fmt.Errorf("read state of cluster %q: %w", name, err), fmt.Sprintf("remove the cluster with \"fairway down --name %s\"", name))
	}
	s.plan, err = NewPlan(s.Config.Networking, s.Index, len(s.Config.Nodes))
	return s, err
}

// Create records a new cluster, with the first index that is free here and on
// the machine.
func (r Root) Create(c Config, now time.Time) (*State, error) {
	// All names share the indices.
	unlock, err := r.Lock("")
	if err != nil {
		return nil, err
	}
	defer unlock()
	used := map[int]string{}
	for _, name := range r.Names() {
		if s, err := r.Load(name); err == nil {
			used[s.Index] = name
		}
	}
	for i := range maxClusters {
		plan, err := NewPlan(c.Networking, i, len(c.Nodes))
		if err != nil {
			return nil, err
		}
		if _, err := netlink.LinkByName(underlay.LinkName(i)); err == nil || used[i] != "" || routed(plan) {
			continue
		}
		s := &State{Name: c.Name, Index: i, Config: c, Created: now, dir: filepath.Join(string(r), c.Name), plan: plan}
		if err := os.MkdirAll(s.dir, 0o755); err != nil {
			return nil, err
		}
		return s, s.save()
	}
	return nil, cli.Hint(errors.New("no free address range for another cluster"),
		"take one down, or set networking.underlay and loadBalancerPools in a --config file to networks that the machine has no route to")
}

// routed reports whether the machine already has an interface in the
// underlay or load balancer range, which then are not ours to take.
func routed(p *Plan) bool {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return false
	}
	for _, r := range routes {
		dst := prefixOf(r.Dst)
		if dst.Bits() <= 0 || r.Type == unix.RTN_UNREACHABLE {
			continue // a default route is no claim
		}
		if slices.ContainsFunc(slices.Concat(p.Underlay, p.LoadBalancers), dst.Overlaps) {
			return true
		}
	}
	return false
}

// noteDelegation records once, before the first cluster, what the machine's
// cgroups hand down, for the last `down` to restore.
func (r Root) noteDelegation() error {
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	was, err := hs.Delegation()
	if err != nil || hs.Layout() != "v2" || len(hs.Exists("fairway")) > 0 {
		return err
	}
	return writeJSON(r.delegationFile(), was, 0o644)
}

func (r Root) delegationFile() string { return filepath.Join(string(r), ".delegation") }

// restoreDelegation is noteDelegation's counterpart, for when no cluster is left.
func (r Root) restoreDelegation() (kept []string, err error) {
	hs, err := hierarchies()
	if err != nil || len(hs.Exists("fairway")) > 0 {
		return nil, err
	}
	data, err := os.ReadFile(r.delegationFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var was []string
	if err == nil {
		err = json.Unmarshal(data, &was)
	}
	if err != nil {
		return nil, err
	}
	if kept, err = hs.Undelegate(was); err != nil {
		return kept, err
	}
	return kept, os.Remove(r.delegationFile())
}

// Names lists the clusters under the root.
func (r Root) Names() []string {
	entries, _ := os.ReadDir(string(r)) // no directory, no clusters
	var out []string
	for _, e := range entries {
		if e.IsDir() && dnsLabel.MatchString(e.Name()) {
			out = append(out, e.Name())
		}
	}
	sort.Strings(out)
	return out
}

func (s *State) save() error {
	return writeJSON(s.stateFile(), s, 0o644)
}

// writeJSON replaces a file whole.
func writeJSON(path string, v any, mode fs.FileMode) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(path, append(data, '\n'), mode)
}

func replaceFile(path string, data []byte, mode fs.FileMode) error {
	tmp := path + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(tmp, data, mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// lock takes an exclusive lock that dies with the process. Another holder is
// waited for until the deadline. The file may be removed by whoever holds the
// lock.
func lock(path string, wait time.Duration) (unlock func(), err error) {
	deadline := time.Now().Add(wait)
	for {
		f, err := tryLock(path)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			return nil, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func tryLock(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	// The holder before us may have removed the file: ours is then a lock
	// that nobody else sees.
	mine, err1 := f.Stat()
	there, err2 := os.Stat(path)
	if err1 != nil || err2 != nil || !os.SameFile(mine, there) {
		f.Close()
		return nil, unix.EWOULDBLOCK
	}
	return f, nil
}

func (r Root) lockFile(name string) string { return filepath.Join(string(r), ".lock-"+name) }

// Lock keeps other invocations from changing the cluster of that name.
func (r Root) Lock(name string) (unlock func(), err error) {
	unlock, err = lock(r.lockFile(name), 30*time.Second)
	if errors.Is(err, fs.ErrPermission) {
		return nil, cli.Hint(err, "run it with sudo")
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, cli.Hint(fmt.Errorf("another fairway command is changing cluster %q", name), "wait for it, or end it")
	}
	return unlock, err
}

// hierarchies is the machine's cgroup layout.
func hierarchies() (cgroup.Hierarchies, error) {
	hs, err := cgroup.Find()
	if err == nil && len(hs) == 0 {
		err = cli.Hint(errors.New("no cgroup file system is mounted"), "mount cgroup2 on /sys/fs/cgroup")
	}
	return hs, err
}
