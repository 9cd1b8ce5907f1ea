// Command http measures what a request costs Fairway's proxy and its peers, nginx
// and HAProxy, in CPU time of the proxy alone.
//
// Proxy on the first processor, client (wrk) and upstream (nginx) on the second,
// on loopback only, with connections kept alive on both sides, and the same
// header fields added by all. What is not in the repository (Debian's packages,
// unpacked but not installed) is fetched into .cache/bench-http once.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fairway-net/fairway/bench/record"
)

func main() {
	runs := flag.Int("runs", 5, "how often to measure each proxy")
	length := flag.Duration("time", 5*time.Second, "length of a measurement")
	idle := flag.Int("idle", 9_900, "how many idle connections to weigh; HAProxy wants two descriptors for each")
	root := flag.String("root", "..", "root of the repository")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *root, *runs, *length, *idle); err != nil {
		fmt.Fprintln(os.Stderr, "bench-http:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, root string, runs int, length time.Duration, idle int) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	tools, err := fetch(ctx, root)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-http")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	servers, err := startAll(ctx, tools, dir)
	defer stopAll(servers)
	if err != nil {
		return err
	}
	var set record.Set
	for i := range runs {
		fmt.Fprintf(os.Stderr, "run %d of %d\n", i+1, runs)
		if err := measureAll(ctx, tools, servers, length, &set); err != nil {
			return err
		}
	}
	if err := weighAll(ctx, servers, idle, &set); err != nil {
		return err
	}
	set.WriteTable(os.Stdout)
	return set.WriteJSON(filepath.Join(root, "bench", "out"), "http")
}

// The cases.
var cases = []struct {
	name  string
	path  string
	conns int
	many  bool // of the proxies with many hosts, which are asked for in turn
	bytes bool // the cost is per byte
}{
	{"keep-alive, 64 connections, 1 host", "/small", 64, false, false},
	{"keep-alive, 64 connections, 10,000 hosts", "/small", 64, true, false},
	{"bodies of 1 MiB, 8 connections", "/large", 8, false, true},
}

// measureAll asks all proxies for each case in turn, so that whatever disturbs the
// machine disturbs all of them.
func measureAll(ctx context.Context, t tools, servers []*server, length time.Duration, set *record.Set) error {
	for _, c := range cases {
		peer := 0.0
		for _, s := range servers {
			if s.upstream || s.many != c.many {
				continue
			}
			m, err := measure(ctx, t, s, c.path, c.conns, length)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", c.name, s.name, err)
			}
			cost := m.cpu
			if c.bytes {
				cost = m.cpu * 1024 // of 1 MiB: µs per GiB
				set.Add(s.name, c.name, "bytes per CPU second", "MiB/s", 1e6/m.cpu)
			} else {
				set.Add(s.name, c.name, "CPU per request", "µs", m.cpu)
				set.Add(s.name, c.name, "throughput", "requests/s", m.rate)
				set.Add(s.name, c.name, "p99 latency", "ms", m.p99)
			}
			if s.name == "nginx" { // comes first
				peer = cost
			}
			set.Add(s.name, c.name, "CPU beside nginx", "×", cost/peer)
			set.Add(s.name, c.name, "failed requests", "", m.failed)
		}
	}
	return nil
}
