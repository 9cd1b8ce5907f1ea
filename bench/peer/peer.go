// Package peer is what the benchmarks share about the programs that they run
// beside Fairway: fetching them without installing them, and weighing them.
// It does not know what they are.
package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Unpack fetches Debian packages into the directory to, which appears complete
// or not at all. cache is a directory on the same file system.
func Unpack(ctx context.Context, cache, to string, packages []string) error {
	dir, err := os.MkdirTemp(cache, "unpack")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"download", "-q"}, packages...)...)
	cmd.Dir = dir
	if err := Run(cmd); err != nil {
		return fmt.Errorf("fetch Debian's packages: %w", err)
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return err
	}
	for _, deb := range debs {
		if err := Run(exec.CommandContext(ctx, "dpkg", "-x", deb, filepath.Join(dir, "root"))); err != nil {
			return err
		}
	}
	return os.Rename(filepath.Join(dir, "root"), to)
}

// Run runs cmd; what it printed is part of the error.
func Run(cmd *exec.Cmd) error {
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, b)
	}
	return nil
}

// FreePorts returns n ports of the loopback that nobody has, of TCP or of UDP. They
// are none of those that the kernel gives to clients: one that asks a server before
// it listens would be given the server's own port now and then.
func FreePorts(n int) (out []int, err error) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return nil, err
	}
	var first, last int
	if _, err := fmt.Sscan(string(text), &first, &last); err != nil {
		return nil, fmt.Errorf("read ip_local_port_range: %w", err)
	}
	const privileged = 1024
	for tries := 0; len(out) < n; tries++ {
		port := privileged + rand.IntN(1<<16-privileged)
		if port >= first && port <= last || slices.Contains(out, port) {
			continue
		}
		if tries > 1<<16 {
			return nil, fmt.Errorf("found %d free ports outside of ip_local_port_range %d to %d, not %d", len(out), first, last, n)
		}
		if free(port) {
			out = append(out, port)
		}
	}
	return out, nil
}

func free(port int) bool {
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	l.Close()
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// CPUTime is what the process group of leader has used, user and kernel.
func CPUTime(leader int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range family(leader) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if ended(err) {
			continue
		}
		if err != nil {
			return 0, err
		}
		// utime and stime are fields 14 and 15, in hundredths of a second on
		// every Linux.
		for _, v := range fields(text)[11:13] {
			ticks, err := strconv.Atoi(v)
			if err != nil {
				return 0, err
			}
			sum += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return sum, nil
}

// Memory is the resident set of the process group of leader, in KiB.
func Memory(leader int) (float64, error) {
	sum := 0.0
	for _, pid := range family(leader) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if ended(err) {
			continue
		}
		if err != nil {
			return 0, err
		}
		pages, err := strconv.Atoi(strings.Fields(string(text))[1])
		if err != nil {
			return 0, err
		}
		sum += float64(pages*os.Getpagesize()) / 1024
	}
	return sum, nil
}

// ended reports whether err, of reading a file in /proc, means that the process
// has ended since it was listed. A subject may run others that take a moment.
func ended(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}

// family is the process group that leader leads.
func family(leader int) []int {
	var out []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if group, _ := strconv.Atoi(fields(text)[2]); group == leader {
			out = append(out, pid)
		}
	}
	return out
}

// fields splits /proc/PID/stat from its third field on: the second, the
// command, may hold spaces.
func fields(stat []byte) []string {
	return strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+2:]))
}
