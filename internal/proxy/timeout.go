package proxy

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// watchdog ends an attempt that makes no progress. Timeouts are nginx's: they
// bound the wait between two successful reads or writes, never the whole.
type watchdog struct {
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	timer *time.Timer
	cause error
}

func newWatchdog(cancel context.CancelCauseFunc) *watchdog { return &watchdog{cancel: cancel} }

// start gives the attempt d from now; 0 is for ever.
func (w *watchdog) start(d time.Duration, cause error) {
	if d <= 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cause = cause
	if w.timer == nil {
		w.timer = time.AfterFunc(d, w.bark)
		return
	}
	w.timer.Reset(d)
}

func (w *watchdog) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
}

func (w *watchdog) bark() {
	w.mu.Lock()
	cause := w.cause
	w.mu.Unlock()
	w.cancel(cause)
}

var errTakenBack = errors.New("body was given to another attempt")

// sendBody is the request's body on its way to an endpoint. While the client is
// slow the endpoint is not to blame, so the watchdog rests.
type sendBody struct {
	body    *replayBody
	attempt int
	watch   *watchdog
	idle    time.Duration
}

func (s *sendBody) Read(p []byte) (int, error) {
	s.body.mu.Lock()
	if s.body.attempt != s.attempt {
		s.body.mu.Unlock()
		return 0, errTakenBack
	}
	s.body.begun = true
	s.body.mu.Unlock()
	s.watch.stop()
	n, err := s.body.source.Read(p)
	s.watch.start(s.idle, errSendTimeout)
	if err != nil {
		s.watch.start(s.idle, errReadTimeout) // all is sent: the endpoint's turn
	}
	return n, err
}

// Close leaves the client's body open: the server that it came from closes it.
func (s *sendBody) Close() error { return nil }

// receiveBody is the response's body on its way from an endpoint.
type receiveBody struct {
	io.ReadCloser
	watch  *watchdog
	idle   time.Duration
	cancel context.CancelCauseFunc
}

func (r *receiveBody) Read(p []byte) (int, error) {
	r.watch.start(r.idle, errReadTimeout)
	n, err := r.ReadCloser.Read(p)
	r.watch.stop()
	return n, err
}

func (r *receiveBody) Close() error {
	r.watch.stop()
	err := r.ReadCloser.Close()
	r.cancel(nil)
	return err
}
