// Command http measures what a request costs Fairway's proxy and its peers, nginx,
// HAProxy and Caddy, in CPU time of the proxy alone.
//
// Proxy on the first processor, client (wrk, h2load, or this program) and upstream
// (nginx, for gRPC this program) on the second, on loopback only, with connections
// kept alive on both sides, and the same header fields added by all but Caddy, which
// has its own. What is not in the repository (Debian's packages, unpacked but not
// installed) is fetched into .cache/bench-http once.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fairway-net/fairway/bench/record"
)

func main() {
	runs := flag.Int("runs", 3, "how often to measure each proxy")
	length := flag.Duration("time", 3*time.Second, "length of a measurement")
	idle := flag.Int("idle", 9_900, "how many idle connections to weigh; HAProxy wants two descriptors for each")
	only := flag.String("case", "", "only the cases whose names contain this")
	root := flag.String("root", "..", "root of the repository")
	into := flag.String("o", "", "put the table into this page, between the comments bench-http and /bench-http")
	limit := flag.Duration("limit", 12*time.Minute, "how long all may take; what is not measured by then is missing")
	shake := flag.String("handshakes", "", "make connections to this address over TLS, and nothing else")
	resume := flag.Bool("resume", false, "resume sessions in -handshakes")
	serve := flag.String("grpc-upstream", "", "be the upstream for gRPC at this address, and nothing else")
	latency := flag.String("latency", "", "ask the proxy at this address at -rate, and nothing else")
	upstream := flag.String("upstream", "", "be the upstream of -latency's proxy at this address")
	rate := flag.Float64("rate", 1000, "requests per second of -latency")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := error(nil)
	switch {
	case *serve != "":
		err = serveGRPC(ctx, *serve)
	case *latency != "":
		err = measureLatency(*latency, *upstream, *rate, *length)
	case *shake != "":
		err = measureHandshakes(*shake, *resume, *length)
	default:
		ctx, cancel := context.WithTimeout(ctx, *limit)
		defer cancel()
		err = run(ctx, *root, *into, &bench{length: *length, only: *only, runs: *runs, idle: *idle})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-http:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, root, into string, b *bench) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	if into != "" {
		if into, err = filepath.Abs(into); err != nil {
			return err
		}
	}
	if b.tools, err = fetch(ctx, root); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-http")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	begun := time.Now()
	if err := b.measureServers(ctx, dir); err != nil {
		return err
	}
	if b.wanted(changeCase) {
		if err := b.change(ctx); err != nil {
			b.fail(&server{name: "fairway"}, changeCase, err)
		}
	}
	b.set.WriteTable(os.Stdout)
	err = b.set.WriteJSON(filepath.Join(root, "bench", "out"), "http")
	if into != "" {
		err = errors.Join(err, record.Splice(into, "bench-http", b.page(time.Since(begun))))
	}
	if len(b.failed) > 0 {
		err = errors.Join(err, fmt.Errorf("%d figures are missing; see FAILED above", len(b.failed)))
	}
	return err
}

// measureServers asks all proxies for everything.
func (b *bench) measureServers(ctx context.Context, dir string) error {
	err := b.startAll(ctx, dir)
	defer stopAll(b.servers)
	if err != nil {
		return err
	}
	for i := range b.runs {
		fmt.Fprintf(os.Stderr, "run %d of %d\n", i+1, b.runs)
		b.measureAll(ctx)
	}
	if b.wanted(idleCase) {
		b.weighAll(ctx)
	}
	return nil
}

// bench is one run of the program.
type bench struct {
	tools   tools
	servers []*server
	length  time.Duration // of a measurement
	only    string        // cases
	runs    int
	idle    int    // connections
	self    string // this program
	asker   string // where it is the upstream of who is asked at one rate
	set     record.Set
	now     map[sample]float64 // of this run
	failed  []string
}

func (b *bench) wanted(name string) bool { return strings.Contains(name, b.only) }

// subject is which of a proxy's listeners a case asks.
type subject uint8

const (
	plain  subject = iota
	secure         // TLS
	many           // manyHosts hosts, asked for in turn
	calls          // HTTP/2 without TLS, to an upstream that speaks it
	timed          // to the client itself; see asker
	subjects
)

// experiment is what all proxies are asked.
type experiment struct {
	name    string
	subject subject
	unit    string  // what the cost is of
	bytes   float64 // MiB of each body; 0: the cost is per unit
	ask     func(context.Context, *bench, *server) (figures, error)
}

// experiments returns the cases.
func experiments() []experiment {
	return []experiment{
		{"HTTP/1.1 keep-alive, 64 connections, 1 host", plain, "request", 0, wrk(plain, "/small", 64)},
		{"HTTP/1.1 keep-alive, 64 connections, 10,000 hosts", many, "request", 0, wrk(many, "/small", 64)},
		{"bodies of 1 MiB, 8 connections", plain, "request", 1, wrk(plain, "/large", 8)},
		{"bodies of 100 MiB, 2 connections", plain, "request", 100, wrk(plain, "/huge", 2)},
		{"bodies of 1 MiB over TLS, 8 connections", secure, "request", 1, wrk(secure, "/large", 8)},
		{"bodies of 100 MiB over TLS, 2 connections", secure, "request", 100, wrk(secure, "/huge", 2)},
		{"TLS 1.3, new connections", secure, "connection", 0, handshakes(false)},
		{"TLS 1.3, resumed connections", secure, "connection", 0, handshakes(true)},
		{"HTTP/2 over TLS, 8 connections of 16 streams", secure, "request", 0, h2load(secure, "/small", "-c8", "-m16")},
		{"gRPC unary, 8 connections of 16 streams", calls, "request", 0, h2load(calls, "/bench.Echo/Say", "-c8", "-m16", "-d", "message", "-H", "content-type: application/grpc", "-H", "te: trailers")},
	}
}

// asked are the proxies that a subject is asked of.
func (b *bench) asked(to subject) (out []*server) {
	for _, s := range b.servers {
		if !s.upstream && s.at[to] != "" {
			out = append(out, s)
		}
	}
	return out
}

// measureAll asks all proxies for each case in turn, so that whatever disturbs the
// machine disturbs all of them.
func (b *bench) measureAll(ctx context.Context) {
	for _, e := range experiments() {
		if !b.wanted(e.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "  %s\n", e.name)
		slowest := 0.0
		for _, s := range b.asked(e.subject) {
			m, err := b.measure(ctx, s, e)
			if err != nil {
				b.fail(s, e.name, err)
				continue
			}
			b.report(s, e, m)
			if s.name != "fairway" && s.name != "caddy" && (slowest == 0 || m.rate < slowest) {
				slowest = m.rate
			}
		}
		b.compare(e.name)
		if e.subject == plain && e.bytes == 0 && slowest > 0 {
			b.latencies(ctx, 0.7*slowest)
		}
	}
}

// report takes down what was measured.
func (b *bench) report(s *server, e experiment, m figures) {
	if e.bytes > 0 {
		b.add(s, e.name, "bytes per CPU second", "MiB/s", e.bytes*1e6/m.cpu)
	} else {
		b.add(s, e.name, "CPU per "+e.unit, "µs", m.cpu)
		b.add(s, e.name, "throughput", e.unit+"s/s", m.rate)
	}
	if m.p99 > 0 {
		b.add(s, e.name, "p99 at full load", "ms", m.p99)
	}
	b.add(s, e.name, "failed requests", "", m.failed)
}
