// Command dns measures what one query costs `fairway dns` and its peers: Knot
// and NSD with the same names in a zone file, Unbound for forwarded names in
// the cache, and CoreDNS for both; and what following a large cluster costs
// Fairway and CoreDNS's kubernetes plugin, on an API of the same content.
//
// Server and client run on one processor each, on loopback only. The client is
// dnsperf; the cost is the server's CPU time, of user and kernel, per query.
// Everything that is not in the repository (Debian's packages, unpacked but not
// installed, and CoreDNS by go install) is fetched into .cache/bench-dns once.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/fairway-net/fairway/bench/peer"
	"github.com/fairway-net/fairway/bench/record"
)

func main() {
	if err := pin(); err != nil {
		fmt.Fprintln(os.Stderr, "bench-dns:", err)
		os.Exit(1)
	}
	runs := flag.Int("runs", 5, "how often to measure each server")
	length := flag.Duration("time", 3*time.Second, "length of a measurement")
	names := flag.Int("names", 5000, "how many Services")
	services := flag.Int("cluster", 10_000, "how many Services, half of them headless, to follow on an API server; 0: none")
	changes := flag.Int("changes", 200, "how many changes of one of them to time")
	without := flag.String("without", "", "peers to leave out, separated by commas")
	also := flag.String("also", "", "another build of fairway to measure beside this one")
	into := flag.String("o", "", "put the table into this page, between the comments bench-dns and /bench-dns")
	root := flag.String("root", "..", "root of the repository")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *root, strings.Split(*without, ","), *also, *into, *names, *runs, *services, *changes, *length); err != nil {
		fmt.Fprintln(os.Stderr, "bench-dns:", err)
		os.Exit(1)
	}
}

// pinned is set in the environment of the program that runs where it should.
const pinned = "FAIRWAY_BENCH_PINNED"

// pin runs this program, the API server and the client in it, on the second
// processor: the first is the servers'.
func pin() error {
	if os.Getenv(pinned) != "" {
		return nil
	}
	if runtime.NumCPU() < 2 {
		return errors.New("needs two processors, one for the servers and one for the client")
	}
	taskset, err := exec.LookPath("taskset")
	if err != nil {
		return fmt.Errorf("%w: apt-get install util-linux", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(taskset, append([]string{"taskset", "-c", "1", self}, os.Args[1:]...), append(os.Environ(), pinned+"=1"))
}

func run(ctx context.Context, root string, without []string, also, into string, names, runs, services, changes int, length time.Duration) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	tools, err := fetch(ctx, root, without)
	if err != nil {
		return err
	}
	if also != "" {
		if tools.also, err = filepath.Abs(also); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "bench-dns")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := writeZones(dir, names); err != nil {
		return err
	}
	servers, err := startAll(ctx, tools, without, dir)
	defer func() { stopAll(servers) }()
	if err != nil {
		return err
	}
	var set record.Set
	for i := range runs {
		fmt.Fprintf(os.Stderr, "run %d of %d\n", i+1, runs)
		if err := measureAll(ctx, tools, dir, servers, length, &set); err != nil {
			return err
		}
	}
	stopAll(servers)
	servers = nil
	for i := range min(runs, 3) {
		if services > 0 {
			fmt.Fprintf(os.Stderr, "cluster: run %d of %d\n", i+1, min(runs, 3))
			if err := measureCluster(ctx, tools, without, dir, services, changes, &set); err != nil {
				return fmt.Errorf("cluster: %w", err)
			}
		}
	}
	var table bytes.Buffer
	set.WriteTable(&table)
	os.Stdout.Write(table.Bytes())
	if into != "" {
		if err := record.Splice(into, "bench-dns", record.Machine()+".\n\n"+table.String()); err != nil {
			return err
		}
	}
	return set.WriteJSON(filepath.Join(root, "bench", "out"), "dns")
}

// half is half of the rate at which the slowest was saturated just before, so
// that all are asked at the same; CoreDNS, which is slower by far, at half of its own.
const half = -1

// The cases. Rates are in queries per second; 0 is as fast as the server goes.
var cases = []struct {
	name    string
	queries string // file
	cluster bool   // asked of the servers that have the zone, else of those that forward
	rate    int
}{
	{"cluster names, 80 % hits, saturated", "cluster.queries", true, 0},
	{"cluster names, 80 % hits, 20,000/s", "cluster.queries", true, 20_000},
	{"cluster names, 80 % hits, half load", "cluster.queries", true, half},
	{"forwarded names in the cache, saturated", "outside.queries", false, 0},
}

// measureAll asks all servers for each case in turn, so that whatever disturbs
// the machine disturbs all of them.
func measureAll(ctx context.Context, t tools, dir string, servers []*server, length time.Duration, set *record.Set) error {
	saturated := map[*server]float64{}
	slowest := math.Inf(1) // but for CoreDNS
	for _, c := range cases {
		got := map[string]figures{}
		for _, s := range servers {
			if (c.cluster && !s.zone) || (!c.cluster && !s.forwards) {
				continue
			}
			rate := c.rate
			if rate == half {
				rate = int(min(saturated[s], slowest) / 2)
			}
			m, err := measure(ctx, t, s, filepath.Join(dir, c.queries), rate, length)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", c.name, s.name, err)
			}
			got[s.name] = m
			set.Add(s.name, c.name, "CPU per query", "µs", m.cpu)
			if c.rate == 0 {
				if c.cluster {
					if saturated[s] = m.rate; s.name != "coredns" {
						slowest = min(slowest, m.rate)
					}
				}
				set.Add(s.name, c.name, "throughput", "queries/s", m.rate)
			} else {
				set.Add(s.name, c.name, "p99 latency", "µs", m.p99)
			}
			set.Add(s.name, c.name, "lost queries", "%", m.lost)
		}
		for _, peer := range servers {
			m, ok := got[peer.name]
			if !ok || peer.name == "fairway" {
				continue
			}
			set.Add("fairway / "+peer.name, c.name, "CPU per query", "ratio", got["fairway"].cpu/m.cpu)
			if c.rate == half {
				set.Add("fairway / "+peer.name, c.name, "p99 latency", "ratio", got["fairway"].p99/m.p99)
			}
		}
	}
	for _, s := range servers {
		rss, err := peer.Memory(s.cmd.Process.Pid)
		if err != nil {
			return err
		}
		set.Add(s.name, "after all of that", "memory (RSS)", "MiB", rss/1024)
	}
	return nil
}
