package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/cluster/kubeconfig"
)

// poll is how often a condition is looked at while a phase waits for it.
const poll = 40 * time.Millisecond

// UpOptions are the choices of one `fairway up`.
type UpOptions struct {
	Name       string
	Config     *Config // nil: that of the existing cluster, or the defaults
	Bare       bool    // Kubernetes only: Fairway is not installed, nor waited for
	Kubeconfig kubeconfig.Target
	Progress   *Progress
}

// Up brings the cluster to the state "running", from whatever state it is in,
// and reports whether that took any change.
func (r Root) Up(ctx context.Context, opt UpOptions) (changed bool, err error) {
	p := opt.Progress
	unlock, err := r.Lock(opt.Name)
	if err != nil {
		return false, err
	}
	defer unlock()

	s, err := r.findOrCreate(opt)
	if err != nil {
		return false, err
	}
	if s.healthy(ctx, opt.Bare) {
		return false, s.mergeKubeconfig(opt.Kubeconfig)
	}
	var tools string
	var client *api
	phases := []struct {
		name string
		do   func() error
	}{
		{"check the machine", func() error { tools, err = r.check(s); return err }},
		{"clear what is left", func() error { return s.clear(ctx) }},
		{"prepare nodes and images", func() error { return s.prepareAll(tools) }},
		{"start nodes", func() error { return s.start(ctx) }},
		{"API server answers", func() error {
			if client, err = s.awaitAPI(ctx); err != nil {
				return err
			}
			return s.mergeKubeconfig(opt.Kubeconfig) // what fails from here on can be looked into
		}},
		{"install Fairway", func() error { return s.install(ctx, client) }},
		{"nodes register", func() error { return s.awaitNodes(ctx, client, false) }},
		{"nodes are ready", func() error { return s.awaitNodes(ctx, client, true) }},
		{"Fairway is ready", func() error { return s.awaitFairway(ctx, client) }},
	}
	needsFairway := []string{"install Fairway", "nodes are ready", "Fairway is ready"}
	for _, phase := range phases {
		if opt.Bare && slices.Contains(needsFairway, phase.name) {
			continue
		}
		if err := p.run(phase.name, phase.do); err != nil {
			return true, s.explain(phase.name, err)
		}
	}
	return true, writeJSON(s.path("up.json"), map[string]any{"phases": p.Phases, "ms": p.Total().Milliseconds()}, 0o644)
}

// findOrCreate loads the cluster's state, or makes it.
func (r Root) findOrCreate(opt UpOptions) (*State, error) {
	s, err := r.Load(opt.Name)
	if errors.Is(err, ErrNoCluster) {
		c := Config{Name: opt.Name}
		if opt.Config != nil {
			c = *opt.Config
		}
		if c, err = c.Complete(); err != nil {
			return nil, err
		}
		return r.Create(c, time.Now())
	}
	if err != nil || opt.Config == nil {
		return s, err
	}
	want, err := opt.Config.Complete()
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(want, s.Config) {
		return nil, cli.Hint(fmt.Errorf("cluster %q exists with another configuration", s.Name),
			fmt.Sprintf("run \"fairway down --name %s\" first, or \"fairway up --name %s\" without further flags", s.Name, s.Name))
	}
	return s, nil
}

// healthy reports whether there is nothing to do: every process lives, the API
// server is ready, and so is every node.
func (s *State) healthy(ctx context.Context, bare bool) bool {
	if !s.supervised() || !s.machine().Connected() {
		return false
	}
	client, err := s.newAPI()
	if err != nil || !client.ready(ctx) {
		return false
	}
	if bare {
		return true
	}
	nodes, err := client.nodes(ctx)
	if err != nil {
		return false
	}
	for _, name := range s.nodeNames() {
		if n := nodes[name]; n == nil {
			return false
		} else if ok, _ := n.ready(); !ok {
			return false
		}
	}
	list, err := client.fairway(ctx)
	if err != nil || len(list) == 0 {
		return false
	}
	return !slices.ContainsFunc(list, func(w *workload) bool { return !w.done(len(nodes)) })
}

// check runs the doctor's checks and stops at what would surely fail.
func (r Root) check(s *State) (tools string, err error) {
	for _, c := range r.Examine(s) {
		if c.Level == Fail {
			return "", cli.Hint(fmt.Errorf("%s: %s", c.Name, c.Message), c.Fix)
		}
	}
	return findTools()
}

// clear ends what still runs of the cluster and removes what only made sense
// while it ran. Objects, images and volumes stay.
func (s *State) clear(ctx context.Context) error {
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	if err := hs.Kill(s.cgroup(), 15*time.Second); err != nil {
		return err
	}
	if err := hs.Remove(s.cgroup()); err != nil {
		return err
	}
	_, err = s.machine().Disconnect()
	return err
}

// prepareAll writes certificates, node directories and images.
func (s *State) prepareAll(tools string) error {
	var t tasks
	t.do(func() error { return s.prepare(tools, time.Now()) })
	t.do(func() error { return s.writeBuiltin(tools) })
	return t.wait()
}

// start starts the supervisor, and with it all nodes, and connects the machine.
func (s *State) start(ctx context.Context) error {
	pid, err := s.startSupervisor(ctx)
	if err != nil {
		return err
	}
	return s.machine().Connect(pid)
}

func (s *State) awaitAPI(ctx context.Context) (*api, error) {
	client, err := s.newAPI()
	if err != nil {
		return nil, err
	}
	return client, s.await(ctx, func() (bool, string) { return client.ready(ctx), "the API server does not answer" })
}

// awaitNodes waits until all nodes have registered, and then labels them, or
// until all are ready.
func (s *State) awaitNodes(ctx context.Context, client *api, ready bool) error {
	err := s.await(ctx, func() (bool, string) {
		nodes, err := client.nodes(ctx)
		if err != nil {
			return false, err.Error()
		}
		for _, name := range s.nodeNames() {
			n := nodes[name]
			if n == nil {
				return false, "node " + name + " has not registered"
			}
			if ok, why := n.ready(); ready && !ok {
				return false, fmt.Sprintf("node %s is not ready: %s", name, why)
			}
		}
		return true, ""
	})
	if err != nil || ready {
		return err
	}
	for _, n := range s.Config.Nodes {
		// A kubelet may not give itself a role (NodeRestriction).
		labels := map[string]string{"node-role.kubernetes.io/" + n.Role: ""}
		for k, v := range n.Labels {
			labels[k] = v
		}
		if err := client.merge(ctx, "/api/v1/nodes/"+n.Name, map[string]any{"metadata": map[string]any{"labels": labels}}); err != nil {
			return fmt.Errorf("label node %s: %w", n.Name, err)
		}
	}
	return nil
}

func (s *State) awaitFairway(ctx context.Context, client *api) error {
	return s.await(ctx, func() (bool, string) {
		list, err := client.fairway(ctx)
		if err != nil {
			return false, err.Error()
		}
		for _, w := range list {
			if !w.done(len(s.Config.Nodes)) {
				ready, want := w.counts()
				return false, fmt.Sprintf("%s %s/%s: %d of %d pods are ready", w.Kind, w.Metadata.Namespace, w.Metadata.Name, ready, want)
			}
		}
		return len(list) > 0, "no workload of Fairway exists"
	})
}

// await polls until done says so. The error of a wait that ends too early says
// what it last waited for.
func (s *State) await(ctx context.Context, done func() (bool, string)) error {
	last := ""
	for {
		ok, why := done()
		switch {
		case ok:
			return nil
		case ctx.Err() == nil:
			last = why
		case last == "":
			return context.Cause(ctx)
		default:
			return fmt.Errorf("%s: %w", last, context.Cause(ctx))
		}
		if broken := s.broken(); broken != nil {
			return broken
		}
		select {
		case <-ctx.Done():
		case <-time.After(poll):
		}
	}
}

// hopeless is how often a component may end before `up` no longer waits for it
// to come good.
const hopeless = 4

// broken reports a component that ends again and again.
func (s *State) broken() error {
	for _, n := range s.nodeNames() {
		stats, err := s.readStats(n)
		if err != nil {
			continue // it has not started any
		}
		for _, c := range stats {
			if c.Exit != "" && !c.Done && c.Starts >= hopeless {
				return fmt.Errorf("%s on node %s ended %d times: %s", c.Name, n, c.Starts, c.Exit)
			}
		}
	}
	return nil
}

// mergeKubeconfig gives the user's kubectl the cluster's context.
func (s *State) mergeKubeconfig(t kubeconfig.Target) error {
	if t.Path == "" {
		return nil
	}
	read := func(name string) ([]byte, error) { return os.ReadFile(s.pki(name)) }
	ca, err1 := read("ca.crt")
	cert, err2 := read("admin.crt")
	key, err3 := read("admin.key")
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	path, err := filepath.Abs(t.Path)
	if err != nil {
		return err
	}
	a := kubeconfig.Access{Context: s.context(), Server: s.plan.APIServer(), CA: ca, Cert: cert, Key: key}
	if err := kubeconfig.Merge(path, a, t.UID, t.GID); err != nil {
		return fmt.Errorf("merge kubeconfig: %w", err)
	}
	if slices.Contains(s.Kubeconfigs, path) {
		return nil
	}
	s.Kubeconfigs = append(s.Kubeconfigs, path)
	return s.save()
}

// removeFile removes a file that may be missing.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
