// Command run runs Kubernetes' own [sig-network] suite against clusters of
// Fairway's that it makes and removes, and says what came of it: a line per
// spec while it runs, a table at the end, and a folder for each spec that failed.
//
// It does not build anything; `make conformance` does, and then calls it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// options are the command line's.
type options struct {
	bin, out    string
	focus, skip string
	phases      string
	procs       int
	timeout     time.Duration
	quick, keep bool
	docs        string
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "../bin", "`folder` with fairway, kubectl and conformance/")
	flag.StringVar(&o.out, "out", "../bench/out/conformance", "`folder` for reports and logs; emptied first")
	flag.StringVar(&o.focus, "focus", "", "run only specs whose name matches this `regexp`")
	flag.StringVar(&o.skip, "skip", "", "leave out specs whose name matches this `regexp`, beside those in leftOut")
	flag.StringVar(&o.phases, "phases", "", "run only these `names`, separated by commas: "+names(phases))
	flag.IntVar(&o.procs, "procs", 2, "`number` of specs at a time, where that is safe")
	flag.DurationVar(&o.timeout, "timeout", 3*time.Hour, "end a phase after this `duration`")
	flag.BoolVar(&o.quick, "quick", false, "run only the quick part, as CI does")
	flag.BoolVar(&o.keep, "keep", false, "leave the last cluster up")
	flag.StringVar(&o.docs, "docs", "", "write the table into this `file`, between its markers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// run returns whether every spec that was to run did, and none failed.
func run(ctx context.Context, o options) (ok bool, err error) {
	for _, dir := range []*string{&o.bin, &o.out} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return false, err
		}
	}
	chosen, err := choose(o)
	if err != nil {
		return false, err
	}
	if err := clear(o.out); err != nil {
		return false, err
	}
	start := time.Now()
	var all results
	missing := 0
	for i, p := range chosen {
		got, rest, err := p.run(ctx, o, o.keep && i == len(chosen)-1)
		all.merge(got)
		missing += rest
		if err != nil {
			return false, fmt.Errorf("phase %s: %w", p.name, err)
		}
	}
	table := all.markdown(start, time.Since(start), missing)
	if err := os.WriteFile(filepath.Join(o.out, "table.md"), []byte(table), 0o644); err != nil {
		return false, err
	}
	fmt.Print("\n", table)
	if o.docs != "" {
		if err := insert(o.docs, table); err != nil {
			return false, err
		}
	}
	passed, failed, _ := all.count()
	for _, s := range all.sorted() {
		if s.State == failedState {
			fmt.Printf("FAILED  %s\n        %s\n        see %s\n", s.Name, s.Reason, filepath.Join(o.out, "failed", slug(s.Name)))
		}
	}
	// The closing line that a CI of any kind reads.
	fmt.Printf("\n%d passed, %d failed\n", passed, failed+missing)
	return failed+missing == 0 && passed > 0, nil
}

// choose returns the phases that o asks for.
func choose(o options) ([]phase, error) {
	if o.quick {
		return []phase{quick}, nil
	}
	if o.phases == "" {
		return phases, nil
	}
	var out []phase
	for _, name := range strings.Split(o.phases, ",") {
		found := false
		for _, p := range phases {
			if p.name == name {
				out, found = append(out, p), true
			}
		}
		if !found {
			return nil, fmt.Errorf("phase %q is not known; there are %s", name, names(phases))
		}
	}
	return out, nil
}

func names(list []phase) string {
	var out []string
	for _, p := range list {
		out = append(out, p.name)
	}
	return strings.Join(out, ", ")
}

// clear removes what an earlier run left in dir. It touches nothing else, in
// case that somebody names a folder of their own.
func clear(dir string) error {
	for _, pattern := range []string{"failed", "*.json", "*.jsonl", "*.log", "table.md", "junit*.xml"} {
		found, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, f := range found {
			if err := os.RemoveAll(f); err != nil {
				return err
			}
		}
	}
	return os.MkdirAll(dir, 0o755)
}
