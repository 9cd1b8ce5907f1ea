package cluster

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// minKernel is what TCX and links of cgroup programs need.
var minKernel = [2]int{6, 6}

// kernelOptions are what a cluster needs of the kernel's configuration, each
// with what it is for. IPv6 has a check of its own.
var kernelOptions = []struct{ name, use string }{
	{"CONFIG_BPF_SYSCALL", "BPF programs"},
	{"CONFIG_CGROUP_BPF", "BPF programs on sockets"},
	{"CONFIG_NET_CLS_ACT", "BPF programs on pods' links"},
	{"CONFIG_NET_SCH_INGRESS", "BPF programs on pods' links"},
	{"CONFIG_NET_CLS_BPF", "BPF programs on pods' links"},
	{"CONFIG_VETH", "pods' links"},
	{"CONFIG_BRIDGE", "the network between nodes"},
	{"CONFIG_OVERLAY_FS", "containers' file systems"},
}

func release() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}

func checkKernel(*State) Check {
	release, err := release()
	if err != nil {
		return pass("%v", err).or(Fail, "")
	}
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return pass("kernel %s: version not understood", release).or(Warn, "")
	}
	if major < minKernel[0] || major == minKernel[0] && minor < minKernel[1] {
		return pass("kernel %s is too old", release).or(Fail, fmt.Sprintf("use kernel %d.%d or newer (Debian 12: apt install -t bookworm-backports linux-image-amd64)", minKernel[0], minKernel[1]))
	}
	return pass("kernel %s", release)
}

// checkKernelConfig reads what the kernel was built with, where it says so.
func checkKernelConfig(*State) Check {
	release, err := release()
	if err != nil {
		return pass("%v", err).or(Warn, "")
	}
	for _, file := range []string{"/proc/config.gz", "/boot/config-" + release, "/lib/modules/" + release + "/config"} {
		f, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return pass("%v", err).or(Warn, "")
		}
		defer f.Close()
		set, err := readKernelConfig(f, strings.HasSuffix(file, ".gz"))
		if err != nil {
			return pass("read %s: %v", file, err).or(Warn, "")
		}
		return judgeKernelConfig(set, file)
	}
	return pass("the kernel does not say what it was built with") // nothing to mend
}

// readKernelConfig returns the options that are on, built in (y) or as modules (m).
func readKernelConfig(r io.Reader, gz bool) (map[string]bool, error) {
	if gz {
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		r = z
	}
	set := map[string]bool{}
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		name, value, ok := strings.Cut(sc.Text(), "=")
		if ok && (value == "y" || value == "m") {
			set[name] = true
		}
	}
	return set, sc.Err()
}

func judgeKernelConfig(set map[string]bool, file string) Check {
	var missing []string
	for _, o := range kernelOptions {
		if !set[o.name] {
			missing = append(missing, fmt.Sprintf("%s (%s)", o.name, o.use))
		}
	}
	if len(missing) > 0 {
		return pass("the kernel lacks %s, says %s", strings.Join(missing, ", "), file).
			or(Fail, "use a kernel that has it built in or as a module, as those of distributions have")
	}
	return pass("%s has all that is needed", file)
}

// checkIPv6: a kernel started with ipv6.disable=1 has none, in no namespace.
// What sysctls switch off on the machine's links is of no matter to nodes.
func checkIPv6(s *State) Check {
	if _, err := os.Stat("/proc/sys/net/ipv6"); err == nil {
		return pass("the kernel has IPv6")
	}
	level := Warn
	if s != nil && s.plan.has6() {
		level = Fail
	}
	return pass("the kernel has no IPv6").or(level, "boot without ipv6.disable=1, or use --ip-family ipv4")
}
