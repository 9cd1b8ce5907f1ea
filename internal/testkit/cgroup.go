package testkit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Cgroup is a cgroup2 directory of a test's own. A socket belongs to the cgroup
// that the process is in when it is made, so one process can hold the sockets
// of several nodes. Tests that use it must not run in parallel.
type Cgroup struct {
	Dir  string
	home string // where the process was before
}

var moves sync.Mutex // the process is in one cgroup at a time

// NewCgroup makes a cgroup below the process's own; it is removed with the test.
func NewCgroup(t testing.TB, name string) *Cgroup {
	t.Helper()
	home, err := ownCgroup()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(home, "fairway-test-"+name+"-")
	if err != nil {
		t.Fatalf("make cgroup: %v", err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Errorf("remove cgroup: %v", err)
		}
	})
	return &Cgroup{Dir: dir, home: home}
}

// Do runs f with the process inside c. A nil Cgroup is none: f just runs.
func (c *Cgroup) Do(f func() error) error {
	moves.Lock()
	defer moves.Unlock()
	if c == nil {
		return f()
	}
	if err := enterCgroup(c.Dir); err != nil {
		return err
	}
	return errors.Join(f(), enterCgroup(c.home))
}

func enterCgroup(dir string) error {
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
		return fmt.Errorf("enter cgroup: %w", err)
	}
	return nil
}

// ownCgroup is the directory of the process's cgroup in the v2 hierarchy.
func ownCgroup() (string, error) {
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(self)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		for _, mount := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
			if _, err := os.Stat(filepath.Join(mount, "cgroup.procs")); err == nil {
				return filepath.Join(mount, path), nil
			}
		}
	}
	return "", errors.New("no cgroup v2 hierarchy is mounted")
}
