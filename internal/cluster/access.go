package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/cluster/node"
)

// Kubeconfig returns the administrator's kubeconfig of a cluster.
func (r Root) Kubeconfig(name string) ([]byte, error) {
	s, err := r.Load(name)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(s.kubeconfig())
	if errors.Is(err, os.ErrPermission) {
		return nil, cli.Hint(err, "run it with sudo")
	}
	return data, err
}

// initOf returns the PID of a running node's init.
func (s *State) initOf(nodeName string) (int, error) {
	if !slices.Contains(s.nodeNames(), nodeName) {
		return 0, cli.Hint(fmt.Errorf("cluster %q has no node %q", s.Name, nodeName), "its nodes are: "+strings.Join(s.nodeNames(), ", "))
	}
	run, err := s.readRun()
	if err != nil {
		return 0, err
	}
	pid := run.Nodes[nodeName]
	if pid == 0 || !s.supervised() {
		return 0, cli.Hint(fmt.Errorf("node %q is not running", nodeName), fmt.Sprintf("start it with \"fairway up --name %s\"", s.Name))
	}
	return pid, nil
}

// Exec runs cmd in the namespaces and the cgroup of a node, as a shell on that
// machine would. The process of the caller stays in the cgroup.
func (r Root) Exec(name, nodeName string, cmd *exec.Cmd) error {
	s, err := r.Load(name)
	if err != nil {
		return err
	}
	pid, err := s.initOf(nodeName)
	if err != nil {
		return err
	}
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	if err := hs.Enter(s.systemCgroup(nodeName), os.Getpid()); err != nil {
		return err
	}
	return node.Run(pid, cmd)
}

// LoadImages imports image archives (OCI layouts or what `docker save` writes)
// into every node, all nodes at the same time.
func (r Root) LoadImages(ctx context.Context, name string, files []string) ([]string, error) {
	s, err := r.Load(name)
	if err != nil {
		return nil, err
	}
	return s.loadImages(ctx, files)
}

func (s *State) loadImages(ctx context.Context, files []string) ([]string, error) {
	var mu sync.Mutex
	var names []string
	for _, file := range files {
		var t tasks
		for i, n := range s.nodeNames() {
			t.do(func() error {
				out, err := s.importInto(ctx, n, file)
				if err != nil {
					return fmt.Errorf("load %s into %s: %w", file, n, err)
				}
				if i == 0 {
					mu.Lock()
					defer mu.Unlock()
					names = append(names, out...)
				}
				return nil
			})
		}
		if err := t.wait(); err != nil {
			return names, err
		}
	}
	return names, nil
}

// importInto imports one archive into one node's containerd and returns the
// names of its images.
func (s *State) importInto(ctx context.Context, nodeName, file string) ([]string, error) {
	pid, err := s.initOf(nodeName)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out, problems strings.Builder
	cmd := exec.CommandContext(ctx, filepath.Join(node.ToolDir, kubeTool), "ctr", "--namespace", "k8s.io", "images", "import", "--local", "-")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f, &out, &problems
	if err := node.Run(pid, cmd); err != nil {
		return nil, cli.Hint(fmt.Errorf("%w: %s", err, lastOf(problems.String())), "is it an OCI layout or a `docker save` archive?")
	}
	var names []string
	for line := range strings.Lines(out.String()) {
		// unpacking NAME (DIGEST)...done
		if f := strings.Fields(line); len(f) > 2 && f[0] == "unpacking" {
			digest, _, _ := strings.Cut(strings.TrimPrefix(f[2], "("), ")")
			if err := s.markLoaded(nodeName, digest); err != nil {
				return names, err
			}
			names = append(names, f[1])
		}
	}
	return names, nil
}

func lastOf(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// Logs writes the log of a component to w and, with follow, goes on until ctx
// ends. An empty node is the one that runs the component; "supervisor" has
// none.
func (r Root) Logs(ctx context.Context, w io.Writer, name, component, nodeName string, follow bool) error {
	s, err := r.Load(name)
	if err != nil {
		return err
	}
	path := s.supervisorLog()
	if component != "supervisor" {
		if path, err = s.findLog(component, nodeName); err != nil {
			return err
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		if _, err := io.Copy(w, f); err != nil || !follow {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// findLog returns the log file of a component.
func (s *State) findLog(component, nodeName string) (string, error) {
	nodes := s.nodeNames()
	if nodeName != "" {
		if !slices.Contains(nodes, nodeName) {
			return "", cli.Hint(fmt.Errorf("cluster %q has no node %q", s.Name, nodeName), "its nodes are: "+strings.Join(nodes, ", "))
		}
		nodes = []string{nodeName}
	}
	known := map[string]bool{"supervisor": true}
	for _, n := range nodes {
		files, _ := filepath.Glob(filepath.Join(s.nodeLogs(n), "*.log")) // the pattern is a constant
		for _, file := range files {
			base := strings.TrimSuffix(filepath.Base(file), ".log")
			if base == component {
				return file, nil
			}
			known[base] = true
		}
	}
	var list []string
	for c := range known {
		list = append(list, c)
	}
	slices.Sort(list)
	return "", cli.Hint(fmt.Errorf("no log of component %q", component), "there is one of: "+strings.Join(list, ", "))
}
