package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-net/fairway/bench/peer"
)

// figures are what one measurement gives.
type figures struct {
	cpu  float64 // µs per query
	rate float64 // queries per second
	p99  float64 // µs; only at a fixed rate
	lost float64 // percent
}

var (
	completed = regexp.MustCompile(`Queries completed:\s+(\d+)`)
	lost      = regexp.MustCompile(`Queries lost:\s+\d+ \(([\d.]+)%\)`)
	perSecond = regexp.MustCompile(`Queries per second:\s+([\d.]+)`)
)

// measure lets dnsperf ask s from the second processor. A short run before it
// fills caches.
func measure(t tools, s *server, queries string, rate int, length time.Duration) (figures, error) {
	if _, err := ask(t, s, queries, rate, 300*time.Millisecond); err != nil {
		return figures{}, err
	}
	before, err := peer.CPUTime(s.cmd.Process.Pid)
	if err != nil {
		return figures{}, err
	}
	text, err := ask(t, s, queries, rate, length)
	if err != nil {
		return figures{}, err
	}
	after, err := peer.CPUTime(s.cmd.Process.Pid)
	if err != nil {
		return figures{}, err
	}
	n := number(completed, text)
	if n == 0 {
		return figures{}, fmt.Errorf("no query was answered\n%s", text)
	}
	f := figures{cpu: float64((after - before).Microseconds()) / n, rate: number(perSecond, text), lost: number(lost, text)}
	if rate > 0 {
		f.p99 = percentile(text, 99)
	}
	return f, nil
}

// ask runs dnsperf. At a fixed rate it prints every query with its latency.
func ask(t tools, s *server, queries string, rate int, length time.Duration) ([]byte, error) {
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		return nil, err
	}
	args := []string{"-c", "1", t.dnsperf, "-s", host, "-p", port, "-d", queries, "-l", fmt.Sprint(length.Seconds()), "-c", "8", "-q", "100"}
	if rate > 0 {
		args = append(args, "-Q", fmt.Sprint(rate), "-v")
	}
	ctx, cancel := context.WithTimeout(s.life, length+30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "taskset", args...)
	cmd.Env = t.env
	// To a file, not to a pipe: reading every line would take its time from dnsperf.
	out, err := os.CreateTemp("", "dnsperf")
	if err != nil {
		return nil, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	text, readErr := os.ReadFile(out.Name())
	if s.life.Err() != nil {
		return nil, context.Cause(s.life)
	}
	if err != nil {
		return nil, fmt.Errorf("dnsperf: %w\n%s", err, tail(text))
	}
	return text, readErr
}

// tail is the end of a program's output.
func tail(text []byte) []byte { return text[max(0, len(text)-2000):] }

func number(re *regexp.Regexp, text []byte) float64 {
	m := re.FindSubmatch(text)
	if m == nil {
		return 0
	}
	v, _ := strconv.ParseFloat(string(m[1]), 64)
	return v
}

// percentile reads the lines "> NOERROR name A 0.000123".
func percentile(text []byte, p int) float64 {
	var all []float64
	sc := bufio.NewScanner(bytes.NewReader(text))
	for sc.Scan() {
		if line := sc.Text(); strings.HasPrefix(line, "> ") {
			if v, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64); err == nil {
				all = append(all, v*1e6)
			}
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[(len(all)-1)*p/100]
}
