package sys

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
)

// NodeCgroup returns the cgroup2 directory under which all processes of this
// node run: the parent of kubepods on the way to our own cgroup, or the root of
// the hierarchy. A node that is itself a container has its pods somewhere below
// the machine's root; socket hooks attached there would serve its neighbours
// too, and hooks below kubepods would miss the node's own programs.
func NodeCgroup() (string, error) {
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("read own cgroup: %w", err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("read mounts: %w", err)
	}
	return nodeCgroup(string(self), string(mounts))
}

func nodeCgroup(self, mountinfo string) (string, error) {
	own, err := unifiedPath(self)
	if err != nil {
		return "", err
	}
	root, mount, err := cgroup2Mount(mountinfo)
	if err != nil {
		return "", err
	}
	node := aboveKubepods(own)
	// What is mounted may itself be a part of the hierarchy.
	if root != "/" {
		rest, ok := strings.CutPrefix(node, root)
		if !ok {
			return mount, nil
		}
		node = rest
	}
	return path.Join(mount, node), nil
}

// unifiedPath is our cgroup in the v2 hierarchy: the line of hierarchy 0.
func unifiedPath(self string) (string, error) {
	for line := range strings.Lines(self) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return p, nil
		}
	}
	return "", errors.New("find own cgroup: this system has no cgroup v2 hierarchy")
}

// aboveKubepods cuts own before kubelet's cgroup of all pods, which is called
// kubepods or, by systemd's rules, kubepods.slice and may have kubelet.slice above.
func aboveKubepods(own string) string {
	parts := strings.Split(strings.Trim(own, "/"), "/")
	for i, p := range parts {
		if p == "kubepods" || p == "kubepods.slice" || p == "kubelet.slice" {
			return "/" + strings.Join(parts[:i], "/")
		}
	}
	return "/"
}

// cgroup2Mount finds where the v2 hierarchy is mounted, and which part of it
// (proc_pid_mountinfo(5): field 4 is the root, 5 the mount point, the type
// follows a lone dash).
func cgroup2Mount(mountinfo string) (root, mount string, err error) {
	s := bufio.NewScanner(strings.NewReader(mountinfo))
	for s.Scan() {
		before, after, ok := strings.Cut(s.Text(), " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		if mount == "" || fields[3] == "/" && root != "/" {
			root, mount = fields[3], fields[4]
		}
	}
	if mount == "" {
		return "", "", errors.New("find cgroup v2: it is not mounted")
	}
	return root, mount, nil
}
