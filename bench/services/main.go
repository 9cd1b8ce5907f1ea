// Command services measures what a cluster of N Services costs a node: Fairway's
// Service path (source, state, plan, apply) and kube-proxy in both its modes,
// each beside the direct way to the endpoint.
//
// Every case is a process in network namespaces of its own (world.go), which
// have no way out. All endpoints are addresses in them, served by one process
// for this node and one for all others, and an API of the same content (api.go)
// stands in for the cluster's. What counts as programmed is what a connection
// finds, for every subject alike. Needs root and nft; iptables is fetched if it is not there.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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

const listenAll = ":8080" // port, at all addresses

// sample is one value that a case measured.
type sample struct {
	Figure, Unit string
	Value        float64
}

// plan is what to measure.
type plan struct {
	root, into      string
	sizes           []int
	runs, peerRuns  int
	without         []string
	figures         []string
	changes         int
	limit, deadline time.Duration
	env             []string // of the cases; nil: this process's
}

func main() {
	var p plan
	var o options
	sizes := flag.String("sizes", "10,1000,10000,40000", "how many Services, separated by commas, at least 6")
	without := flag.String("without", "", "peers to leave out, separated by commas: kube-proxy nftables, kube-proxy iptables")
	figures := flag.String("figures", "", "what to measure, besides the start and the memory: change, connect, keepalive, bulk, udp, nodeport; all if empty")
	flag.IntVar(&p.runs, "runs", 3, "how often to measure each case")
	flag.IntVar(&p.peerRuns, "peer-runs", 1, "how often to measure peers at 10,000 Services and more, where they take minutes")
	flag.IntVar(&p.changes, "changes", 200, "how many changes of an endpoint per case; kube-proxy gets 5, and 3 at 10,000 Services and more")
	flag.DurationVar(&p.limit, "limit", 2*time.Minute, "how long one case may take")
	flag.DurationVar(&p.deadline, "deadline", 15*time.Minute, "begin no case after this time")
	flag.StringVar(&p.into, "o", "", "put the table into this page, between the comments bench-services and /bench-services")
	quick := flag.Bool("quick", false, "only 10 and 1,000 Services, once: under three minutes")
	flag.StringVar(&p.root, "root", "..", "root of the repository")
	flag.StringVar(&o.subject, "as", "", "run one case, or a process of it (this command calls itself)")
	flag.StringVar(&o.dir, "dir", "", "directory of that case")
	flag.IntVar(&o.n, "n", 0, "Services of that case")
	var c client
	figure := flag.String("figure", "", "what the client measures")
	flag.IntVar(&c.first, "first", 0, "first Service that the client goes to")
	flag.IntVar(&c.step, "step", 1, "which Services after that one")
	flag.BoolVar(&c.nodePort, "node-port", false, "by the node's port")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o.root, o.changes, o.figures = p.root, p.changes, list(*figures)
	err := func() error {
		switch o.subject {
		case "":
			if *quick {
				*sizes, p.runs, p.changes = "10,1000", 1, 100 // six cases of 20 s
			}
			p.without, p.figures = list(*without), o.figures
			for _, s := range list(*sizes) {
				n, err := strconv.Atoi(s)
				if err != nil || n < 6 {
					return fmt.Errorf("read -sizes: %q is not a number of Services from 6 on", s)
				}
				p.sizes = append(p.sizes, n)
			}
			return p.run(ctx)
		case "proxy":
			return proxy(ctx, o.dir)
		case "server":
			return serve()
		case "client":
			c.n = o.n
			r, err := c.measure(*figure)
			if err != nil {
				return err
			}
			return json.NewEncoder(os.Stdout).Encode(r)
		}
		return oneCase(ctx, o)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-services:", err)
		os.Exit(1)
	}
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

const fairway, nftables = "fairway", "kube-proxy nftables"

var subjects = []string{fairway, nftables, "kube-proxy iptables"}

// run measures all cases, subjects in turn within each run.
func (p plan) run(ctx context.Context) error {
	root, err := filepath.Abs(p.root)
	if err != nil {
		return err
	}
	p.root = root
	if !slices.Contains(p.without, "kube-proxy iptables") {
		if p.env, err = iptables(ctx, filepath.Join(root, "bin", "bench")); err != nil {
			return err
		}
	}
	begin, load := time.Now(), loadAverage()
	var set record.Set
	hopeless := map[string]bool{} // subjects that ran into the limit: they will at more Services as well
	var errs []error
	for _, n := range p.sizes {
		of := fmt.Sprintf("%d Services × %d endpoints", n, perService)
		for i := range p.runs {
			nodePort := map[string][]sample{}
			for _, subject := range subjects {
				if slices.Contains(p.without, subject) || hopeless[subject] || subject != fairway && n >= 10000 && i >= p.peerRuns {
					continue
				}
				if time.Since(begin) > p.deadline {
					fmt.Fprintf(os.Stderr, "%v have passed: %s at %d Services, run %d is left out\n", p.deadline, subject, n, i+1)
					continue
				}
				fmt.Fprintf(os.Stderr, "%4.0f s  %d Services, run %d of %d, %s\n", time.Since(begin).Seconds(), n, i+1, p.runs, subject)
				samples, err := p.inNamespace(ctx, subject, n)
				for _, s := range samples {
					set.Add(subject, of, s.Figure, s.Unit, s.Value)
				}
				nodePort[subject] = samples
				switch {
				case ctx.Err() != nil:
					return ctx.Err()
				case errors.Is(err, errLimit):
					hopeless[subject] = true
					if len(samples) == 0 {
						set.AddOver(subject, of, "start: process to all programmed", "s", p.limit.Seconds())
					}
					fmt.Fprintf(os.Stderr, "        not done after %v: the rest of it is missing, and so are larger sizes\n", p.limit)
				case err != nil:
					errs = append(errs, fmt.Errorf("%s with %d Services: %w", subject, n, err))
					fmt.Fprintln(os.Stderr, "       ", errs[len(errs)-1])
				}
			}
			for _, ours := range nodePort[fairway] {
				for _, theirs := range nodePort[nftables] {
					if ours.Figure == theirs.Figure && strings.HasPrefix(ours.Figure, "NodePort") {
						set.Add(fairway+" / "+nftables, of, ours.Figure, "ratio", ours.Value/theirs.Value)
					}
				}
			}
		}
	}
	var table bytes.Buffer
	set.WriteTable(&table)
	os.Stdout.Write(table.Bytes())
	errs = append(errs, set.WriteJSON(filepath.Join(root, "bench", "out"), "services"))
	if p.into != "" {
		text := fmt.Sprintf("%s, load average %s before.\n\n%s", record.Machine(), load, &table)
		errs = append(errs, record.Splice(p.into, "bench-services", text))
	}
	return errors.Join(errs...)
}

func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(b))[0]
}

var errLimit = errors.New("the case took too long")

// inNamespace runs one case as a process in fresh namespaces. What it measured
// before it failed is returned as well.
func (p plan) inNamespace(parent context.Context, subject string, n int) ([]sample, error) {
	ctx, cancel := context.WithTimeout(parent, p.limit)
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
	changes := p.changes
	switch {
	case subject != fairway && n >= 10000:
		changes = 3
	case subject != fairway:
		changes = 5
	}
	cmd := exec.CommandContext(ctx, self, "-as", subject, "-n", strconv.Itoa(n), "-dir", dir, "-root", p.root,
		"-changes", strconv.Itoa(changes), "-figures", strings.Join(p.figures, ","))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	cmd.Env = p.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	err = cmd.Run()
	if cgroup, none := os.ReadFile(filepath.Join(dir, "cgroup")); none == nil {
		defer os.Remove(string(cgroup)) // empty once all of the case's processes are gone
	}
	if err != nil {
		if log, _ := os.ReadFile(filepath.Join(dir, "log")); len(log) > 0 && ctx.Err() == nil {
			fmt.Fprintf(os.Stderr, "%s\n", log[max(0, len(log)-2000):])
		}
	}
	if ctx.Err() != nil {
		err = errLimit
	}
	var samples []sample
	for d := json.NewDecoder(&out); ; {
		var s sample
		if d.Decode(&s) != nil {
			return samples, err
		}
		samples = append(samples, s)
	}
}
