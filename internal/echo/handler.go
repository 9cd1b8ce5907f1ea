package echo

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Handler answers HTTP requests.
//
//	GET  /healthz               200 as long as the process runs
//	GET  /readyz                200, or 503 while not ready
//	POST /readyz?ready=false    switches readiness
//	     /sleep?d=2s            waits, then answers as /
//	     /status/503            answers as /, with this status;
//	       ?header=NAME:VALUE   and this header, as often as it is given
//	GET  /seen?path=/x          how many requests for /x there were, and the last one
//	     /stream?n=10&every=1s  one line every second, ten times
//	     /ws                    WebSocket: every message comes back
//	     (Content-Type application/grpc)  gRPC: every message comes back
//	     anything else          what the server saw of the request
type Handler struct {
	id    Identity
	ready atomic.Bool
	delay time.Duration // of all answers
	mux   http.ServeMux
	seen  journal
}

// NewHandler returns a handler that answers as id and is ready.
func NewHandler(id Identity) *Handler {
	h := &Handler{id: id, seen: journal{paths: map[string]*entry{}}}
	h.ready.Store(true)
	h.mux.HandleFunc("/", h.echo)
	h.mux.HandleFunc("/healthz", h.healthz)
	h.mux.HandleFunc("/readyz", h.readyz)
	h.mux.HandleFunc("/seen", h.seen.serve)
	h.mux.HandleFunc("/sleep", h.sleep)
	h.mux.HandleFunc("/status/{code}", h.status)
	h.mux.HandleFunc("/stream", h.stream)
	h.mux.HandleFunc("/ws", h.websocket)
	return h
}

// SetReady switches what /readyz answers.
func (h *Handler) SetReady(ready bool) { h.ready.Store(ready) }

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(PodHeader, h.id.Pod)
	if h.delay > 0 && !pause(r, h.delay) {
		return
	}
	switch {
	case strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc"):
		h.grpc(w, r)
	case isSpecial(r.URL.Path):
		h.mux.ServeHTTP(w, r)
	default:
		// Not through the mux: it would redirect "//a/../b", and a witness
		// reports the path as it came.
		h.echo(w, r)
	}
}

func isSpecial(path string) bool {
	switch path {
	case "/healthz", "/readyz", "/seen", "/sleep", "/stream", "/ws":
		return true
	}
	return strings.HasPrefix(path, "/status/")
}

func (h *Handler) echo(w http.ResponseWriter, r *http.Request) {
	h.answer(r).write(w, r, http.StatusOK)
}

func (h *Handler) answer(r *http.Request) Answer {
	a := answerTo(h.id, r)
	h.seen.note(a)
	return a
}

func (h *Handler) healthz(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "ok")
}

func (h *Handler) readyz(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		ready, err := strconv.ParseBool(r.URL.Query().Get("ready"))
		if err != nil {
			http.Error(w, "say ?ready=true or ?ready=false", http.StatusBadRequest)
			return
		}
		h.ready.Store(ready)
		fmt.Fprintf(w, "ready: %t\n", ready)
		return
	}
	if !h.ready.Load() {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (h *Handler) sleep(w http.ResponseWriter, r *http.Request) {
	d, err := durationOf(r, "d", time.Second)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if pause(r, d) {
		h.echo(w, r)
	}
}

func (h *Handler) status(w http.ResponseWriter, r *http.Request) {
	code, err := strconv.Atoi(r.PathValue("code"))
	if err != nil || code < 200 || code > 599 {
		http.Error(w, "say /status/CODE with a code from 200 to 599", http.StatusBadRequest)
		return
	}
	for _, header := range r.URL.Query()["header"] {
		name, value, ok := strings.Cut(header, ":")
		if !ok {
			http.Error(w, "say ?header=NAME:VALUE", http.StatusBadRequest)
			return
		}
		w.Header().Add(name, strings.TrimSpace(value))
	}
	h.answer(r).write(w, r, code)
}

func (h *Handler) stream(w http.ResponseWriter, r *http.Request) {
	every, err := durationOf(r, "every", time.Second)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	n, err := strconv.Atoi(cmp.Or(r.URL.Query().Get("n"), "10"))
	if err != nil || n < 0 {
		http.Error(w, "say ?n=COUNT", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	flush := http.NewResponseController(w)
	for i := 1; i <= n; i++ {
		if _, err := fmt.Fprintf(w, "%d %s\n", i, h.id.Pod); err != nil {
			return
		}
		if err := flush.Flush(); err != nil {
			return
		}
		if i < n && !pause(r, every) {
			return
		}
	}
}

// pause waits for d and reports whether the client is still there.
func pause(r *http.Request, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

func durationOf(r *http.Request, key string, def time.Duration) (time.Duration, error) {
	s := r.URL.Query().Get(key)
	if s == "" {
		return def, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("say ?%s=DURATION, such as 500ms or 2s", key)
	}
	return d, nil
}
