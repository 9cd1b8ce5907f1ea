package testkit

import (
	"strings"
	"sync"
)

// Text is what several goroutines have written so far, such as a log.
type Text struct {
	mu sync.Mutex
	b  strings.Builder
}

// Write implements io.Writer.
func (t *Text) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(b)
}

func (t *Text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// Lines are those that contain all of parts.
func (t *Text) Lines(parts ...string) (found []string) {
	for line := range strings.Lines(t.String()) {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			found = append(found, line)
		}
	}
	return found
}
