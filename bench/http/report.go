package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/fairway-net/fairway/bench/record"
)

// peers are whom Fairway is compared with, in the order of the page's columns.
var peers = []string{"nginx", "haproxy", "caddy"}

// add takes down a figure of a proxy.
func (b *bench) add(s *server, of, figure, unit string, value float64) {
	b.set.Add(s.name, of, figure, unit, value)
	if b.now == nil {
		b.now = map[sample]float64{}
	}
	b.now[sample{s.name, of, figure}] = value
}

// sample is what is measured once per run.
type sample struct{ subject, of, figure string }

// compare adds the ratios of this run for a case; over several runs it is their median
// that counts, because what disturbs a run disturbs both of a ratio.
func (b *bench) compare(of string) {
	for at, mine := range b.now {
		if at.of != of || at.subject != "fairway" {
			continue
		}
		for _, peer := range peers {
			if theirs := b.now[sample{peer, of, at.figure}]; theirs > 0 && compared[at.figure] != "" {
				b.set.Add("fairway / "+peer, of, at.figure, "×", mine/theirs)
			}
		}
	}
	clear(b.now)
}

// compared are the figures that the page has, and what is better.
var compared = map[string]string{
	"CPU per request": "less", "CPU per connection": "less", "bytes per CPU second": "more", "p99 latency": "less",
	"median latency": "less", "memory per connection (RSS)": "less", "p99 to the first request": "less", "median to the first request": "less",
}

// fail takes down that a proxy gave no figure for a case. The others go on.
func (b *bench) fail(s *server, of string, err error) {
	first, _, _ := strings.Cut(err.Error(), "\n")
	b.failed = append(b.failed, fmt.Sprintf("%s, %s: %s", of, s.name, first))
	fmt.Printf("FAILED %s, %s: %v\n", of, s.name, err)
}

// page is what docs/performance.md says.
func (b *bench) page(length time.Duration) string {
	type row struct{ of, figure string }
	var rows []row
	by := map[sample]record.Record{}
	for _, r := range b.set.Records() {
		by[sample{r.Subject, r.Case, r.Figure}] = r
		if at := (row{r.Case, r.Figure}); r.Subject == "fairway" && compared[r.Figure] != "" {
			rows = append(rows, at)
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%s, %s, %s:\n\n", time.Now().UTC().Format(time.DateOnly), record.Machine(), length.Round(time.Second))
	out.WriteString("| case | figure | Fairway | better | / nginx | / HAProxy | / Caddy |\n|---|---|---:|---|---:|---:|---:|\n")
	for _, at := range rows {
		mine := by[sample{"fairway", at.of, at.figure}]
		fmt.Fprintf(&out, "| %s | %s | %s %s | %s |", at.of, at.figure, record.Number(mine.Median), mine.Unit, compared[at.figure])
		for _, peer := range peers {
			if r, ok := by[sample{"fairway / " + peer, at.of, at.figure}]; ok {
				fmt.Fprintf(&out, " %s |", record.Number(r.Median))
			} else {
				out.WriteString(" |")
			}
		}
		out.WriteString("\n")
	}
	if len(b.failed) > 0 {
		out.WriteString("\nWithout a figure:\n\n")
		for _, text := range b.failed {
			fmt.Fprintf(&out, "* %s\n", text)
		}
	}
	return out.String()
}
