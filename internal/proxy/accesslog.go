package proxy

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// AccessLog says what is written of each request. Records are written by a goroutine
// of their own from a ring: when the disk is slower than the requests, records are
// lost and counted, and no request waits.
type AccessLog struct {
	To     io.Writer
	Text   bool     // "name=value" instead of JSON
	Fields []string // nil: all of LogFields
	Sample float64  // the share of requests that is written, of those that went well; 0: all
}

// LogFields are the fields that a record can have, in their order.
func LogFields() []string {
	return []string{"time", "client", "method", "host", "path", "proto", "status", "bytes", "seconds", "request_id", "user_agent", "rule", "endpoint", "tries", "trace_id", "error"}
}

// Check returns an error for a field that does not exist.
func (a *AccessLog) Check() error {
	for _, f := range a.Fields {
		if !slices.Contains(LogFields(), f) {
			return fmt.Errorf("access log: no field %q; there are %s", f, strings.Join(LogFields(), ", "))
		}
	}
	if a.Sample < 0 || a.Sample > 1 {
		return fmt.Errorf("access log: sample %g is not between 0 and 1", a.Sample)
	}
	return nil
}

// ringMost is how many octets of records may wait.
const ringMost = 1 << 20

// ring holds records until they are written. It has two halves: one is filled while
// the other is written.
type ring struct {
	log    *AccessLog
	fields []string
	lost   atomic.Uint64

	mu     sync.Mutex
	filled []byte
	wake   chan struct{}
}

func newRing(log *AccessLog) *ring {
	fields := log.Fields
	if fields == nil {
		fields = LogFields()
	}
	return &ring{log: log, fields: fields, wake: make(chan struct{}, 1)}
}

// add puts the record of an exchange into the ring.
func (r *ring) add(x *exchange) {
	if s := r.log.Sample; s > 0 && x.err == nil && x.writer.status < 500 && rand.Float64() >= s {
		return
	}
	r.mu.Lock()
	if len(r.filled) > ringMost {
		r.mu.Unlock()
		r.lost.Add(1)
		return
	}
	first := len(r.filled) == 0
	r.filled = r.record(r.filled, x)
	r.mu.Unlock()
	if first {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// write writes until done is closed, and then what is left.
func (r *ring) write(done <-chan struct{}) {
	var spare []byte
	for ended := false; !ended; {
		select {
		case <-r.wake:
		case <-done:
			ended = true
		}
		r.mu.Lock()
		b := r.filled
		r.filled = spare[:0]
		r.mu.Unlock()
		if len(b) > 0 {
			_, _ = r.log.To.Write(b)
		}
		spare = b
	}
}

// record adds one line.
func (r *ring) record(b []byte, x *exchange) []byte {
	if x.plan != nil && x.plan.Options.Log != nil {
		return x.line(b, x.plan.Options.Log)
	}
	if !r.log.Text {
		b = append(b, '{')
	}
	first := true
	for _, name := range r.fields {
		value, number, ok := x.logged(name)
		if !ok {
			continue
		}
		if !first {
			b = append(b, map[bool]byte{true: ' ', false: ','}[r.log.Text])
		}
		first = false
		if r.log.Text {
			b = append(append(b, name...), '=')
		} else {
			b = append(append(append(b, '"'), name...), '"', ':')
		}
		if number {
			b = append(b, value...)
		} else {
			b = appendQuoted(b, value)
		}
	}
	if !r.log.Text {
		b = append(b, '}')
	}
	return append(b, '\n')
}

// logged is the value of a field; false if the exchange has none.
func (x *exchange) logged(name string) (value string, number, ok bool) {
	switch name {
	case "time":
		return x.start.UTC().Format("2006-01-02T15:04:05.000Z"), false, true
	case "client":
		return x.client, false, true
	case "method":
		return x.method, false, true
	case "host":
		return x.host, false, true
	case "path":
		return x.askedURI(), false, true
	case "proto":
		return x.proto, false, true
	case "status":
		return strconv.Itoa(x.writer.status), true, true
	case "bytes":
		return strconv.FormatInt(x.writer.bytes, 10), true, true
	case "seconds":
		return strconv.FormatFloat(time.Since(x.start).Seconds(), 'f', 6, 64), true, true
	case "request_id":
		return x.id, false, true
	case "user_agent":
		return x.fields.Get("User-Agent"), false, true
	case "rule":
		if x.rule != nil {
			return x.rule.Source.String(), false, true
		}
	case "endpoint":
		if x.endpoint != nil {
			return x.endpoint.key.addr.String(), false, true
		}
	case "tries":
		return strconv.Itoa(x.tries), true, x.endpoint != nil
	case "trace_id":
		if x.span != nil {
			return x.span.trace(), false, true
		}
	case "error":
		if x.err != nil {
			return x.err.Error(), false, true
		}
	}
	return "", false, false
}

// appendQuoted adds a JSON string. What clients send may be no UTF-8.
func appendQuoted(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		case c == '\t':
			b = append(b, `\t`...)
		case c < ' ' || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = utf8.AppendRune(b, c)
		}
	}
	return append(b, '"')
}
