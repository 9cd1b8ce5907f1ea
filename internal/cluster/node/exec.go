package node

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Run runs cmd inside the node whose init has this PID, as `nsenter` would, and
// waits for its end. cmd.Path is resolved inside the node. The caller's
// process should be in the node's cgroup, or its sockets are not the node's.
func Run(init int, cmd *exec.Cmd) error {
	result := make(chan error, 1)
	go func() {
		// The thread is spoilt by the namespaces it enters. Not unlocked,
		// it ends with the goroutine.
		runtime.LockOSThread()
		result <- run(init, cmd)
	}()
	return <-result
}

func run(init int, cmd *exec.Cmd) error {
	// A thread that shares its working directory with others cannot enter a
	// mount namespace (setns(2)).
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	// Open all before entering any: /proc of the machine is gone after "mnt".
	var files []*os.File
	for _, ns := range []string{"ipc", "uts", "net", "pid", "mnt"} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", init, ns))
		if err != nil {
			return fmt.Errorf("enter node: %w", err)
		}
		defer f.Close()
		files = append(files, f)
	}
	for _, f := range files {
		if err := unix.Setns(int(f.Fd()), 0); err != nil {
			return fmt.Errorf("enter namespace %s: %w", f.Name(), err)
		}
	}
	if cmd.Path == "" {
		path, err := lookPath(cmd.Args[0])
		if err != nil {
			return err
		}
		cmd.Path = path
	}
	return cmd.Run()
}

// SearchPath is where programs are looked up inside a node.
const SearchPath = ToolDir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// lookPath finds a program in the node's file system, which the calling thread
// must have entered.
func lookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range filepath.SplitList(SearchPath) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("find %s: not in the node's %s", name, SearchPath)
}
