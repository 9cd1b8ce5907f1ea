package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fairway-net/fairway/internal/cluster/node"
	"github.com/fairway-net/fairway/internal/cluster/underlay"
	"golang.org/x/sys/unix"
)

// Verbs of the executable under which it starts itself again.
const (
	VerbSupervise = "cluster-supervise"
	VerbNode      = "node-init"
)

// Run is what the supervisor publishes about the processes of a running
// cluster.
type Run struct {
	Supervisor int            `json:"supervisor"`
	Nodes      map[string]int `json:"nodes"` // the init process of each node
	Restarts   map[string]int `json:"restarts,omitempty"`
	Error      string         `json:"error,omitempty"` // why a node cannot be started
}

// Supervise keeps the nodes of the cluster in dir running until the process is
// killed. Its network namespace, fresh from its start, is the underlay; its
// end ends all nodes, for it is their parent-death signal.
func Supervise(ctx context.Context, log *slog.Logger, dir string) error {
	s := &State{dir: dir}
	data, err := os.ReadFile(s.stateFile())
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, s); err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	unlock, err := lock(s.supervisorLock(), time.Second) // `fairway status` may just be trying it
	if err != nil {
		return fmt.Errorf("lock cluster: %w", err)
	}
	defer unlock()
	if err := underlay.MakeBridge(); err != nil {
		return fmt.Errorf("make underlay: %w", err)
	}
	sup := &supervisor{state: s, log: log, run: Run{Supervisor: os.Getpid(), Nodes: map[string]int{}, Restarts: map[string]int{}}}
	if err := sup.publish(func(*Run) {}); err != nil {
		return err
	}
	var wg sync.WaitGroup
	for _, name := range s.nodeNames() {
		wg.Go(func() { sup.keep(ctx, name) })
	}
	wg.Wait()
	return ctx.Err()
}

type supervisor struct {
	state *State
	log   *slog.Logger

	mu  sync.Mutex
	run Run
}

// publish changes the Run and stores it.
func (sup *supervisor) publish(f func(*Run)) error {
	sup.mu.Lock()
	defer sup.mu.Unlock()
	f(&sup.run)
	return writeJSON(sup.state.runFile(), sup.run, 0o644)
}

// keep starts one node again whenever its init ends.
func (sup *supervisor) keep(ctx context.Context, name string) {
	// The parent of a process is the thread that made it: were the thread
	// to end, the node would be killed (prctl(2), PR_SET_PDEATHSIG).
	runtime.LockOSThread()
	for ctx.Err() == nil {
		err := sup.runNode(ctx, name)
		if ctx.Err() != nil {
			return
		}
		sup.log.Error("node ended", "node", name, "err", err)
		err = sup.publish(func(r *Run) {
			delete(r.Nodes, name)
			r.Restarts[name]++
			if err != nil {
				r.Error = fmt.Sprintf("node %s: %v", name, err)
			}
		})
		if err != nil {
			sup.log.Error("publish state", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// runNode starts a node and waits for its end.
func (sup *supervisor) runNode(ctx context.Context, name string) error {
	s := sup.state
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	// What an earlier life of the node left would confuse kubelet.
	if err := hs.Kill(s.nodeCgroup(name), 10*time.Second); err != nil {
		return err
	}
	if err := hs.Remove(s.nodeCgroup(name)); err != nil {
		return err
	}
	if err := hs.Make(s.systemCgroup(name)); err != nil {
		return err
	}
	ready, hold, err := os.Pipe()
	if err != nil {
		return err
	}
	defer hold.Close()
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe, VerbNode, s.nodeSpec(name))
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.ExtraFiles = []*os.File{ready}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Pdeathsig:  unix.SIGKILL,
		Setsid:     true,
	}
	err = cmd.Start()
	ready.Close()
	if err != nil {
		return fmt.Errorf("start init: %w", err)
	}
	pid := cmd.Process.Pid
	err = errors.Join(
		hs.Enter(s.systemCgroup(name), pid),
		underlay.Plug(portName(s, name), pid, "eth0"),
		sup.publish(func(r *Run) { r.Nodes[name] = pid; r.Error = "" }),
	)
	if err != nil {
		_ = cmd.Process.Kill() // it waits for us and has done nothing yet
	}
	hold.Close()
	return errors.Join(err, cmd.Wait())
}

// portName names the node's port on the bridge; interface names are short, so
// it is the node's number.
func portName(s *State, node string) string {
	for i, n := range s.nodeNames() {
		if n == node {
			return fmt.Sprintf("port%d", i+1)
		}
	}
	return "port"
}

// RunNode is the main function of a node's init. The supervisor's pipe is file
// descriptor 3.
func RunNode(ctx context.Context, log *slog.Logger, specFile string) error {
	spec, err := node.ReadSpec(specFile)
	if err != nil {
		return err
	}
	ready := os.NewFile(3, "ready")
	unix.CloseOnExec(3)
	defer ready.Close()
	return node.Init(ctx, log.With("node", spec.Name), spec, ready)
}

// readRun reads what the supervisor published; the zero Run if nothing.
func (s *State) readRun() (Run, error) {
	var r Run
	data, err := os.ReadFile(s.runFile())
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(data, &r)
}

// supervised reports whether the supervisor lives: it then holds its lock. The
// question takes a shared lock, so that several may ask at the same time.
func (s *State) supervised() bool {
	f, err := os.Open(s.supervisorLock())
	if err != nil {
		return false // never started
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// startSupervisor starts the supervisor as a daemon in a network namespace of
// its own, and returns when it has made the underlay.
func (s *State) startSupervisor(ctx context.Context) (pid int, err error) {
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	logFile, err := os.OpenFile(s.supervisorLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return 0, err
	}
	defer logFile.Close()
	if err := os.Remove(s.runFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	cmd := exec.Command(exe, VerbSupervise, s.dir)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/root"}
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start supervisor: %w", err)
	}
	hs, err := hierarchies()
	if err == nil {
		group := s.cgroup() + "/supervisor"
		if err = hs.Make(group); err == nil {
			err = hs.Enter(group, cmd.Process.Pid)
		}
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		if r, err := s.readRun(); err == nil && r.Supervisor == cmd.Process.Pid {
			return r.Supervisor, nil
		}
		select {
		case err := <-ended:
			return 0, fmt.Errorf("supervisor ended at once: %w: %s", err, lastLine(s.supervisorLog()))
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func lastLine(path string) string {
	data, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return lines[len(lines)-1]
}
