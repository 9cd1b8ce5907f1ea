package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/testkit"
)

// TestGroup takes a group through its life on this machine's own layout, and
// once more as if there were nothing but cgroup v2, whose root is then a group
// of the test's own.
func TestGroup(t *testing.T) {
	testkit.NeedRoot(t)
	all, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	if all.Unified() == "" {
		t.Fatalf("found no cgroup v2 hierarchy: %+v", all)
	}
	root := fmt.Sprintf("fairway-test-root-%d", os.Getpid())
	if err := os.Mkdir(filepath.Join(all.Unified(), root), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := all.Remove(root); err != nil {
			t.Error(err)
		}
	})
	t.Run(all.Layout(), func(t *testing.T) { checkGroup(t, all, "") })
	v2 := Hierarchies{{Mount: filepath.Join(all.Unified(), root), V2: true}}
	t.Run("only v2", func(t *testing.T) { checkGroup(t, v2, root+"/") })
}

func checkGroup(t *testing.T, hs Hierarchies, root string) {
	before, err := os.ReadFile(filepath.Join(hs.Unified(), "cgroup.subtree_control"))
	if err != nil {
		t.Fatal(err)
	}
	was, err := hs.Delegation()
	if err != nil {
		t.Fatal(err)
	}
	top := fmt.Sprintf("fairway-test-%d", os.Getpid())
	group := top + "/node/system"
	t.Cleanup(func() {
		if err := hs.Remove(top); err != nil {
			t.Error(err)
		}
	})
	for range 2 { // the second time there is nothing to do
		if err := hs.Make(group); err != nil {
			t.Fatal(err)
		}
	}
	if got := hs.Exists(group); len(got) != len(hs) {
		t.Errorf("exists in %v, want all of %+v", got, hs)
	}
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if err := hs.Enter(group, cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", cmd.Process.Pid))
	if err != nil || !strings.Contains(string(own), "0::/"+root+group+"\n") {
		t.Errorf("the process is in\n%s(%v)", own, err)
	}
	if got := hs.Procs(top); !slices.Equal(got, []int{cmd.Process.Pid}) {
		t.Errorf("processes %v, want %d", got, cmd.Process.Pid)
	}
	if err := hs.Kill(top, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("the process is still there")
	}
	if err := hs.Remove(top); err != nil {
		t.Fatal(err)
	}
	if got := hs.Exists(top); len(got) != 0 {
		t.Errorf("still there: %v", got)
	}
	kept, err := hs.Undelegate(was)
	after, err2 := os.ReadFile(filepath.Join(hs.Unified(), "cgroup.subtree_control"))
	if err != nil || err2 != nil || len(kept) != 0 || string(after) != string(before) {
		t.Errorf("the root hands down %q, before it was %q (%v, %v, %v)", after, before, kept, err, err2)
	}
	// Nothing is not an error.
	if err := hs.Kill(top, time.Second); err != nil {
		t.Error(err)
	}
	if err := hs.Remove(top); err != nil {
		t.Error(err)
	}
}

func TestRemoveRefusesTheRoot(t *testing.T) {
	hs := Hierarchies{{Mount: t.TempDir(), V2: true}}
	keep := filepath.Join(hs[0].Mount, "keep")
	if err := os.Mkdir(keep, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, group := range []string{"", ".", "..", "../x"} {
		if err := hs.Remove(group); err == nil {
			t.Errorf("Remove(%q) went ahead", group)
		}
	}
	if _, err := os.Stat(keep); err != nil {
		t.Error(err)
	}
}

// TestMakeCpuset: a fresh v1 cpuset admits nobody until it has its parent's
// values (cpusets(7)).
func TestMakeCpuset(t *testing.T) {
	hs := Hierarchies{{Mount: t.TempDir(), Set: []string{"cpuset"}}}
	write := func(dir, name, value string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(hs[0].Mount, dir, name), []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(hs[0].Mount, "a"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"cpuset.cpus": "0-3\n", "cpuset.mems": "0\n"} {
		write("", name, value)
		write("a", name, "\n") // as the kernel makes them
	}
	write("a", "cpuset.mems", "1\n") // somebody's choice
	if err := hs.Make("a"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"cpuset.cpus": "0-3\n", "cpuset.mems": "1\n"} {
		if got, err := os.ReadFile(filepath.Join(hs[0].Mount, "a", name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
}

func TestLayout(t *testing.T) {
	v2, v1 := Hierarchy{Mount: "/sys/fs/cgroup", V2: true}, Hierarchy{Mount: "/sys/fs/cgroup/cpu", Set: []string{"cpu"}}
	for want, hs := range map[string]Hierarchies{"v2": {v2}, "v1": {v1}, "hybrid": {v1, v2}} {
		if got := hs.Layout(); got != want {
			t.Errorf("%+v: %s, want %s", hs, got, want)
		}
	}
}
