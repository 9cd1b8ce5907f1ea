package dns

import (
	"math/bits"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/fairway-net/fairway/internal/metric"
)

// durations counts times in buckets whose bounds double, from 15.625 µs to
// 8.192 s: those of CoreDNS, which begin at 250 µs, are among them.
type durations struct {
	buckets [bounds + 1]atomic.Uint64 // the last: beyond all bounds
	nanos   atomic.Uint64
}

const (
	bounds     = 20
	firstBound = 15625 * time.Nanosecond
	coreDNS    = 4 // index of 250 µs
)

func (h *durations) observe(d time.Duration, n uint64) {
	i := 0
	if d > firstBound {
		i = min(bounds, bits.Len64(uint64((d-1)/firstBound)))
	}
	h.buckets[i].Add(n)
	h.nanos.Add(uint64(d) * n)
}

func (h *durations) add(o *durations) {
	for i := range h.buckets {
		h.buckets[i].Add(o.buckets[i].Load())
	}
	h.nanos.Add(o.nanos.Load())
}

// write writes the series of one histogram; the bounds from the from-th on.
func (h *durations) write(w metric.Writer, name string, from int, labels ...string) {
	sum := uint64(0)
	for i := range bounds {
		if sum += h.buckets[i].Load(); i >= from {
			writeBucket(w, name, (firstBound << i).Seconds(), sum, labels)
		}
	}
	sum += h.buckets[bounds].Load()
	writeEnd(w, name, sum, time.Duration(h.nanos.Load()).Seconds(), labels)
}

func writeBucket(w metric.Writer, name string, bound float64, count uint64, labels []string) {
	le := strconv.FormatFloat(bound, 'g', -1, 64)
	w.Value(name+"_bucket", float64(count), append(labels[:len(labels):len(labels)], "le", le)...)
}

func writeEnd(w metric.Writer, name string, count uint64, sum float64, labels []string) {
	w.Value(name+"_bucket", float64(count), append(labels[:len(labels):len(labels)], "le", "+Inf")...)
	w.Value(name+"_sum", sum, labels...)
	w.Value(name+"_count", float64(count), labels...)
}

// sizes counts messages by length in CoreDNS's buckets.
type sizes struct {
	buckets [len(sizeBounds) + 1]atomic.Uint64
	bytes   atomic.Uint64
}

var sizeBounds = [...]int{0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16000, 32000, 48000, 64000}

func (h *sizes) observe(n int) {
	i := 0
	for i < len(sizeBounds) && n > sizeBounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.bytes.Add(uint64(n))
}

func (h *sizes) add(o *sizes) {
	for i := range h.buckets {
		h.buckets[i].Add(o.buckets[i].Load())
	}
	h.bytes.Add(o.bytes.Load())
}

func (h *sizes) write(w metric.Writer, name string, labels ...string) {
	sum := uint64(0)
	for i, b := range sizeBounds {
		sum += h.buckets[i].Load()
		writeBucket(w, name, float64(b), sum, labels)
	}
	sum += h.buckets[len(sizeBounds)].Load()
	writeEnd(w, name, sum, float64(h.bytes.Load()), labels)
}
