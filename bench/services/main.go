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
	peerMost        int
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
	flag.IntVar(&p.peerMost, "peer-most", 10000, "the largest number of Services that peers are measured with")
	flag.IntVar(&p.changes, "changes", 200, "how many changes of an endpoint per case; kube-proxy gets 5, and 3 at 10,000 Services and more")
	flag.DurationVar(&p.limit, "limit", 150*time.Second, "how long one case may take")
	flag.DurationVar(&p.deadline, "deadline", 16*time.Minute, "begin no case after this time")
	flag.StringVar(&p.into, "o", "", "put the table into this page, between the comments bench-services and /bench-services")
	quick := flag.Bool("quick", false, "only 10 and 1,000 Services, once: four minutes")
	flag.StringVar(&p.root, "root", "..", "root of the repository")
	flag.StringVar(&o.subject, "as", "", "run one case, or a process of it (this command calls itself)")
	flag.StringVar(&o.dir, "dir", "", "directory of that case")
	flag.IntVar(&o.n, "n", 0, "Services of that case")
	var c client
	figure := flag.String("figure", "", "what the client measures")
	flag.IntVar(&c.first, "first", 0, "first Service that the client goes to")
	flag.IntVar(&c.step, "step", 1, "which Services after that one")
	flag.IntVar(&c.server, "server", 0, "process of the endpoints that the client goes to")
	flag.BoolVar(&c.nodePort, "node-port", false, "by the node's port")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o.root, o.changes, o.figures = p.root, p.changes, list(*figures)
	err := func() error {
		switch o.subject {
		case "":
			if *quick {
				*sizes, p.runs, p.changes = "10,1000", 1, 100 // six cases of 25 s, and two rounds of turns
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

const fairway, nftables, iptablesPeer = "fairway", "kube-proxy nftables", "kube-proxy iptables"

var subjects = []string{fairway, nftables, iptablesPeer}

// run measures all cases: all sizes in each run, so that what there is no time
// for is a repetition, and all subjects of a size one after the other.
func (p plan) run(ctx context.Context) error {
	root, err := filepath.Abs(p.root)
	if err != nil {
		return err
	}
	p.root, p.env = root, os.Environ()
	if !slices.Contains(p.without, iptablesPeer) {
		if p.env, err = iptables(ctx, filepath.Join(root, "bin", "bench")); err != nil {
			return err
		}
	}
	c := &campaign{plan: p, begun: time.Now(), hopeless: map[string]bool{}}
	load := loadAverage()
	for i := range p.runs {
		for _, n := range p.sizes {
			if err := c.size(ctx, i, n); err != nil {
				return err
			}
		}
	}
	var tables bytes.Buffer
	c.set.WriteCases(&tables)
	os.Stdout.Write(tables.Bytes())
	fmt.Fprintf(os.Stderr, "%4.0f s  done\n", time.Since(c.begun).Seconds())
	c.errs = append(c.errs, c.set.WriteJSON(filepath.Join(root, "bench", "out"), "services"))
	if p.into != "" {
		text := fmt.Sprintf("%s, load average %s before. Medians of up to %d runs, with the least and the most.\n\n%s", record.Machine(), load, p.runs, &tables)
		c.errs = append(c.errs, record.Splice(p.into, "bench-services", text))
	}
	return errors.Join(c.errs...)
}

// campaign is what a run of the benchmark has got so far.
type campaign struct {
	plan
	begun    time.Time
	set      record.Set
	hopeless map[string]bool // subjects that ran into the limit: they will at more Services as well
	errs     []error
}

func (c *campaign) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%4.0f s  %s\n", time.Since(c.begun).Seconds(), fmt.Sprintf(format, args...))
}

// wants says whether a subject is measured with n Services in a run.
func (c *campaign) wants(subject string, run, n int) bool {
	switch {
	case slices.Contains(c.without, subject) || c.hopeless[subject]:
		return false
	case subject == fairway:
		return true
	}
	return n <= c.peerMost && (n < 10000 || run < c.peerRuns)
}

// size measures all subjects with n Services once: each alone, and then in turns
// what is compared between them.
func (c *campaign) size(ctx context.Context, run, n int) error {
	of := fmt.Sprintf("%d Services × %d endpoints", n, perService)
	var waiting []*running
	for _, subject := range subjects {
		if !c.wants(subject, run, n) {
			continue
		}
		if time.Since(c.begun) > c.deadline {
			c.say("%v have passed: %s with %d Services is left out in run %d", c.deadline, subject, n, run+1)
			continue
		}
		c.say("run %d of %d, %d Services, %s", run+1, c.runs, n, subject)
		r, samples, err := c.begin(ctx, subject, n)
		for _, s := range samples {
			c.set.Add(subject, of, s.Figure, s.Unit, s.Value)
		}
		if err == nil {
			waiting = append(waiting, r)
			continue
		}
		err = errors.Join(r.end(), err)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.failed(subject, n, err)
		if errors.Is(err, errLimit) {
			c.hopeless[subject] = true
			if len(samples) == 0 {
				c.set.AddOver(subject, of, "start: process to all programmed", "s", c.limit.Seconds())
			}
		}
	}
	if len(c.figures) == 0 || slices.Contains(c.figures, "nodeport") {
		c.say("run %d of %d, %d Services, from outside, in turns", run+1, c.runs, n)
		c.inTurns(of, waiting)
	}
	for _, r := range waiting {
		if err := r.end(); err != nil && ctx.Err() == nil {
			c.failed(r.subject, n, err)
		}
	}
	return ctx.Err()
}

func (c *campaign) failed(subject string, n int, err error) {
	c.say("%s with %d Services: %v", subject, n, err)
	if !errors.Is(err, errLimit) {
		c.errs = append(c.errs, fmt.Errorf("%s with %d Services: %w", subject, n, err))
	}
}

// inTurns measures what is compared between subjects: in short turns, the medians
// of which count.
func (c *campaign) inTurns(of string, waiting []*running) {
	const turns, versus = 7, fairway + " / " + nftables
	type row struct{ subject, figure, unit string }
	got := map[row][]float64{}
	var rows []row
	note := func(r row, v float64) {
		if got[r] == nil {
			rows = append(rows, r)
		}
		got[r] = append(got[r], v)
	}
	for turn := range turns {
		of := map[string][]sample{}
		for i := range waiting {
			r := waiting[(i+turn)%len(waiting)]
			samples, err := r.turn()
			if err != nil {
				continue // its end says what it was
			}
			of[r.subject] = samples
		}
		for _, r := range waiting {
			for _, s := range of[r.subject] {
				note(row{r.subject, s.Figure, s.Unit}, s.Value)
			}
		}
		for i, ours := range of[fairway] {
			if theirs := of[nftables]; theirs != nil && ours.Unit != "ratio" {
				note(row{versus, ours.Figure, "ratio"}, ours.Value/theirs[i].Value)
			}
		}
	}
	for _, r := range rows {
		c.set.Add(r.subject, of, r.figure, r.unit, median(got[r]))
	}
}

func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(b))[0]
}
