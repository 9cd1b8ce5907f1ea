package node

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Init is process 1 of a node. It waits until ready is closed by the
// supervisor, which by then has put it into its cgroup and given it its link,
// makes the node's world, and runs the components until it is killed: SIGKILL
// is how a node is switched off.
func Init(ctx context.Context, log *slog.Logger, spec *Spec, ready io.Reader) error {
	if os.Getpid() != 1 {
		return fmt.Errorf("start node %s: not process 1 of a PID namespace", spec.Name)
	}
	if _, err := io.Copy(io.Discard, ready); err != nil {
		return fmt.Errorf("wait for supervisor: %w", err)
	}
	if err := unix.Sethostname([]byte(spec.Name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := spec.enterRoot(); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	if err := setSysctls(); err != nil {
		return fmt.Errorf("set sysctl: %w", err)
	}
	if err := spec.Link.setUp(); err != nil {
		return fmt.Errorf("configure network: %w", err)
	}
	b := newBoard(log, spec.Components, ToolDir, LogDir, StatFile)
	go b.reap(nil)
	b.runAll(ctx, spec.Components)
	return ctx.Err()
}

// board knows the state of all components. As process 1 it must reap every
// orphan, so it is also the only one that waits for children.
type board struct {
	log                *slog.Logger
	tools, logs, stats string // directories of programs and logs, file of Stats

	mu    sync.Mutex
	order []string
	state map[string]*Stat
	exits map[int]chan syscall.WaitStatus // our own children, by PID
}

func newBoard(log *slog.Logger, components []Component, tools, logs, stats string) *board {
	b := &board{log: log, tools: tools, logs: logs, stats: stats, state: map[string]*Stat{}, exits: map[int]chan syscall.WaitStatus{}}
	for _, c := range components {
		b.state[c.Name] = &Stat{Name: c.Name}
		b.order = append(b.order, c.Name)
	}
	return b
}

// runAll runs all components until ctx ends.
func (b *board) runAll(ctx context.Context, components []Component) {
	var wg sync.WaitGroup
	for _, c := range components {
		wg.Go(func() { b.run(ctx, c) })
	}
	wg.Wait()
}

// run keeps one component running: wait, start, wait for its end, again.
func (b *board) run(ctx context.Context, c Component) {
	const first, last = 100 * time.Millisecond, 5 * time.Second
	delay := first
	for ctx.Err() == nil {
		for _, w := range c.After {
			b.await(ctx, w)
		}
		if ctx.Err() != nil {
			return
		}
		began := time.Now()
		status, err := b.runOnce(c)
		how := describe(status, err)
		b.log.Info("component ended", "component", c.Name, "how", how, "after", time.Since(began).Round(time.Millisecond))
		ok := c.Once && err == nil && status.ExitStatus() == 0
		b.update(c.Name, func(s *Stat) { s.PID, s.Exit, s.Done = 0, how, ok })
		if ok {
			return
		}
		if time.Since(began) > 30*time.Second {
			delay = first
		}
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
		delay = min(2*delay, last)
	}
}

func describe(status syscall.WaitStatus, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case status.Signaled():
		return "signal: " + status.Signal().String()
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}

// runOnce starts the component and waits for its end.
func (b *board) runOnce(c Component) (syscall.WaitStatus, error) {
	if err := os.MkdirAll(b.logs, 0o755); err != nil {
		return 0, err
	}
	logFile, err := os.OpenFile(filepath.Join(b.logs, c.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return 0, err
	}
	defer logFile.Close()
	if c.Dir != "" {
		if err := os.MkdirAll(c.Dir, 0o700); err != nil {
			return 0, err
		}
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	exit := make(chan syscall.WaitStatus, 1)
	// The lock is held until the child is known, so that reap cannot see it
	// end before that.
	b.mu.Lock()
	p, err := os.StartProcess(filepath.Join(b.tools, c.Args[0]), c.Args, &os.ProcAttr{
		Dir:   "/",
		Env:   append([]string{"PATH=" + SearchPath, "HOME=/root"}, c.Env...),
		Files: []*os.File{null, logFile, logFile},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		b.mu.Unlock()
		return 0, err
	}
	b.exits[p.Pid] = exit
	b.mu.Unlock()
	b.update(c.Name, func(s *Stat) { s.PID, s.Starts = p.Pid, s.Starts+1 })
	if err := p.Release(); err != nil {
		b.log.Warn("release process", "err", err)
	}
	return <-exit, nil
}

// reap waits for every child that ends, and hands our own to runOnce, until stop
// is closed (nil: for ever).
func (b *board) reap(stop <-chan struct{}) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	defer signal.Stop(ended)
	for {
		for {
			var status syscall.WaitStatus
			b.mu.Lock()
			pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
			if exit := b.exits[pid]; err == nil && exit != nil {
				delete(b.exits, pid)
				exit <- status
			}
			b.mu.Unlock()
			if err == syscall.EINTR {
				continue
			}
			if err != nil || pid <= 0 {
				break
			}
		}
		select {
		case <-ended:
		case <-stop:
			return
		}
	}
}

// done reports whether a Once component has ended well.
func (b *board) done(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.state[name]
	return s != nil && s.Done
}

// update changes what is known about a component and publishes it.
func (b *board) update(name string, f func(*Stat)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(b.state[name])
	var all []Stat
	for _, n := range b.order {
		all = append(all, *b.state[n])
	}
	data, err := json.Marshal(all)
	if err == nil {
		tmp := b.stats + ".tmp"
		if err = os.WriteFile(tmp, data, 0o644); err == nil {
			err = os.Rename(tmp, b.stats)
		}
	}
	if err != nil {
		b.log.Warn("write component state", "err", err)
	}
}
