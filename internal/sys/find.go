package sys

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Netns is an open network namespace.
type Netns struct{ f *os.File }

// FindNetns opens the network namespaces with the given inode numbers, as far
// as a process that we can see lives in them. The caller closes them.
func FindNetns(inodes map[uint32]bool) ([]*Netns, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	found := map[uint64]bool{}
	var out []*Netns
	for _, p := range paths {
		var st unix.Stat_t
		if unix.Stat(p, &st) != nil || !inodes[uint32(st.Ino)] || found[st.Ino] {
			continue // gone meanwhile, or not asked for
		}
		f, err := os.Open(p)
		if err != nil {
			continue
		}
		found[st.Ino] = true
		out = append(out, &Netns{f})
	}
	return out, nil
}

// Close lets go of the namespace.
func (n *Netns) Close() error { return n.f.Close() }

// Do runs f on a thread of its own inside the namespace.
func (n *Netns) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Setns(int(n.f.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}
