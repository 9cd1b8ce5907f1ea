package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/fairway-net/fairway/bench/peer"
)

// figures are what one measurement gives.
type figures struct {
	n      float64 // requests
	cpu    float64 // µs per request
	rate   float64 // requests per second
	p99    float64 // ms, at full load
	failed float64
}

// measure lets a client ask s from the second processor. A short run before it opens
// connections and fills caches.
func (b *bench) measure(ctx context.Context, s *server, e experiment) (figures, error) {
	warm := *b
	warm.length = time.Second
	if _, err := e.ask(ctx, &warm, s); err != nil {
		return figures{}, err
	}
	before, err := peer.CPUTime(s.cmd.Process.Pid)
	if err != nil {
		return figures{}, err
	}
	f, err := e.ask(ctx, b, s)
	for try := 0; err == nil && f.n == 0 && try < 3; try++ { // a machine that is busy otherwise
		f, err = e.ask(ctx, b, s)
	}
	if err != nil {
		return figures{}, err
	}
	after, err := peer.CPUTime(s.cmd.Process.Pid)
	if err != nil {
		return figures{}, err
	}
	if f.n == 0 {
		return f, fmt.Errorf("no request was answered")
	}
	f.cpu = float64((after - before).Microseconds()) / f.n
	return f, nil
}

// client runs a load generator on the second processor.
func (b *bench) client(ctx context.Context, s *server, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, b.length+20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "taskset", append([]string{"-c", "1"}, args...)...)
	cmd.Env, cmd.Dir = b.tools.env, s.cmd.Dir
	text, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", filepath.Base(args[0]), err, text)
	}
	return text, nil
}

var (
	completed = regexp.MustCompile(`(\d+) requests in`)
	perSecond = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	p99       = regexp.MustCompile(`99%\s+([\d.]+)(us|ms|s)`)
	failures  = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
	broken    = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
)

// wrk asks over HTTP/1.1.
func wrk(to subject, path string, conns int) func(context.Context, *bench, *server) (figures, error) {
	return func(ctx context.Context, b *bench, s *server) (figures, error) {
		url := "http://" + s.at[to]
		length := b.length
		if path == "/huge" {
			length = max(length, 3*time.Second) // or not one may be whole on a busy machine
		}
		args := []string{b.tools.wrk, "-t1", fmt.Sprint("-c", conns), fmt.Sprintf("-d%ds", max(1, int(length.Seconds()))), "--latency", "-H", "Host: h0.example"}
		switch to {
		case many:
			args = append(args[:len(args)-2], "-s", "hosts.lua")
		case secure:
			url = "https://" + s.at[secure]
		}
		text, err := b.client(ctx, s, append(args, url+path)...)
		if err != nil {
			return figures{}, err
		}
		f := figures{n: number(completed, text), rate: number(perSecond, text), failed: number(failures, text)}
		if m := p99.FindSubmatch(text); m != nil {
			v, _ := strconv.ParseFloat(string(m[1]), 64)
			f.p99 = v * map[string]float64{"us": 1e-3, "ms": 1, "s": 1e3}[string(m[2])]
		}
		if m := broken.FindSubmatch(text); m != nil {
			for _, count := range m[1:] {
				v, _ := strconv.ParseFloat(string(count), 64)
				f.failed += v
			}
		}
		return f, nil
	}
}

var (
	h2Done   = regexp.MustCompile(`requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored`)
	h2Status = regexp.MustCompile(`status codes: (\d+) 2xx`)
	h2Rate   = regexp.MustCompile(`finished in [\d.]+m?s, ([\d.]+) req/s`)
)

// h2load asks over HTTP/2.
func h2load(to subject, path string, args ...string) func(context.Context, *bench, *server) (figures, error) {
	return func(ctx context.Context, b *bench, s *server) (figures, error) {
		url := "http://" + s.at[to]
		if to == secure {
			url = "https://" + s.at[to]
		}
		all := []string{b.tools.h2load, "-t1", fmt.Sprintf("-D%d", max(1, int(b.length.Seconds()))), "-H", ":authority: h0.example"}
		text, err := b.client(ctx, s, append(append(all, args...), url+path)...)
		if err != nil {
			return figures{}, err
		}
		return h2Figures(text), nil
	}
}

func h2Figures(text []byte) (f figures) {
	if m := h2Done.FindSubmatch(text); m != nil {
		f.n = numberIn(m[1])
		f.failed = numberIn(m[3]) + numberIn(m[4])
	}
	f.failed += max(0, f.n-number(h2Status, text)) // answers on their way at the end are counted as one and not the other
	f.rate = number(h2Rate, text)
	return f
}

func numberIn(b []byte) float64 {
	v, _ := strconv.ParseFloat(string(b), 64)
	return v
}

func number(re *regexp.Regexp, text []byte) float64 {
	m := re.FindSubmatch(text)
	if m == nil {
		return 0
	}
	return numberIn(m[1])
}

const idleCase = "idle keep-alive connections"

// weighAll says how much memory a connection takes that has had one request and
// waits for the next.
func (b *bench) weighAll(ctx context.Context) {
	for _, s := range b.asked(plain) {
		if err := b.weigh(ctx, s); err != nil {
			b.fail(s, idleCase, err)
		}
	}
	b.compare(idleCase)
}

func (b *bench) weigh(ctx context.Context, s *server) error {
	before, err := peer.Memory(s.cmd.Process.Pid)
	if err != nil {
		return err
	}
	conns, err := occupy(ctx, s.at[plain], b.idle)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	if err != nil {
		return err
	}
	time.Sleep(5 * time.Second) // for what is given back late
	after, err := peer.Memory(s.cmd.Process.Pid)
	if err != nil {
		return err
	}
	b.add(s, idleCase, "memory per connection (RSS)", "KiB", (after-before)/float64(b.idle))
	return nil
}

func occupy(ctx context.Context, addr string, n int) (conns []net.Conn, err error) {
	buf := make([]byte, 4096)
	for range n {
		c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.WriteString(c, "GET /small HTTP/1.1\r\nHost: h0.example\r\n\r\n"); err != nil {
			return conns, err
		}
		if _, err := c.Read(buf); err != nil {
			return conns, err
		}
	}
	return conns, nil
}
