package echo

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// maxPaths is how many paths a journal remembers.
const maxPaths = 1000

// journal remembers requests by their path: how many there were, and the last one.
// Whoever sends a request that gets no answer, as a mirror does, can ask for it.
type journal struct {
	mu    sync.Mutex
	paths map[string]*entry
}

type entry struct {
	n    int
	last Answer
}

func (j *journal) note(a Answer) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := j.paths[a.Path]
	if e == nil {
		if len(j.paths) >= maxPaths {
			clear(j.paths)
		}
		e = &entry{}
		j.paths[strings.Clone(a.Path)] = e
	}
	e.n++
	e.last = a
}

// serve answers with the count of requests for ?path= and with the last of them.
func (j *journal) serve(w http.ResponseWriter, r *http.Request) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := j.paths[r.URL.Query().Get("path")]
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if e == nil {
		fmt.Fprintln(w, "seen: 0")
		return
	}
	fmt.Fprintf(w, "seen: %d\n", e.n)
	e.last.writeText(w)
}
