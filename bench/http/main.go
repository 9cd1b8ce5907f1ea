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
	serve := flag.String("grpc-upstream", "", "be the upstream for gRPC at this address, and nothing else")
	latency := flag.String("latency", "", "ask the proxy at this address at -rate, and nothing else")
	rate := flag.Float64("rate", 1000, "requests per second of -latency")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := error(nil)
	switch {
	case *serve != "":
		err = serveGRPC(ctx, *serve)
	case *latency != "":
		err = measureLatency(*latency, *rate, *length)
	default:
		err = run(ctx, *root, *runs, *length, *idle, *only)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-http:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, root string, runs int, length time.Duration, idle int, only string) error {
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
	b := &bench{tools: tools, length: length, only: only}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	b.servers, err = startAll(ctx, tools, dir)
	defer stopAll(b.servers)
	if err != nil {
		return err
	}
	for i := range runs {
		fmt.Fprintf(os.Stderr, "run %d of %d\n", i+1, runs)
		if err := b.measureAll(ctx); err != nil {
			return err
		}
	}
	if b.wanted("idle connections") {
		if err := b.weighAll(ctx, idle); err != nil {
			return err
		}
	}
	stopAll(b.servers)
	b.servers = nil
	if b.wanted(changeCase) {
		if err := b.change(ctx); err != nil {
			return err
		}
	}
	b.set.WriteTable(os.Stdout)
	return b.set.WriteJSON(filepath.Join(root, "bench", "out"), "http")
}

// bench is one run of the program.
type bench struct {
	tools   tools
	servers []*server
	length  time.Duration
	only    string
	self    string // this program
	set     record.Set
}

func (b *bench) wanted(name string) bool { return strings.Contains(name, b.only) }

// subject is which of a proxy's listeners a case asks.
type subject uint8

const (
	plain  subject = iota
	secure         // TLS
	many           // manyHosts hosts, asked for in turn
	calls          // HTTP/2 without TLS, to an upstream that speaks it
)

// experiment is what all proxies are asked.
type experiment struct {
	name    string
	subject subject
	bytes   float64 // MiB of each body; 0: the cost is per request
	ask     func(context.Context, *bench, *server) (figures, error)
}

// experiments returns the cases.
func experiments() []experiment {
	return []experiment{
		{"HTTP/1.1 keep-alive, 64 connections, 1 host", plain, 0, wrk(plain, "/small", 64)},
		{"HTTP/1.1 keep-alive, 64 connections, 10,000 hosts", many, 0, wrk(many, "/small", 64)},
		{"bodies of 1 MiB, 8 connections", plain, 1, wrk(plain, "/large", 8)},
		{"bodies of 100 MiB, 2 connections", plain, 100, wrk(plain, "/huge", 2)},
		{"bodies of 1 MiB over TLS, 8 connections", secure, 1, wrk(secure, "/large", 8)},
		{"bodies of 100 MiB over TLS, 2 connections", secure, 100, wrk(secure, "/huge", 2)},
		{"TLS 1.3 handshakes", secure, 0, handshakes(false)},
		{"TLS 1.3 handshakes, resumed", secure, 0, handshakes(true)},
		{"HTTP/2 over TLS, 8 connections of 16 streams", secure, 0, h2load(secure, "/small", "-c8", "-m16")},
		{"gRPC unary, 8 connections of 16 streams", calls, 0, h2load(calls, "/bench.Echo/Say", "-c8", "-m16", "-d", "message", "-H", "content-type: application/grpc", "-H", "te: trailers")},
	}
}

// measureAll asks all proxies for each case in turn, so that whatever disturbs the
// machine disturbs all of them.
func (b *bench) measureAll(ctx context.Context) error {
	for _, e := range experiments() {
		if !b.wanted(e.name) {
			continue
		}
		peers := map[string]float64{}
		slowest := 0.0
		for _, s := range b.servers {
			if s.upstream || s.at[e.subject] == "" {
				continue
			}
			m, err := b.measure(ctx, s, e)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", e.name, s.name, err)
			}
			b.report(s, e, m, peers)
			if s.name != "fairway" && s.name != "caddy" && (slowest == 0 || m.rate < slowest) {
				slowest = m.rate
			}
		}
		if e.subject == plain && e.bytes == 0 {
			if err := b.latencies(ctx, 0.7*slowest); err != nil {
				return err
			}
		}
	}
	return nil
}

// report takes down what was measured; peers come before Fairway.
func (b *bench) report(s *server, e experiment, m figures, peers map[string]float64) {
	if e.bytes > 0 {
		b.set.Add(s.name, e.name, "bytes per CPU second", "MiB/s", e.bytes*1e6/m.cpu)
	} else {
		b.set.Add(s.name, e.name, "CPU per request", "µs", m.cpu)
		b.set.Add(s.name, e.name, "throughput", "requests/s", m.rate)
	}
	if m.p99 > 0 {
		b.set.Add(s.name, e.name, "p99 at full load", "ms", m.p99)
	}
	b.set.Add(s.name, e.name, "failed requests", "", m.failed)
	if s.name != "fairway" {
		peers[s.name] = m.cpu
		return
	}
	for _, peer := range []string{"nginx", "haproxy", "caddy"} {
		if cpu := peers[peer]; cpu > 0 {
			b.set.Add("fairway / "+peer, e.name, "work per CPU second", "×", cpu/m.cpu)
		}
	}
}
