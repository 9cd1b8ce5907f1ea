// Package cgroup makes, fills and removes one directory of the same name in
// every cgroup hierarchy of the machine, which makes the three layouts that
// exist look alike: pure cgroup v2, pure v1, and the hybrid of both.
//
// It is not a resource controller: it sets no limit. Limits are kubelet's.
//
// Invariant: nothing outside the given group is ever removed or emptied.
package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Hierarchy is one mounted cgroup file system.
type Hierarchy struct {
	Mount string // where it is mounted
	V2    bool
	Set   []string // v1: its controllers or name=…
}

// Hierarchies is the machine's layout.
type Hierarchies []Hierarchy

// Find reads the layout of the calling process's mount namespace.
func Find() (Hierarchies, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out Hierarchies
	seen := map[string]bool{} // device numbers: a hierarchy bound twice is one
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		// proc(5): ID parent major:minor root mountpoint options … - type source superoptions
		left, right, ok := strings.Cut(sc.Text(), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 3 || l[3] != "/" || seen[l[2]] {
			continue
		}
		switch r[0] {
		case "cgroup2":
			out = append(out, Hierarchy{Mount: l[4], V2: true})
		case "cgroup":
			out = append(out, Hierarchy{Mount: l[4], Set: v1Set(r[2])})
		default:
			continue
		}
		seen[l[2]] = true
	}
	return out, sc.Err()
}

// v1Set picks the controllers (or the name) out of a v1 mount's options.
func v1Set(options string) []string {
	var out []string
	for _, o := range strings.Split(options, ",") {
		if o != "rw" && o != "ro" && o != "xattr" && !strings.HasPrefix(o, "release_agent=") {
			out = append(out, o)
		}
	}
	return out
}

// Unified returns the mount point of the v2 hierarchy, or "".
func (hs Hierarchies) Unified() string {
	for _, h := range hs {
		if h.V2 {
			return h.Mount
		}
	}
	return ""
}

// Layout names the machine's layout: "v2", "hybrid" or "v1".
func (hs Hierarchies) Layout() string {
	switch {
	case hs.Unified() == "":
		return "v1"
	case len(hs) == 1:
		return "v2"
	}
	return "hybrid"
}

// Make creates the group in every hierarchy, with its parents. In a pure v2
// layout the parents hand all their controllers down to it, and with those no
// process can live in a parent any more (cgroups(7), "no internal processes"):
// enter leaves only. It is idempotent.
func (hs Hierarchies) Make(group string) error {
	for _, h := range hs {
		dir := h.Mount
		for _, part := range strings.Split(group, "/") {
			parent := dir
			dir = filepath.Join(dir, part)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("make cgroup: %w", err)
			}
			if err := hs.inherit(h, parent, dir); err != nil {
				return fmt.Errorf("make cgroup %s: %w", dir, err)
			}
		}
	}
	return nil
}

// inherit gives a fresh group what it needs before a process can enter it.
func (hs Hierarchies) inherit(h Hierarchy, parent, dir string) error {
	if h.V2 && len(hs) > 1 {
		return nil // hybrid: the controllers that matter are in v1
	}
	if h.V2 {
		return delegate(parent)
	}
	for _, c := range h.Set {
		if c != "cpuset" {
			continue
		}
		// cpusets(7): a new v1 cpuset is empty and admits nobody.
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
			have, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			if strings.TrimSpace(string(have)) != "" {
				continue
			}
			want, err := os.ReadFile(filepath.Join(parent, name))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, name), want, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// delegate enables for dir's children every controller that dir has.
func delegate(dir string) error {
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, c := range strings.Fields(string(have)) {
		err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644)
		// A controller that cannot be handed down (cpu, while a realtime
		// process lives in the root group: EINVAL) is not worth failing
		// for; kubelet says so when it needs it.
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

// Delegation returns what the root of a pure v2 layout hands down to its
// children, or nil: the one setting of the machine's that Make changes.
func (hs Hierarchies) Delegation() ([]string, error) {
	if hs.Layout() != "v2" {
		return nil, nil
	}
	data, err := os.ReadFile(filepath.Join(hs.Unified(), "cgroup.subtree_control"))
	return strings.Fields(string(data)), err
}

// Undelegate takes back what the root hands down beyond was, an earlier answer
// of Delegation, and returns what it could not because others use it by now.
func (hs Hierarchies) Undelegate(was []string) (kept []string, err error) {
	now, err := hs.Delegation()
	for _, c := range now {
		if slices.Contains(was, c) {
			continue
		}
		if err := os.WriteFile(filepath.Join(hs.Unified(), "cgroup.subtree_control"), []byte("-"+c), 0o644); err != nil {
			kept = append(kept, "cgroup controller "+c+", which others use by now")
		}
	}
	return kept, err
}

// Enter moves a process into the group in every hierarchy.
func (hs Hierarchies) Enter(group string, pid int) error {
	for _, h := range hs {
		file := filepath.Join(h.Mount, group, "cgroup.procs")
		if err := os.WriteFile(file, []byte(strconv.Itoa(pid)), 0o644); err != nil {
			return fmt.Errorf("enter cgroup: %w", err)
		}
	}
	return nil
}

// Procs lists the processes in the group and below it.
func (hs Hierarchies) Procs(group string) []int {
	seen := map[int]bool{}
	var out []int
	for _, h := range hs {
		if !h.V2 && hs.Unified() != "" {
			continue // the v2 hierarchy knows every process
		}
		walk(filepath.Join(h.Mount, group), func(dir string) {
			data, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			for _, s := range strings.Fields(string(data)) {
				if pid, err := strconv.Atoi(s); err == nil && !seen[pid] {
					seen[pid] = true
					out = append(out, pid)
				}
			}
		})
	}
	return out
}

// Kill sends SIGKILL to every process in the group and waits until none is
// left.
func (hs Hierarchies) Kill(group string, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	for {
		if u := hs.Unified(); u != "" {
			// One write, no race with fork (kernel ≥ 5.14).
			_ = os.WriteFile(filepath.Join(u, group, "cgroup.kill"), []byte("1"), 0o644)
		}
		pids := hs.Procs(group)
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("kill cgroup %s: processes %v are still there", group, pids)
		}
		if hs.Unified() == "" {
			for _, pid := range pids {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Remove deletes the group and everything below it from every hierarchy. The
// group must be empty of processes.
func (hs Hierarchies) Remove(group string) error {
	if group == "" || group == "." || strings.HasPrefix(group, "..") {
		return fmt.Errorf("remove cgroup %q: not a group of ours", group)
	}
	var errs []error
	for _, h := range hs {
		walk(filepath.Join(h.Mount, group), func(dir string) {
			if err := removeDir(dir); err != nil {
				errs = append(errs, err)
			}
		})
	}
	return errors.Join(errs...)
}

// removeDir retries briefly: a group stays busy until its last dead process
// has been reaped.
func removeDir(dir string) error {
	deadline := time.Now().Add(3 * time.Second)
	for {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return fmt.Errorf("remove cgroup %s: %w", dir, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Exists reports in which hierarchies the group exists, as directories.
func (hs Hierarchies) Exists(group string) []string {
	var out []string
	for _, h := range hs {
		dir := filepath.Join(h.Mount, group)
		if _, err := os.Stat(dir); err == nil {
			out = append(out, dir)
		}
	}
	return out
}

// walk calls f for every directory at and below dir, children first.
func walk(dir string, f func(dir string)) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.IsDir() {
			walk(filepath.Join(dir, e.Name()), f)
		}
	}
	f(dir)
}
