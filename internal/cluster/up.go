package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/cluster/kubeconfig"
	"github.com/fairway-net/fairway/internal/cluster/underlay"
)

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
	unlock, err := r.Lock(opt.Name)
	if err != nil {
		return false, err
	}
	defer unlock()
	s, err := r.findOrCreate(opt)
	if err != nil {
		return false, err
	}
	u := &up{Root: r, State: s, opt: opt}
	if u.tools, err = findTools(); err != nil {
		return false, err
	}
	if s.supervised() && s.machine().Connected() {
		if u.healthy(ctx) {
			return false, s.mergeKubeconfig(opt.Kubeconfig)
		}
		err := u.settle(ctx)
		if err == nil || ctx.Err() != nil {
			return true, err
		}
		opt.Progress.Say("It does not come good: %v.\nStarting its processes anew.", err)
	}
	return true, u.phases(ctx, append(u.boot(), u.furnish()...))
}

// up is one run of Up.
type up struct {
	Root
	*State
	opt    UpOptions
	tools  string
	client *api
	digest string // of Fairway's image
}

type phase struct {
	name string
	do   func(context.Context) error
}

// boot lists the phases that lead from any state to an API server that answers.
func (u *up) boot() []phase {
	return []phase{
		// First, for what an ailing cluster of ours still holds the machine lacks.
		{"clear what is left", func(context.Context) error { return u.clear() }},
		{"check the machine", func(context.Context) error { return u.check() }},
		{"prepare nodes and images", func(context.Context) error { return u.prepareAll() }},
		{"start nodes", u.start},
		{"API server answers", u.awaitAPI},
	}
}

// furnish lists the phases that make a usable cluster of one whose API server
// answers. All of them may be repeated.
func (u *up) furnish() []phase {
	register := phase{"nodes register", u.awaitRegistered}
	if u.opt.Bare {
		return []phase{register}
	}
	return []phase{
		{"install Fairway", func(ctx context.Context) error { return u.install(ctx, u.client, u.digest) }},
		register,
		{"nodes are ready", u.awaitReady},
		{"Fairway is ready", u.awaitFairway},
	}
}

// settle brings a cluster whose processes run to where it should be, without
// ending them: components may be about to be restarted by their node's init,
// Fairway may be of an older build, or not installed.
func (u *up) settle(ctx context.Context) error {
	const patience = time.Minute
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not within %s", patience))
	defer cancel()
	list := []phase{{"API server answers", u.awaitAPI}}
	if !u.opt.Bare {
		list = append(list, phase{"load images", u.refreshImages})
	}
	return u.phases(ctx, append(list, u.furnish()...))
}

// phases performs a list of phases and stores their times.
func (u *up) phases(ctx context.Context, list []phase) error {
	p := u.opt.Progress
	for _, phase := range list {
		if err := p.run(phase.name, func() error { return phase.do(ctx) }); err != nil {
			return u.explain(phase.name, err)
		}
	}
	return writeJSON(u.path("up.json"), map[string]any{"phases": p.Phases, "ms": p.Total().Milliseconds()}, 0o644)
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

// healthy reports whether there is nothing to do: the API server is ready, and
// so are every node and every workload of Fairway, of this very build.
func (u *up) healthy(ctx context.Context) bool {
	client, err := u.newAPI()
	if err != nil || !client.ready(ctx) {
		return false
	}
	nodes, err := client.nodes(ctx)
	if err != nil {
		return false
	}
	for _, name := range u.nodeNames() {
		n := nodes[name]
		if n == nil {
			return false
		}
		if ok, _ := n.ready(); !ok && !u.opt.Bare {
			return false
		}
	}
	if u.opt.Bare {
		return true
	}
	digest, err := u.writeBuiltin(u.tools)
	if err != nil {
		return false
	}
	list, err := client.fairway(ctx)
	if err != nil || len(list) == 0 {
		return false
	}
	return !slices.ContainsFunc(list, func(w *workload) bool {
		return !w.done(len(nodes)) || w.Spec.Template.Metadata.Annotations[imageAnnotation] != digest
	})
}

// check runs the doctor's checks and stops at what would surely fail.
func (u *up) check() error {
	for _, c := range u.Examine(u.State) {
		if c.Level == Fail {
			return cli.Hint(fmt.Errorf("%s: %s", c.Name, c.Message), c.Fix)
		}
	}
	return nil
}

// clear ends what still runs of the cluster and removes what only made sense
// while it ran. Objects, images and volumes stay.
func (s *State) clear() error {
	err := s.endProcesses()
	if err == nil {
		_, err = s.machine().Disconnect()
	}
	if errors.Is(err, underlay.ErrForeign) {
		return cli.Hint(err, fmt.Sprintf("\"fairway down --name %[1]s\" and \"fairway up --name %[1]s\" make the cluster anew, with addresses of its own", s.Name))
	}
	return err
}

// prepareAll writes certificates, node directories and images.
func (u *up) prepareAll() error {
	var t tasks
	t.do(func() error { return u.prepare(u.tools, time.Now()) })
	t.do(func() (err error) { u.digest, err = u.writeBuiltin(u.tools); return err })
	return t.wait()
}

// refreshImages gives running nodes the images of this build.
func (u *up) refreshImages(ctx context.Context) (err error) {
	if u.digest, err = u.writeBuiltin(u.tools); err != nil {
		return err
	}
	_, err = u.State.loadImages(ctx, []string{u.builtinFile()})
	return err
}

// start starts the supervisor, and with it all nodes, and connects the machine.
func (u *up) start(ctx context.Context) error {
	if err := u.noteDelegation(); err != nil {
		return err
	}
	pid, err := u.startSupervisor(ctx)
	if err != nil {
		return err
	}
	return u.machine().Connect(pid)
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
