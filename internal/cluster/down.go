package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/cluster/cgroup"
	"github.com/fairway-net/fairway/internal/cluster/kubeconfig"
	"github.com/fairway-net/fairway/internal/cluster/underlay"
)

// Down removes the cluster: its processes first, and with them their
// namespaces and mounts; then what it had on the machine; its files last, so
// that a `down` that was cut short can be repeated. It returns what it kept.
func (r Root) Down(ctx context.Context, name string, p *Progress) (kept []string, err error) {
	unlock, err := r.Lock(name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	defer r.tidy(name)

	s, err := r.Load(name)
	if errors.Is(err, ErrNoCluster) {
		return nil, r.downWithoutState(name, err)
	}
	if err != nil {
		return nil, err
	}
	phases := []struct {
		name string
		do   func() error
	}{
		{"end processes", s.endProcesses},
		{"disconnect the machine", func() error {
			kept, err = s.machine().Disconnect()
			if errors.Is(err, underlay.ErrForeign) {
				kept, err = []string{err.Error()}, nil
			}
			return err
		}},
		{"clean kubeconfig", s.cleanKubeconfigs},
		{"remove files", func() error {
			if err := s.removeFiles(); err != nil {
				return err
			}
			more, err := r.restoreDelegation()
			kept = append(kept, more...)
			return err
		}},
	}
	for _, phase := range phases {
		if err := p.run(phase.name, phase.do); err != nil {
			return kept, cli.Hint(err, fmt.Sprintf("run \"fairway down --name %s\" again", name))
		}
	}
	return kept, nil
}

// downWithoutState removes what a cluster has left whose state is gone.
func (r Root) downWithoutState(name string, missing error) error {
	s := &State{Name: name, dir: filepath.Join(string(r), name)}
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	_, filesErr := os.Stat(s.dir)
	if len(hs.Exists(s.cgroup())) == 0 && filesErr != nil {
		return missing
	}
	if err := s.endProcesses(); err != nil || filesErr != nil {
		return err
	}
	return s.removeFiles()
}

// endProcesses kills everything in the cluster's cgroup and removes it.
func (s *State) endProcesses() error {
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	if dir := s.otherSupervisor(hs); dir != "" {
		return cli.Hint(fmt.Errorf("a cluster %q of %s is running", s.Name, filepath.Dir(dir)),
			"cgroups bear the cluster's name: take that one down, with FAIRWAY_STATE="+filepath.Dir(dir)+", or use another name")
	}
	if err := hs.Kill(s.cgroup(), 15*time.Second); err != nil {
		return err
	}
	if err := hs.Remove(s.cgroup()); err != nil {
		return err
	}
	// The parent is everybody's: it goes with the last cluster.
	for _, dir := range hs.Exists("fairway") {
		_ = os.Remove(dir) // fails while it is in use
	}
	return nil
}

// otherSupervisor returns the directory of a running cluster that has this
// one's name and another state directory, or "".
func (s *State) otherSupervisor(hs cgroup.Hierarchies) string {
	for _, pid := range hs.Procs(s.cgroup() + "/supervisor") {
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		args := strings.Split(strings.TrimRight(string(cmdline), "\x00"), "\x00")
		if err == nil && len(args) == 3 && args[1] == VerbSupervise && args[2] != s.dir {
			return args[2]
		}
	}
	return ""
}

func (s *State) cleanKubeconfigs() error {
	var errs []error
	for _, path := range s.Kubeconfigs {
		if _, err := kubeconfig.Remove(path, s.context()); err != nil {
			errs = append(errs, fmt.Errorf("clean %s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}

// removeFiles deletes the state directory. All mounts in it were made in
// namespaces that are gone; should one be visible here nevertheless, nothing
// is deleted, for it could be the machine's own files behind it.
func (s *State) removeFiles() error {
	if s.dir == "" || s.dir == "/" {
		return errors.New("no state directory")
	}
	mounts, err := mountsBelow(s.dir)
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return cli.Hint(fmt.Errorf("%s is still mounted", strings.Join(mounts, ", ")), "unmount it, then run the command again")
	}
	return os.RemoveAll(s.dir)
}

// mountsBelow lists the mount points at or below dir in this namespace.
func mountsBelow(dir string) ([]string, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []string
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		if fields := strings.Fields(sc.Text()); len(fields) > 4 && (fields[4] == dir || strings.HasPrefix(fields[4], dir+"/")) {
			out = append(out, fields[4])
		}
	}
	return out, sc.Err()
}

// tidy removes the lock files, and the root if the last cluster is gone.
func (r Root) tidy(name string) {
	_ = os.Remove(r.lockFile(name))
	if len(r.Names()) == 0 {
		if unlock, err := lock(r.lockFile(""), 0); err == nil {
			_ = os.Remove(r.lockFile(""))
			unlock()
		}
		_ = os.Remove(string(r)) // stays if something else is in it
	}
}
