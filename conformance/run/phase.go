package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// phase is one cluster and the specs that run on it.
type phase struct {
	name        string
	nodes       int
	family      string // for --ip-family; "" is up's default
	world       bool   // with a name server that stands for the world's
	focus, skip string
}

// zoned are the specs that want two nodes in each of three zones.
const zoned = `Traffic Distribution.*(between pods on multiple nodes|or fall back to same zone)`

// internetIPv6 wants pods that have IPv6.
const internetIPv6 = `Feature:Networking-IPv6`

// The suite needs three kinds of cluster: specs look at what there is and skip
// themselves where it is not enough. A spec counts once, with its best phase.
var phases = []phase{
	{name: "main", nodes: 3, focus: `\[sig-network\]`, skip: `Feature:IPv6DualStack|` + internetIPv6 + `|` + zoned, world: true},
	{name: "zones", nodes: 6, focus: zoned},
	{name: "dual", nodes: 3, family: "dual", focus: `Feature:IPv6DualStack|` + internetIPv6},
}

// quick is what CI has time for: of each group what would notice most mistakes.
var quick = phase{name: "quick", nodes: 2, focus: `\[sig-network\].*(` + strings.Join([]string{
	`Services should (serve a basic endpoint|serve multiport|be able to (switch session affinity|change the type from ExternalName)|have session affinity work)`,
	`Services should (preserve source pod IP|be rejected|respect internalTrafficPolicy=Local Pod$)`,
	`LoadBalancers.*(should have session affinity work|should target all nodes|Service without NodePort)`,
	`EndpointSlice should`, `HostPort`, `Granular Checks: (Pods|Services should function for pod-Service: (http|udp))`,
	`DNS should provide DNS for (services|pods for Subdomain|ExternalName)`,
	`Conntrack should be able to preserve UDP traffic when server pod cycles for a ClusterIP`,
	`Netpol .*should (support a 'default-deny-all' policy|enforce policy to allow ingress traffic from pods in all namespaces)`,
}, "|") + `)`}

// run runs the phase, and removes its cluster unless keep is set. missing is the
// number of specs for which there was no time.
func (p phase) run(ctx context.Context, o options, keep bool) (got results, missing int, err error) {
	c := cluster{name: "conformance-" + p.name, bin: o.bin, kubeconfig: filepath.Join(o.out, p.name+".kubeconfig")}
	start := time.Now()
	if err := c.up(ctx, p); err != nil {
		return nil, 0, err
	}
	if !keep {
		defer c.down()
	}
	if err := c.prepare(ctx, filepath.Join(o.bin, "conformance", "images.tar")); err != nil {
		return nil, 0, err
	}
	u, err := c.uplink(ctx)
	if err != nil {
		return nil, 0, err
	}
	if err := c.outsider(ctx, u); err != nil {
		return nil, 0, err
	}
	offline, err := c.internet(ctx, u)
	if err != nil {
		return nil, 0, err
	}
	defer offline()
	if _, err := os.Stat(filepath.Join(o.bin, "conformance", "coredns")); p.world && err == nil {
		if err := c.world(ctx); err != nil {
			return nil, 0, err
		}
	}
	fmt.Printf("%s: cluster of %d nodes after %.0f s\n", p.name, p.nodes, time.Since(start).Seconds())
	err = p.suite(ctx, o, c)
	got, missing, readErr := read(filepath.Join(o.out, p.name+".json"))
	if readErr != nil {
		return nil, 0, errors.Join(err, readErr)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		err = nil // specs failed: the report says so
	}
	return got, missing, err
}

// suite runs the specs: ginkgo spreads those that may run beside others over
// processes, and then runs the serial ones alone.
func (p phase) suite(ctx context.Context, o options, c cluster) error {
	tools := filepath.Join(o.bin, "conformance")
	progress := filepath.Join(o.out, p.name+".jsonl")
	args := []string{
		"--procs=" + strconv.Itoa(o.procs), "--timeout=" + o.timeout.String(), "--no-color", "--silence-skips", "--succinct",
		"--json-report=" + p.name + ".json", "--output-dir=" + o.out, "--focus=" + join(p.focus, o.focus),
	}
	for _, skip := range append(skips(), p.skip, o.skip) {
		if skip != "" {
			args = append(args, "--skip="+skip)
		}
	}
	args = append(args, filepath.Join(tools, "e2e.test"), "--",
		"-kubeconfig", c.kubeconfig, "-provider", "local", "-kubectl-path", filepath.Join(o.bin, "kubectl"),
		"-report-dir", o.out, "-report-prefix", p.name+"_", "-disable-log-dump", "-dump-logs-on-failure=false",
		"-allowed-not-ready-nodes=0", "-num-nodes="+strconv.Itoa(p.nodes))
	cmd := exec.CommandContext(ctx, filepath.Join(tools, "ginkgo"), args...)
	// The specs' processes are ended with their leader: one that lived on would
	// work on the next cluster, which has the same addresses.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = time.Minute
	cmd.Env = append(os.Environ(), "CONFORMANCE_PROGRESS="+progress, "CONFORMANCE_FAILED="+filepath.Join(o.out, "failed"),
		"CONFORMANCE_BIN="+o.bin, "CONFORMANCE_CLUSTER="+c.name, "KUBECONFIG="+c.kubeconfig)
	log, err := os.Create(filepath.Join(o.out, p.name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := os.WriteFile(progress, nil, 0o644); err != nil {
		return err
	}
	done := make(chan struct{})
	told := make(chan struct{})
	go func() { defer close(told); tell(progress, done) }()
	err = cmd.Run()
	if cmd.Process != nil {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	close(done)
	<-told
	return err
}

// join says "both" where two expressions are given: names hold the first before
// the second, as the groups stand before what they say.
func join(phase, own string) string {
	if own == "" {
		return phase
	}
	return "(" + phase + ").*(" + own + ")|(" + own + ").*(" + phase + ")"
}

// tell prints each line that the specs' processes append to file, until done.
func tell(file string, done <-chan struct{}) {
	f, err := os.Open(file)
	if err != nil {
		return
	}
	defer f.Close()
	lines := bufio.NewReader(f)
	partial, ended, n, total := "", false, 0, 0
	for {
		text, err := lines.ReadString('\n')
		partial += text
		if err == io.EOF {
			if ended {
				return
			}
			select {
			case <-done:
				ended = true
			case <-time.After(200 * time.Millisecond):
			}
			continue
		}
		var l struct {
			Total                int
			Name, State, Message string
			Seconds              float64
		}
		if err := json.Unmarshal([]byte(partial), &l); err == nil {
			if l.Total > 0 {
				total = l.Total
			} else {
				n++
				fmt.Printf("%3d/%d %-7s %6.1f s  %s\n", n, total, l.State, l.Seconds, l.Name)
			}
		}
		partial = ""
	}
}
