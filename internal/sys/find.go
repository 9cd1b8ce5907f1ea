package sys

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Netns is an open network namespace.
type Netns struct {
	Cookie uint64 // what BPF programs call it
	f      *os.File
}

// FindNetns opens the network namespaces that want has, by their cookies, as far
// as a process that we can see lives in them; a nil want is all. The caller
// closes them.
func FindNetns(want map[uint64]bool) (found []*Netns, err error) {
	paths, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	onThread(func() error { // one for all: making a thread costs more than to enter
		seen := map[uint64]bool{} // inodes
		for _, p := range paths {
			var st unix.Stat_t
			if unix.Stat(p, &st) != nil || seen[st.Ino] {
				continue // gone meanwhile, or known
			}
			seen[st.Ino] = true
			f, err := os.Open(p)
			if err != nil {
				continue
			}
			n := &Netns{f: f}
			err = n.enter()
			if err == nil {
				n.Cookie, err = NetnsCookie()
			}
			if err != nil || want != nil && !want[n.Cookie] {
				f.Close()
				continue
			}
			if found = append(found, n); want != nil && len(found) == len(want) {
				break
			}
		}
		return nil
	})
	return found, nil
}

// InNetns runs f on a thread of its own inside the namespace that ns is open on.
func InNetns(ns *os.File, f func() error) error { return (&Netns{f: ns}).Do(f) }

// Close lets go of the namespace.
func (n *Netns) Close() error { return n.f.Close() }

// Do runs f on a thread of its own inside the namespace.
func (n *Netns) Do(f func() error) error {
	return onThread(func() error {
		if err := n.enter(); err != nil {
			return err
		}
		return f()
	})
}

// enter moves the calling thread into the namespace.
func (n *Netns) enter() error {
	if err := unix.Setns(int(n.f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	return nil
}

// onThread runs f on a thread of its own, which ends with it: whatever f does to
// its namespaces concerns nobody else.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- f()
	}()
	return <-done
}
