package testkit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NeedRoot skips a test that cannot work without root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces and loads BPF programs")
	}
}

// NS is a network namespace.
type NS struct {
	Name string
	t    testing.TB
	fd   netns.NsHandle
	Link *netlink.Handle // acts in the namespace
}

// NewNS makes a namespace with loopback up; it lives as long as the test.
func NewNS(t testing.TB, name string) *NS {
	t.Helper()
	n := &NS{Name: name, t: t}
	err := onThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		n.fd, err = netns.Get()
		return err
	})
	if err != nil {
		t.Fatalf("make namespace %s: %v", name, err)
	}
	t.Cleanup(func() { n.fd.Close() })
	if n.Link, err = netlink.NewHandleAt(n.fd); err != nil {
		t.Fatalf("open netlink in %s: %v", name, err)
	}
	t.Cleanup(n.Link.Close)
	lo, err := n.Link.LinkByName("lo")
	if err == nil {
		err = n.Link.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatalf("set up loopback in %s: %v", name, err)
	}
	// Tests do not wait for duplicate address detection.
	n.Sysctl("ipv6/conf/all/accept_dad", "0")
	n.Sysctl("ipv6/conf/default/accept_dad", "0")
	n.Sysctl("ipv6/conf/default/dad_transmits", "0")
	return n
}

// onThread runs f on a thread of its own, which ends with it: whatever f does
// to its namespaces concerns nobody else.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread
		done <- f()
	}()
	return <-done
}

// Do runs f on a thread inside n. Sockets that f makes stay in n.
func (n *NS) Do(f func() error) error {
	return onThread(func() error {
		if err := netns.Set(n.fd); err != nil {
			return fmt.Errorf("enter %s: %w", n.Name, err)
		}
		return f()
	})
}

// Fd is a descriptor of the namespace.
func (n *NS) Fd() int { return int(n.fd) }

// Sysctl sets a value below /proc/sys/net, name with slashes.
func (n *NS) Sysctl(name, value string) {
	n.t.Helper()
	err := n.Do(func() error { return os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0o644) })
	if err != nil {
		n.t.Fatalf("set %s in %s: %v", name, n.Name, err)
	}
}

// Hold keeps a process in the namespace until the test ends.
func (n *NS) Hold() {
	n.t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := n.Do(cmd.Start); err != nil {
		n.t.Fatalf("start a process in %s: %v", n.Name, err)
	}
	n.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}
