// Package metric writes figures in the text format of Prometheus. It is no
// registry: who has figures writes them when asked.
package metric

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Kind is a type of figure.
type Kind string

// The kinds.
const (
	Counter   Kind = "counter"
	Gauge     Kind = "gauge"
	Summary   Kind = "summary"
	Histogram Kind = "histogram"
)

// Writer writes figures. Errors are those of the client that asked, and lost.
type Writer struct{ io.Writer }

// Family begins the figures of one name.
func (w Writer) Family(name string, kind Kind, help string) {
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// Value writes one figure; labels are names and values in turn.
func (w Writer) Value(name string, value float64, labels ...string) {
	var b strings.Builder
	b.WriteString(name)
	for i := 0; i+1 < len(labels); i += 2 {
		sep := ","
		if i == 0 {
			sep = "{"
		}
		b.WriteString(sep)
		b.WriteString(labels[i])
		b.WriteString(`="`)
		_, _ = escape.WriteString(&b, labels[i+1])
		b.WriteByte('"')
	}
	if len(labels) > 0 {
		b.WriteByte('}')
	}
	fmt.Fprintf(w, "%s %s\n", b.String(), number(value))
}

// escape writes what a label's value cannot have as it is.
var escape = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// One writes a family that has one figure.
func (w Writer) One(name string, kind Kind, help string, value float64) {
	w.Family(name, kind, help)
	w.Value(name, value)
}

// Durations is a histogram of durations. Its methods may be called by several
// goroutines.
type Durations struct {
	bounds  []time.Duration
	buckets []atomic.Uint64 // one more than bounds
	sum     atomic.Int64
}

// NewDurations returns a histogram with buckets up to each of bounds, ascending.
func NewDurations(bounds ...time.Duration) *Durations {
	return &Durations{bounds: bounds, buckets: make([]atomic.Uint64, len(bounds)+1)}
}

// Init makes d such a histogram over memory of its owner, one bucket more than bounds,
// which many may share.
func (d *Durations) Init(bounds []time.Duration, buckets []atomic.Uint64) {
	d.bounds, d.buckets = bounds, buckets
}

// Observe counts one duration.
func (d *Durations) Observe(took time.Duration) {
	i := 0
	for i < len(d.bounds) && took > d.bounds[i] {
		i++
	}
	d.buckets[i].Add(1)
	d.sum.Add(int64(took))
}

// Count returns how many were observed.
func (d *Durations) Count() (n uint64) {
	for i := range d.buckets {
		n += d.buckets[i].Load()
	}
	return n
}

// Write writes the histogram's figures, in seconds, after w.Family.
func (d *Durations) Write(w Writer, name string, labels ...string) {
	var sum uint64
	labels = labels[:len(labels):len(labels)]
	for i := range d.buckets {
		sum += d.buckets[i].Load()
		le := "+Inf"
		if i < len(d.bounds) {
			le = number(d.bounds[i].Seconds())
		}
		w.Value(name+"_bucket", float64(sum), append(labels, "le", le)...)
	}
	w.Value(name+"_sum", time.Duration(d.sum.Load()).Seconds(), labels...)
	w.Value(name+"_count", float64(sum), labels...)
}
