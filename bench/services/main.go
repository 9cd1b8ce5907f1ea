// Command services measures what a cluster of N Services costs the node's
// proxy: Fairway's Service path (source, state, plan, apply) and kube-proxy in
// both its modes, each beside the direct way to the endpoint.
//
// Every case is a process in a network namespace of its own that has loopback
// only. All endpoints are addresses of that namespace, served by one process,
// and an API of the same content (api.go) stands in for the cluster's. What
// counts as programmed is what a connection finds, for every subject alike.
// Needs root, nft and iptables.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/fairway-net/fairway/bench/record"
)

const limit = 5 * time.Minute // for one case

// sample is one value that a case measured.
type sample struct {
	Figure, Unit string
	Value        float64
}

func main() {
	runs := flag.Int("runs", 3, "how often to measure each case")
	sizes := flag.String("sizes", "10,1000,10000", "how many Services, separated by commas")
	changes := flag.Int("changes", 100, "how many changes of an endpoint per case; a twentieth of it for kube-proxy")
	without := flag.String("without", "", "peers to leave out, separated by commas")
	root := flag.String("root", "..", "root of the repository")
	as := flag.String("as", "", "run one case, or the process that it measures (this command calls itself)")
	n := flag.Int("n", 0, "Services of that case")
	dir := flag.String("dir", "", "directory of that case")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case *as == "":
		err = runAll(ctx, *root, *sizes, strings.Split(*without, ","), *runs, *changes)
	case *as == "proxy":
		err = proxy(ctx, *dir)
	default:
		err = oneCase(ctx, *as, *dir, *root, *n, *changes)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-services:", err)
		os.Exit(1)
	}
}

func runAll(ctx context.Context, root, sizes string, without []string, runs, changes int) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	var set record.Set
	for size := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil || n < 1 {
			return fmt.Errorf("read -sizes: %q is not a number of Services", size)
		}
		for i := range runs {
			for _, subject := range []string{"fairway", "kube-proxy nftables", "kube-proxy iptables"} {
				if slices.Contains(without, subject) {
					continue
				}
				fmt.Fprintf(os.Stderr, "%d Services, run %d of %d, %s\n", n, i+1, runs, subject)
				samples, err := inNamespace(ctx, root, subject, n, changes)
				if err != nil {
					return fmt.Errorf("%s with %d Services: %w", subject, n, err)
				}
				for _, s := range samples {
					set.Add(subject, fmt.Sprintf("%d Services × %d endpoints", n, perService), s.Figure, s.Unit, s.Value)
				}
			}
		}
	}
	set.WriteTable(os.Stdout)
	return set.WriteJSON(filepath.Join(root, "bench", "out"), "services")
}

// inNamespace runs one case as a process in fresh namespaces.
func inNamespace(ctx context.Context, root, subject string, n, changes int) ([]sample, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	dir, err := os.MkdirTemp("", "bench-services")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-as", subject, "-n", strconv.Itoa(n), "-dir", dir, "-root", root, "-changes", strconv.Itoa(changes))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	out, err := cmd.Output()
	if cgroup, none := os.ReadFile(filepath.Join(dir, "cgroup")); none == nil {
		defer os.Remove(string(cgroup)) // empty once all of the case's processes are gone
	}
	if err != nil {
		return nil, err
	}
	var samples []sample
	return samples, json.Unmarshal(out, &samples)
}
