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
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
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
	runs := flag.Int("runs", 5, "how often to measure each server; 0: only the cluster, once")
	length := flag.Duration("time", 3*time.Second, "length of a measurement")
	names := flag.Int("names", 5000, "how many Services")
	services := flag.Int("cluster", 10_000, "how many Services, half of them headless, to follow on an API server; 0: none")
	changes := flag.Int("changes", 300, "how many changes of one of them to time")
	without := flag.String("without", "", "peers to leave out, separated by commas")
	also := flag.String("also", "", "another build of fairway to measure beside this one")
	into := flag.String("o", "", "put the table into this page, between the comments bench-dns and /bench-dns")
	root := flag.String("root", "..", "root of the repository")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{without: strings.Split(*without, ","), length: *length}
	if err := run(ctx, b, *root, *also, *into, *names, *runs, *services, *changes); err != nil {
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

// bench is one call of this program.
type bench struct {
	tools   tools
	dir     string // for what the servers read
	without []string
	length  time.Duration
	servers []*server // that answer
	lost    []string  // names of those that do not any more
	set     record.Set
}

func run(ctx context.Context, b *bench, root, also, into string, names, runs, services, changes int) (err error) {
	if root, err = filepath.Abs(root); err != nil {
		return err
	}
	if b.tools, err = fetch(ctx, root, b.without); err != nil {
		return err
	}
	if also != "" {
		if b.tools.also, err = filepath.Abs(also); err != nil {
			return err
		}
	}
	if b.dir, err = os.MkdirTemp("", "bench-dns"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if runs > 0 {
		if err := b.measureQueries(ctx, names, runs); err != nil {
			return err
		}
	}
	for i := range min(max(runs, 1), 3) {
		if services > 0 {
			fmt.Fprintf(os.Stderr, "cluster: run %d\n", i+1)
			if err := b.measureCluster(ctx, services, changes); err != nil {
				return fmt.Errorf("cluster: %w", err)
			}
		}
	}
	var table bytes.Buffer
	b.set.WriteCases(&table)
	os.Stdout.Write(table.Bytes())
	if into != "" {
		if err := record.Splice(into, "bench-dns", record.Machine()+".\n\n"+table.String()); err != nil {
			return err
		}
	}
	if err := b.set.WriteJSON(filepath.Join(root, "bench", "out"), "dns"); err != nil {
		return err
	}
	if len(b.lost) > 0 {
		return fmt.Errorf("figures are missing of %s, which ended or did not answer; see above", strings.Join(b.lost, ", "))
	}
	return nil
}

// measureQueries asks all servers, runs times in turn.
func (b *bench) measureQueries(ctx context.Context, names, runs int) error {
	if err := writeZones(b.dir, names); err != nil {
		return err
	}
	defer func() {
		for _, s := range b.servers {
			s.stop()
		}
		b.servers = nil
	}()
	if err := b.startAll(ctx); err != nil {
		return err
	}
	for i := range runs {
		fmt.Fprintf(os.Stderr, "run %d of %d\n", i+1, runs)
		if err := b.measureAll(); err != nil {
			return err
		}
	}
	return nil
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
func (b *bench) measureAll() error {
	saturated := map[string]float64{}
	for _, c := range cases {
		got := map[string]figures{}
		for _, s := range slices.Clone(b.servers) {
			if (c.cluster && !s.zone) || (!c.cluster && !s.forwards) {
				continue
			}
			rate := c.rate
			if rate == half {
				rate = int(halfLoad(saturated, s.name))
			}
			m, err := measure(b.tools, s, filepath.Join(b.dir, c.queries), rate, b.length)
			if err != nil {
				if err := b.lose(s, c.name, err); err != nil {
					return err
				}
				continue
			}
			got[s.name] = m
			if c.rate == 0 && c.cluster {
				saturated[s.name] = m.rate
			}
			b.add(s.name, c.name, c.rate, m)
		}
		for _, s := range b.servers {
			m, ok := got[s.name]
			if !ok || s.name == "fairway" {
				continue
			}
			b.set.Add("fairway / "+s.name, c.name, "CPU per query", "ratio", got["fairway"].cpu/m.cpu)
			if c.rate == half {
				b.set.Add("fairway / "+s.name, c.name, "p99 latency", "ratio", got["fairway"].p99/m.p99)
			}
		}
	}
	for _, s := range b.servers {
		rss, err := peer.Memory(s.cmd.Process.Pid)
		if err != nil {
			return err
		}
		b.set.Add(s.name, "after all of that", "memory (RSS)", "MiB", rss/1024)
	}
	return nil
}

// halfLoad is half of the rate that saturates the slowest server but CoreDNS, or of its own.
func halfLoad(saturated map[string]float64, of string) float64 {
	rate := saturated[of]
	for name, r := range saturated {
		if name != "coredns" {
			rate = min(rate, r)
		}
	}
	return rate / 2
}

// add takes down the figures of a server.
func (b *bench) add(name, of string, rate int, m figures) {
	b.set.Add(name, of, "CPU per query", "µs", m.cpu)
	if rate == 0 {
		b.set.Add(name, of, "throughput", "queries/s", m.rate)
	} else {
		b.set.Add(name, of, "p99 latency", "µs", m.p99)
	}
	if rate == half {
		b.set.Add(name, of, "rate", "queries/s", m.rate)
	}
	b.set.Add(name, of, "lost queries", "%", m.lost)
}
