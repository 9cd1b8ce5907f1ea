// Package record is the one format of benchmark results: a JSON array that
// machines compare, and a Markdown table that people read. It measures nothing.
package record

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// Record is one figure of one subject in one case.
type Record struct {
	Case    string  `json:"case"`
	Figure  string  `json:"figure"`
	Unit    string  `json:"unit"`
	Subject string  `json:"subject"` // "fairway" or a peer
	Median  float64 `json:"median"`
	Min     float64 `json:"min"`
	Max     float64 `json:"max"`
	Runs    int     `json:"runs"`
	Over    bool    `json:"over,omitempty"` // not done when the measurement gave up: each value is more than this
}

// Set collects samples; the records come out in the order of first mention.
type Set struct {
	order   []Record
	samples map[Record][]float64
	over    map[Record]bool
}

// Add adds one run's value.
func (s *Set) Add(subject, of, figure, unit string, value float64) {
	key := Record{Case: of, Figure: figure, Unit: unit, Subject: subject}
	if s.samples == nil {
		s.samples = map[Record][]float64{}
	}
	if s.samples[key] == nil {
		s.order = append(s.order, key)
	}
	s.samples[key] = append(s.samples[key], value)
}

// AddOver adds one run that was given up when the value had reached limit.
func (s *Set) AddOver(subject, of, figure, unit string, limit float64) {
	s.Add(subject, of, figure, unit, limit)
	if s.over == nil {
		s.over = map[Record]bool{}
	}
	s.over[Record{Case: of, Figure: figure, Unit: unit, Subject: subject}] = true
}

// Records returns one record per subject, case and figure.
func (s *Set) Records() []Record {
	out := []Record{}
	for _, r := range s.order {
		v, over := slices.Sorted(slices.Values(s.samples[r])), s.over[r]
		r.Min, r.Max, r.Runs = v[0], v[len(v)-1], len(v)
		r.Median, r.Over = (v[(len(v)-1)/2]+v[len(v)/2])/2, over
		out = append(out, r)
	}
	return out
}

// WriteTable prints the records as a Markdown table.
func (s *Set) WriteTable(w io.Writer) {
	fmt.Fprintln(w, "| case | figure | subject | median | min | max | unit | runs |")
	fmt.Fprintln(w, "|---|---|---|---:|---:|---:|---|---:|")
	for _, r := range s.Records() {
		more := ""
		if r.Over {
			more = "> "
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s%s | %s | %s | %s | %d |\n",
			r.Case, r.Figure, r.Subject, more, Number(r.Median), Number(r.Min), Number(r.Max), r.Unit, r.Runs)
	}
}

// WriteCases prints a table for each case, with a row for each figure and a column
// for each subject. The least and the most of several runs are in brackets.
func (s *Set) WriteCases(w io.Writer) {
	cases, _ := columns(s.Records(), func(r Record) string { return r.Case })
	for _, of := range cases {
		var own []Record
		for _, r := range s.Records() {
			if r.Case == of {
				own = append(own, r)
			}
		}
		subjects, column := columns(own, func(r Record) string { return r.Subject })
		figures, line := columns(own, func(r Record) string { return r.Figure })
		cells := make([][]string, len(figures))
		for i := range cells {
			cells[i] = make([]string, len(subjects))
		}
		for _, r := range own {
			cells[line[r.Figure]][column[r.Subject]] = r.cell()
			if i := line[r.Figure]; r.Unit != "ratio" && figures[i] == r.Figure { // a ratio of two subjects has none
				figures[i] += ", " + r.Unit
			}
		}
		fmt.Fprintf(w, "%s:\n\n| | %s |\n|---|%s\n", of, strings.Join(subjects, " | "), strings.Repeat("---:|", len(subjects)))
		for i, f := range figures {
			fmt.Fprintf(w, "| %s | %s |\n", f, strings.Join(cells[i], " | "))
		}
		fmt.Fprintln(w)
	}
}

// columns returns the values that f has of records, in the order of first
// mention, and where each is.
func columns(records []Record, f func(Record) string) (order []string, at map[string]int) {
	at = map[string]int{}
	for _, r := range records {
		if _, known := at[f(r)]; !known {
			at[f(r)] = len(order)
			order = append(order, f(r))
		}
	}
	return order, at
}

func (r Record) cell() string {
	more := ""
	if r.Over {
		more = "> "
	}
	if r.Runs == 1 {
		return more + Number(r.Median)
	}
	return fmt.Sprintf("%s%s (%s–%s)", more, Number(r.Median), Number(r.Min), Number(r.Max))
}

// Number prints three digits or more, and no false precision.
func Number(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.3g", v)
	case v == float64(int64(v)) || v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// WriteJSON writes the records to dir/name.json.
func (s *Set) WriteJSON(dir, name string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(s.Records(), "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".json"), append(b, '\n'), 0o644)
}

// Splice puts text into a page, in place of what is between the comments
// "name" and "/name", which stand on lines of their own.
func Splice(page, name, text string) error {
	b, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->\n"
	before, rest, found := strings.Cut(string(b), begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		return fmt.Errorf("%s has no lines %q and %q", page, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return os.WriteFile(page, []byte(before+begin+strings.TrimRight(text, "\n")+"\n"+end+after), 0o644)
}

// Machine says in a few words what the measurement ran on.
func Machine() string {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	release, _, _ := strings.Cut(strings.TrimSpace(string(kernel)), "-")
	stat, _ := os.ReadFile("/proc/stat") // not what this program is bound to
	processors := len(regexp.MustCompile(`(?m)^cpu\d`).FindAll(stat, -1))
	return fmt.Sprintf("%d processors, Linux %s, %s", processors, release, runtime.Version())
}
