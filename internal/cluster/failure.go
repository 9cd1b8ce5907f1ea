package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/cluster/node"
)

// Failure is an error of a phase, with what the component at fault logged last.
type Failure struct {
	Err       error
	Component string   // "kubelet on node1", "pod NAMESPACE/NAME"
	Lines     []string // of its log
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// explain finds the component, or the pod of Fairway, that most likely made a
// phase fail.
func (s *State) explain(phase string, err error) error {
	f := &Failure{Err: err}
	look := "fairway logs --name " + s.Name + " supervisor"
	if pod, lines := s.podAtFault(phase); pod != "" {
		f.Component, f.Lines = "pod "+pod, lines
		namespace, name, _ := strings.Cut(pod, "/")
		look = fmt.Sprintf("kubectl --context %s -n %s describe pod %s", s.context(), namespace, name)
	} else if nodeName, component := s.suspect(phase); component != "" {
		f.Component, f.Lines = component+" on "+nodeName, tail(filepath.Join(s.nodeLogs(nodeName), component+".log"), 5)
		look = fmt.Sprintf("fairway logs --name %s %s --node %s", s.Name, component, nodeName)
	} else {
		f.Component, f.Lines = "the supervisor", tail(s.supervisorLog(), 5)
	}
	if cli.HintOf(err) != "" {
		return f
	}
	return cli.Hint(f, fmt.Sprintf("see \"%[2]s\"; \"fairway up --name %[1]s\" tries again, \"fairway down --name %[1]s\" removes the cluster", s.Name, look))
}

// podAtFault is suspectPod for the phases that wait for pods.
func (s *State) podAtFault(phase string) (string, []string) {
	if phase != "nodes are ready" && phase != "Fairway is ready" {
		return "", nil
	}
	return s.suspectPod()
}

// suspect names the component that has ended most often, or else the one that
// the phase is about.
func (s *State) suspect(phase string) (nodeName, component string) {
	if run, err := s.readRun(); err != nil || len(run.Nodes) < len(s.nodeNames()) {
		return "", "" // not even all nodes run: the supervisor knows why
	}
	worst := 0
	for _, n := range s.nodeNames() {
		stats, err := s.readStats(n)
		if err != nil {
			continue
		}
		for _, c := range stats {
			if ended := c.Starts - 1; c.Exit != "" && !c.Done && ended >= worst {
				worst, nodeName, component = ended, n, c.Name
			}
		}
	}
	if component != "" {
		return nodeName, component
	}
	first := s.nodeNames()[0]
	switch phase {
	case "API server answers":
		return first, "kube-apiserver"
	case "nodes register", "nodes are ready", "Fairway is ready":
		return first, "kubelet"
	}
	return "", ""
}

// readStats reads what a node's init says about its components.
func (s *State) readStats(nodeName string) ([]node.Stat, error) {
	data, err := os.ReadFile(filepath.Join(s.nodeRoot(nodeName), node.StatFile))
	if err != nil {
		return nil, err
	}
	var out []node.Stat
	return out, json.Unmarshal(data, &out)
}

// trouble matches lines that say more than that all is well: klog's E and F,
// the words of zap, logrus and slog.
var trouble = regexp.MustCompile(`^[EF]\d{4} |(?i)\b(error|fatal|panic|fail(ed|ure)?)\b`)

// tail returns the last n lines of a log that look like trouble, or else the
// last n lines.
func tail(path string, n int) []string {
	const window = 256 << 10
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > window {
		if _, err := f.Seek(-window, io.SeekEnd); err != nil {
			return nil
		}
	}
	data, err := io.ReadAll(f)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	bad := slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !trouble.MatchString(l) })
	if len(bad) > 0 {
		lines = bad
	}
	return lines[max(0, len(lines)-n):]
}
