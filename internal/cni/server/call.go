package server

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Calls is what happened to the calls of one command since the start.
type Calls struct {
	Command string
	Count   int
	Failed  int
	Total   time.Duration // of all together
}

// calls counts by command.
type calls struct {
	mu        sync.Mutex
	byCommand map[string]Calls
}

func (c *calls) note(command string, took time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byCommand == nil {
		c.byCommand = map[string]Calls{}
	}
	n := c.byCommand[command]
	n.Command, n.Count, n.Total = command, n.Count+1, n.Total+took
	if err != nil {
		n.Failed++
	}
	c.byCommand[command] = n
}

// Calls lists the counts, by command.
func (s *Server) Calls() []Calls {
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	var out []Calls
	for _, n := range s.calls.byCommand {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b Calls) int { return cmp.Compare(a.Command, b.Command) })
	return out
}
