package cluster

import (
	"fmt"
	"io"
	"os"
	"time"
)

// Phase is one finished step of `up` or `down`.
type Phase struct {
	Name   string `json:"name"`
	Millis int64  `json:"ms"`
}

// Progress shows phases to a person as they end, and remembers them.
type Progress struct {
	w      io.Writer
	tty    bool
	begin  time.Time
	last   time.Time
	Phases []Phase
}

// NewProgress writes to w; on a terminal the running phase is shown too.
func NewProgress(w io.Writer) *Progress {
	now := time.Now()
	p := &Progress{w: w, begin: now, last: now}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil {
			p.tty = info.Mode()&os.ModeCharDevice != 0
		}
	}
	return p
}

// run performs one phase. Its time is counted from the end of the phase before,
// so the times add up to the whole.
func (p *Progress) run(name string, f func() error) error {
	if p.tty {
		fmt.Fprintf(p.w, " …  %s", name)
	}
	err := f()
	now := time.Now()
	took := now.Sub(p.last)
	p.last = now
	mark := "ok"
	if err != nil {
		mark = "!!"
	} else {
		p.Phases = append(p.Phases, Phase{name, took.Milliseconds()})
	}
	if p.tty {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
	fmt.Fprintf(p.w, " %s %-28s %6.2f s\n", mark, name, took.Seconds())
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// Say prints a line between phases.
func (p *Progress) Say(format string, args ...any) {
	fmt.Fprintf(p.w, format+"\n", args...)
}

// Total is the time since the beginning.
func (p *Progress) Total() time.Duration { return time.Since(p.begin) }
