package main

import (
	"context"
	"fmt"
	"slices"
)

const (
	latencyCase  = "HTTP/1.1, 64 connections, 70 % of the slower C peer's rate"
	latencyConns = 64
)

// latencies asks every proxy at one rate, which the slower of the C peers can do with
// ease: in turn, several times, each time for a second, and the median of those counts.
// Whatever else wants a processor for a moment is most of the p99 of the second in which
// it does. A proxy that is behind its clients by seconds is asked once.
func (b *bench) latencies(ctx context.Context, rate float64) {
	all := map[*server][]latency{}
	for range latencyTurns {
		for _, s := range b.asked(timed) {
			before := all[s]
			if len(before) == 1 && before[0].most > 1000 {
				continue
			}
			l, err := b.latency(ctx, s, rate)
			if err != nil {
				b.fail(s, latencyCase, err)
				continue
			}
			all[s] = append(before, l)
		}
	}
	for _, s := range b.asked(timed) {
		of := func(figure func(latency) float64) float64 {
			var list []float64
			for _, l := range all[s] {
				list = append(list, figure(l))
			}
			slices.Sort(list)
			return list[len(list)/2]
		}
		if len(all[s]) == 0 {
			continue
		}
		b.add(s, latencyCase, "p99 latency", "ms", of(func(l latency) float64 { return l.most }))
		b.add(s, latencyCase, "median latency", "ms", of(func(l latency) float64 { return l.half }))
		b.add(s, latencyCase, "p90 latency", "ms", of(func(l latency) float64 { return l.p90 }))
		b.add(s, latencyCase, "p99.9 latency", "ms", of(func(l latency) float64 { return l.p999 }))
		b.add(s, latencyCase, "answers", "requests/s", of(func(l latency) float64 { return l.rate }))
		b.add(s, latencyCase, "p99 of the client's own lateness", "ms", of(func(l latency) float64 { return l.late }))
	}
	b.compare(latencyCase)
}

const latencyTurns = 7

// latency is what one second of asking gives; times are in milliseconds.
type latency struct{ half, most, rate, late, p90, p999 float64 }

func (b *bench) latency(ctx context.Context, s *server, rate float64) (l latency, err error) {
	text, err := b.client(ctx, s, b.self, "-latency", s.at[timed], "-upstream", b.asker, "-rate", fmt.Sprint(rate), "-time", "1s")
	if err != nil {
		return l, err
	}
	if _, err := fmt.Sscan(string(text), &l.half, &l.most, &l.rate, &l.late, &l.p90, &l.p999); err != nil {
		return l, fmt.Errorf("read latencies: %w\n%s", err, text)
	}
	return l, nil
}
