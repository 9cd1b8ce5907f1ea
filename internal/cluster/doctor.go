package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/fairway-net/fairway/internal/cluster/underlay"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Level is the outcome of a check.
type Level string

const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail" // a cluster would not start
)

// Check is one fact about the machine.
type Check struct {
	Name    string `json:"name"`
	Level   Level  `json:"level"`
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"`
}

func pass(format string, args ...any) Check {
	return Check{Level: OK, Message: fmt.Sprintf(format, args...)}
}

func (c Check) or(level Level, fix string) Check {
	c.Level, c.Fix = level, fix
	return c
}

// Examine runs every check. A nil State means no cluster in particular.
func (r Root) Examine(s *State) []Check {
	checks := []struct {
		name string
		do   func(*State) Check
	}{
		{"root", checkRoot},
		{"kernel", checkKernel},
		{"kernel options", checkKernelConfig},
		{"btf", checkBTF},
		{"cgroup", checkCgroup},
		{"runc", checkRunc},
		{"programs", checkPrograms},
		{"inotify", checkInotify},
		{"open files", checkOpenFiles},
		{"disk", r.checkDisk},
		{"memory", checkMemory},
		{"ipv6", checkIPv6},
		{"addresses", checkAddresses},
		{"nat", checkNAT},
		{"leftovers", r.checkLeftovers},
	}
	var out []Check
	for _, c := range checks {
		result := c.do(s)
		result.Name = c.name
		out = append(out, result)
	}
	return out
}

func checkRoot(*State) Check {
	if os.Geteuid() != 0 {
		return pass("not root").or(Fail, "run it with sudo")
	}
	return pass("running as root")
}

func checkBTF(*State) Check {
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		return pass("the kernel has no type information").or(Fail, "use a kernel with CONFIG_DEBUG_INFO_BTF=y, as distributions have")
	}
	return pass("kernel type information is there")
}

func checkCgroup(*State) Check {
	hs, err := hierarchies()
	if err != nil {
		return pass("%v", err).or(Fail, "mount cgroup2 on /sys/fs/cgroup")
	}
	layout := hs.Layout()
	if layout == "v1" {
		return pass("no cgroup v2 hierarchy is mounted").or(Fail, "mount cgroup2, for instance on /sys/fs/cgroup/unified: socket programs attach there")
	}
	if layout == "v2" {
		have, err := os.ReadFile(filepath.Join(hs.Unified(), "cgroup.controllers"))
		if err != nil {
			return pass("%v", err).or(Fail, "")
		}
		for _, c := range []string{"cpu", "memory", "pids"} {
			if !strings.Contains(" "+strings.TrimSpace(string(have))+" ", " "+c+" ") {
				return pass("controller %s is missing", c).or(Fail, "boot without cgroup_disable, or delegate the controller to this container")
			}
		}
	}
	return pass("layout %s", layout)
}

func checkRunc(*State) Check {
	path, err := exec.LookPath("runc")
	if err != nil {
		return pass("runc is not installed").or(Fail, "apt install runc")
	}
	return pass("%s", path)
}

func checkPrograms(*State) Check {
	for _, name := range []string{"mount", "umount"} { // kubelet runs them
		if _, err := exec.LookPath(name); err != nil {
			return pass("%s is not installed", name).or(Fail, "apt install mount")
		}
	}
	if _, err := findTools(); err != nil {
		return pass("%v", err).or(Fail, "run \"make build\", and start the fairway that it puts into bin/")
	}
	return pass("all programs are there")
}

// Inotify instances that a running cluster holds, measured: API server 6,
// controller manager 6, scheduler 2; on every node kubelet 5 and containerd 2.
const (
	inotifyControlPlane = 14
	inotifyNode         = 7
)

// checkInotify takes as many instances as a cluster will and gives them back:
// the limit alone says little, for all of root's processes share it.
func checkInotify(s *State) Check {
	nodes := 2
	if s != nil {
		nodes = len(s.Config.Nodes)
	}
	want := inotifyControlPlane + nodes*inotifyNode
	for i := range want {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		if err != nil {
			limit, _ := readInt("/proc/sys/fs/inotify/max_user_instances") // 0: not known
			return pass("%d instances are free of %d, a cluster takes %d", i, limit, want).
				or(Fail, fmt.Sprintf("sysctl fs.inotify.max_user_instances=%d, or end a cluster", max(512, 2*limit)))
		}
		defer unix.Close(fd)
	}
	return pass("at least %d instances are free", want)
}

func checkOpenFiles(*State) Check {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return pass("%v", err).or(Warn, "")
	}
	if r.Max < 4096 {
		return pass("at most %d per process", r.Max).or(Warn, "ulimit -Hn 65536")
	}
	return pass("at most %d per process", r.Max)
}

func (r Root) checkDisk(*State) Check {
	dir := string(r)
	for { // the nearest directory that exists
		if _, err := os.Stat(dir); err == nil || dir == "/" {
			break
		}
		dir = filepath.Dir(dir)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return pass("%v", err).or(Warn, "")
	}
	free := st.Bavail * uint64(st.Bsize) >> 20
	switch {
	case st.Type == unix.OVERLAYFS_SUPER_MAGIC:
		return pass("%s is an overlay, on which images cannot be unpacked", dir).or(Fail, "set FAIRWAY_STATE to a directory of a real file system (a volume)")
	case free < 1024:
		return pass("%d MiB are free under %s", free, dir).or(Fail, "make room: a cluster takes 1 GiB")
	}
	return pass("%d MiB are free under %s", free, dir)
}

func checkMemory(*State) Check {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return pass("%v", err).or(Warn, "")
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "MemAvailable:" {
			kib, _ := strconv.Atoi(f[1])
			if kib < 1200<<10 {
				return pass("%d MiB are available", kib>>10).or(Warn, "a cluster of two nodes takes about 1 GiB")
			}
			return pass("%d MiB are available", kib>>10)
		}
	}
	return pass("unknown").or(Warn, "")
}

// checkAddresses looks for networks of the machine in the range from which
// clusters take theirs. `up` goes around them as far as it can choose.
func checkAddresses(*State) Check {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return pass("%v", err).or(Warn, "")
	}
	reserved := []netip.Prefix{netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("2001:2::/48")}
	for _, r := range routes {
		dst := prefixOf(r.Dst)
		if dst.Bits() <= 0 || !slices.ContainsFunc(reserved, dst.Overlaps) || r.Type == unix.RTN_UNREACHABLE {
			continue
		}
		link, err := netlink.LinkByIndex(r.LinkIndex)
		if err != nil || underlay.IsLink(link.Attrs().Name) {
			continue
		}
		return pass("the machine reaches %s by %s", dst, link.Attrs().Name).
			or(Warn, "choose other networks in a --config file, should a cluster need this one")
	}
	return pass("%s are free", strings.ReplaceAll(joinPrefixes(reserved), ",", " and "))
}

func checkNAT(s *State) Check {
	if s == nil || s.Config.Egress != EgressNAT {
		return pass("not needed without --egress nat")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		return pass("nft is not installed").or(Fail, "apt install nftables, or use --egress none")
	}
	if s.plan.has6() && !underlay.Forwards6() {
		return pass("nft is there, but the machine does not forward IPv6: pods will reach what is outside by IPv4 only").
			or(Warn, "sysctl net.ipv6.conf.all.forwarding=1 before \"fairway up\" (first net.ipv6.conf.LINK.accept_ra=2 for the LINK whose routes come from router advertisements)")
	}
	return pass("nft is there")
}

// checkLeftovers looks for cgroups of clusters that have no state.
func (r Root) checkLeftovers(s *State) Check {
	hs, err := hierarchies()
	if err != nil {
		return pass("%v", err).or(Warn, "")
	}
	known := map[string]bool{}
	for _, name := range r.Names() {
		known[name] = true
	}
	if s != nil {
		known[s.Name] = true
	}
	for _, dir := range hs.Exists("fairway") {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return pass("%v", err).or(Warn, "")
		}
		for _, e := range entries {
			if e.IsDir() && !known[e.Name()] {
				return pass("cgroup fairway/%s belongs to no cluster under %s", e.Name(), r).
					or(Warn, "if no other FAIRWAY_STATE knows it: fairway down --name "+e.Name())
			}
		}
	}
	return pass("none")
}

func readInt(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}
