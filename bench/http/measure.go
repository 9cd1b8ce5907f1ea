package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"github.com/fairway-net/fairway/bench/peer"
	"github.com/fairway-net/fairway/bench/record"
)

// figures are what one measurement gives.
type figures struct {
	cpu    float64 // µs per request
	rate   float64 // requests per second
	p99    float64 // ms, at full load
	failed float64
}

var (
	completed = regexp.MustCompile(`(\d+) requests in`)
	perSecond = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	p99       = regexp.MustCompile(`99%\s+([\d.]+)(us|ms|s)`)
	failures  = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
	broken    = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
)

// measure lets wrk ask s from the second processor. A short run before it opens
// connections and fills caches.
func measure(ctx context.Context, t tools, s *server, path string, conns int, length time.Duration) (figures, error) {
	if _, err := ask(ctx, t, s, path, conns, time.Second); err != nil {
		return figures{}, err
	}
	before, err := peer.CPUTime(s.cmd.Process.Pid)
	if err != nil {
		return figures{}, err
	}
	text, err := ask(ctx, t, s, path, conns, length)
	if err != nil {
		return figures{}, err
	}
	after, err := peer.CPUTime(s.cmd.Process.Pid)
	if err != nil {
		return figures{}, err
	}
	n := number(completed, text)
	if n == 0 {
		return figures{}, fmt.Errorf("no request was answered\n%s", text)
	}
	f := figures{cpu: float64((after - before).Microseconds()) / n, rate: number(perSecond, text), failed: number(failures, text)}
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

func ask(ctx context.Context, t tools, s *server, path string, conns int, length time.Duration) ([]byte, error) {
	args := []string{"-c", "1", t.wrk, "-t1", fmt.Sprint("-c", conns), fmt.Sprintf("-d%ds", max(1, int(length.Seconds()))), "--latency"}
	if s.many {
		args = append(args, "-s", "hosts.lua")
	} else {
		args = append(args, "-H", "Host: h0.example")
	}
	ctx, cancel := context.WithTimeout(ctx, length+30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "taskset", append(args, "http://"+s.addr+path)...)
	cmd.Env, cmd.Dir = t.env, s.cmd.Dir
	text, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("wrk: %w\n%s", err, text)
	}
	return text, nil
}

func number(re *regexp.Regexp, text []byte) float64 {
	m := re.FindSubmatch(text)
	if m == nil {
		return 0
	}
	v, _ := strconv.ParseFloat(string(m[1]), 64)
	return v
}

// weighAll says how much memory a connection takes that has had one request and
// waits for the next.
func weighAll(ctx context.Context, servers []*server, n int, set *record.Set) error {
	for _, s := range servers {
		if s.upstream || s.many || n == 0 {
			continue
		}
		before, err := peer.Memory(s.cmd.Process.Pid)
		if err != nil {
			return err
		}
		conns, err := occupy(ctx, s.addr, n)
		if err == nil {
			time.Sleep(5 * time.Second) // for what is given back late
			after, err2 := peer.Memory(s.cmd.Process.Pid)
			if err = err2; err == nil {
				set.Add(s.name, fmt.Sprintf("%d idle connections", n), "memory per connection (RSS)", "KiB", (after-before)/float64(n))
			}
		}
		for _, c := range conns {
			c.Close()
		}
		if err != nil {
			return fmt.Errorf("idle connections, %s: %w", s.name, err)
		}
	}
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
