// Package record is the one format of benchmark results: a JSON array that
// machines compare, and a Markdown table that people read. It measures nothing.
package record

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
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
}

// Set collects samples; the records come out in the order of first mention.
type Set struct {
	order   []Record
	samples map[Record][]float64
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

// Records returns one record per subject, case and figure.
func (s *Set) Records() []Record {
	out := []Record{}
	for _, r := range s.order {
		v := slices.Sorted(slices.Values(s.samples[r]))
		r.Min, r.Max, r.Runs = v[0], v[len(v)-1], len(v)
		r.Median = (v[(len(v)-1)/2] + v[len(v)/2]) / 2
		out = append(out, r)
	}
	return out
}

// WriteTable prints the records as a Markdown table.
func (s *Set) WriteTable(w io.Writer) {
	fmt.Fprintln(w, "| case | figure | subject | median | min | max | unit | runs |")
	fmt.Fprintln(w, "|---|---|---|---:|---:|---:|---|---:|")
	for _, r := range s.Records() {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s | %d |\n",
			r.Case, r.Figure, r.Subject, number(r.Median), number(r.Min), number(r.Max), r.Unit, r.Runs)
	}
}

// number prints three digits or more, and no false precision.
func number(v float64) string {
	switch {
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
