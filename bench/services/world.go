package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/vishvananda/netns"
)

// The world of a case, four network namespaces without a way out:
//
//	client 10.127.0.2 ── node ── here 10.128.0.0/10: all endpoints on this node
//	                      │ 192.0.2.1
//	                      │ 192.0.2.2
//	                    other   10.192.0.0/10: all endpoints on other nodes, and
//	                            the client from outside
const (
	nodeIP    = "192.0.2.1"
	otherIP   = "192.0.2.2"
	clientIP  = "10.127.0.2"
	podCIDR   = "10.128.0.0/10"
	otherCIDR = "10.192.0.0/10"
	clients   = "10.127.0.0/16"
)

type world struct {
	node, client, here, other netns.NsHandle
	dir                       string
	inside, outside           int // cgroups: of the node's processes and pods, and of all others; file descriptors
}

func newWorld(ctx context.Context, dir string) (*world, error) {
	w := &world{dir: dir}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var err error
	if w.node, err = netns.Get(); err != nil {
		return nil, err
	}
	defer netns.Set(w.node)
	for _, ns := range []*netns.NsHandle{&w.client, &w.here, &w.other} {
		if *ns, err = netns.New(); err != nil {
			return nil, err
		}
	}
	if err := w.ip(ctx, w.node, "link set lo up"); err != nil {
		return nil, err
	}
	for _, l := range []struct {
		ns                 netns.NsHandle
		name, ours, theirs string
		local              string // what the far end has all addresses of
	}{
		{w.client, "pod0", "10.127.0.1", clientIP, ""},
		{w.here, "pod1", "10.127.0.5", "10.127.0.6", podCIDR},
		{w.other, "eth0", nodeIP, otherIP, otherCIDR},
	} {
		if err := w.join(ctx, l.ns, l.name, l.ours, l.theirs, l.local); err != nil {
			return nil, err
		}
	}
	// Services have a route, so that packets of the node's own processes get as
	// far as the rules of the subject.
	if err := w.ip(ctx, w.node, "route add 10.96.0.0/12 dev lo src "+nodeIP); err != nil {
		return nil, err
	}
	return w, errors.Join(os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0), w.makeCgroup())
}

// join connects ns with the node, which is its way to everywhere.
func (w *world) join(ctx context.Context, ns netns.NsHandle, name, ours, theirs, local string) error {
	far := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(ns))
	if err := w.ip(ctx, w.node, "link add "+name+" type veth peer name eth0 netns "+far); err != nil {
		return err
	}
	commands := map[netns.NsHandle][]string{
		w.node: {"addr add " + ours + "/30 dev " + name, "link set " + name + " up"},
		ns:     {"link set lo up", "addr add " + theirs + "/30 dev eth0", "link set eth0 up", "route add default via " + ours},
	}
	if local != "" {
		commands[w.node] = append(commands[w.node], "route add "+local+" via "+theirs)
		commands[ns] = append(commands[ns], "route add local "+local+" dev lo")
	}
	for _, at := range []netns.NsHandle{w.node, ns} {
		for _, c := range commands[at] {
			if err := w.ip(ctx, at, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// ip runs an ip command in a namespace. The thread is locked, and returns to the node.
func (w *world) ip(ctx context.Context, ns netns.NsHandle, command string) error {
	cmd := exec.CommandContext(ctx, "ip", strings.Fields(command)...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := w.start(cmd, ns, 0); err != nil {
		return fmt.Errorf("ip %s: %w", command, err)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", command, err, out.String())
	}
	return nil
}

// start starts cmd in a namespace, and in a cgroup if one is given.
func (w *world) start(cmd *exec.Cmd, ns netns.NsHandle, cgroup int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := netns.Set(ns); err != nil {
		return err
	}
	defer netns.Set(w.node)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: cgroup != 0, CgroupFD: cgroup, Pdeathsig: syscall.SIGKILL}
	return cmd.Start()
}

// makeCgroup makes a cgroup for the node's processes and moves this one into
// it; the file cgroup tells the subject of it.
func (w *world) makeCgroup() error {
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(self)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		for _, mount := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
			parent := filepath.Join(mount, path)
			if _, err := os.Stat(filepath.Join(mount, "cgroup.procs")); err != nil {
				continue
			}
			own := filepath.Join(parent, filepath.Base(w.dir))
			if err := os.Mkdir(own, 0o755); err != nil {
				return err
			}
			if w.outside, err = syscall.Open(parent, syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0); err != nil {
				return err
			}
			if w.inside, err = syscall.Open(own, syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0); err != nil {
				return err
			}
			return errors.Join(os.WriteFile(filepath.Join(own, "cgroup.procs"), []byte("0"), 0o644),
				os.WriteFile(filepath.Join(w.dir, "cgroup"), []byte(own), 0o600))
		}
	}
	return errors.New("no cgroup v2 hierarchy is mounted")
}
