package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	nodePort = "NodePort from outside, " // figures that subjects measure in turns
	turnEnds = "."                       // instead of a figure: a case waits for its next turn
)

// running is a case as a process in fresh namespaces.
type running struct {
	subject string
	cmd     *exec.Cmd
	stop    context.CancelFunc
	in      io.Closer
	next    io.Writer
	out     *json.Decoder
	dir     string
	late    *time.Timer
	over    bool // it ran into the limit
}

var errLimit = errors.New("the case took too long")

// begin starts a case and returns what it measured of the subject alone, also if
// it failed then. The caller ends it.
func (p plan) begin(parent context.Context, subject string, n int) (*running, []sample, error) {
	ctx, stop := context.WithCancel(parent)
	r := &running{subject: subject, stop: stop}
	self, err := os.Executable()
	if err != nil {
		return r, nil, err
	}
	if r.dir, err = os.MkdirTemp("", "bench-services"); err != nil {
		return r, nil, err
	}
	changes := p.changes
	switch {
	case subject != fairway && n >= 10000:
		changes = 3
	case subject != fairway:
		changes = 5
	}
	cmd := exec.CommandContext(ctx, self, "-as", subject, "-n", strconv.Itoa(n), "-dir", r.dir, "-root", p.root,
		"-changes", strconv.Itoa(changes), "-figures", strings.Join(p.figures, ","))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	cmd.Env = append(p.env, "GODEBUG=asyncpreemptoff=1") // its signals would interrupt blocking calls
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		return r, nil, err
	}
	r.in, r.next, r.out = in, in, json.NewDecoder(out)
	if err := cmd.Start(); err != nil {
		return r, nil, err
	}
	r.cmd = cmd
	r.late = time.AfterFunc(p.limit, stop)
	samples, err := r.read()
	r.over = !r.late.Stop() && parent.Err() == nil
	return r, samples, err
}

// read returns the samples until the case waits.
func (r *running) read() (samples []sample, err error) {
	for {
		var s sample
		if err := r.out.Decode(&s); err != nil {
			return samples, fmt.Errorf("the case has ended: %w", err)
		}
		if s.Figure == turnEnds {
			return samples, nil
		}
		samples = append(samples, s)
	}
}

// turn lets the case measure one turn.
func (r *running) turn() ([]sample, error) {
	if _, err := r.next.Write([]byte("\n")); err != nil {
		return nil, err
	}
	return r.read()
}

// end ends the case and removes what it leaves. It returns what the case failed with.
func (r *running) end() error {
	defer os.RemoveAll(r.dir)
	defer r.stop()
	if r.cmd == nil {
		return nil
	}
	r.in.Close()
	late := time.AfterFunc(30*time.Second, r.stop)
	defer late.Stop()
	err := r.cmd.Wait()
	if cgroup, none := os.ReadFile(filepath.Join(r.dir, "cgroup")); none == nil {
		defer os.Remove(string(cgroup)) // empty once all of the case's processes are gone
	}
	if r.over {
		return errLimit
	}
	if err != nil {
		if log, _ := os.ReadFile(filepath.Join(r.dir, "log")); len(log) > 0 {
			fmt.Fprintf(os.Stderr, "%s\n", log[max(0, len(log)-2000):])
		}
	}
	return err
}
