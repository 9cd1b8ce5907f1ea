package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	latencyCase  = "HTTP/1.1, 64 connections, 70 % of the slower C peer's rate"
	latencyConns = 64
)

// latencies asks every proxy at one rate, which the slower of the C peers can do
// with ease.
func (b *bench) latencies(ctx context.Context, rate float64) error {
	p99 := map[string]float64{}
	for _, s := range b.servers {
		if s.upstream || s.at[plain] == "" {
			continue
		}
		text, err := b.client(ctx, s, b.self, "-latency", s.at[plain], "-rate", fmt.Sprint(rate), "-time", b.length.String())
		if err != nil {
			return err
		}
		var half, most, done float64
		if _, err := fmt.Sscan(string(text), &half, &most, &done); err != nil {
			return fmt.Errorf("read latencies: %w\n%s", err, text)
		}
		p99[s.name] = most
		b.set.Add(s.name, latencyCase, "p99 latency", "ms", most)
		b.set.Add(s.name, latencyCase, "median latency", "ms", half)
		b.set.Add(s.name, latencyCase, "throughput", "requests/s", done)
	}
	b.set.Add("fairway / haproxy", latencyCase, "p99 latency", "×", p99["fairway"]/p99["haproxy"])
	return nil
}

// measureLatency asks at a rate, each connection in its turn, and prints median and p99
// in milliseconds and the rate that came about. The time of a request runs from when
// it was due, so that a proxy that is late pays for those that had to wait.
func measureLatency(addr string, rate float64, length time.Duration) error {
	var mu sync.Mutex
	var took []float64
	var failed error
	var wg sync.WaitGroup
	interval := time.Duration(latencyConns / rate * float64(time.Second))
	begun := time.Now().Add(100 * time.Millisecond)
	for i := range latencyConns {
		wg.Go(func() {
			mine, err := askAtRate(addr, begun.Add(interval*time.Duration(i)/latencyConns), interval, length)
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
			if err != nil {
				failed = err
			}
		})
	}
	wg.Wait()
	if failed != nil || len(took) == 0 {
		return fmt.Errorf("ask at a rate: %w", failed)
	}
	slices.Sort(took)
	fmt.Println(took[len(took)/2], took[len(took)*99/100], float64(len(took))/length.Seconds())
	return nil
}

func askAtRate(addr string, due time.Time, interval, length time.Duration) (took []float64, err error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	buf := make([]byte, 8<<10)
	for end := due.Add(length); due.Before(end); due = due.Add(interval) {
		time.Sleep(time.Until(due))
		if _, err := io.WriteString(c, "GET /small HTTP/1.1\r\nHost: h0.example\r\n\r\n"); err != nil {
			return took, err
		}
		n := 0
		for n == 0 || !strings.HasSuffix(string(buf[:n]), "kind\n") { // how the small answer ends
			m, err := c.Read(buf[n:])
			if err != nil {
				return took, err
			}
			n += m
		}
		took = append(took, float64(time.Since(due).Microseconds())/1000)
	}
	return took, nil
}
