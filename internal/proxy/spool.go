package proxy

import (
	"errors"
	"io"
	"sync"
	"time"
)

// spool holds what has passed of a body until a mirror takes it. All of a body waits for
// it no longer than spoolWait; then the copy breaks off.
type spool struct {
	wait   time.Duration // that is left; of who writes
	mu     sync.Mutex
	more   *sync.Cond
	held   []byte
	err    error // what follows on held
	closed bool  // nobody reads
}

// Why a copy is not complete.
var (
	errBehind = errors.New("the mirror is too slow")
	errCutOff = errors.New("the request broke off")
)

const (
	spoolWait = time.Second
	spoolTick = 2 * time.Millisecond
)

func newSpool() *spool {
	s := &spool{wait: spoolWait}
	s.more = sync.NewCond(&s.mu)
	return s
}

// add takes a part of the body.
func (s *spool) add(part []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil && !s.closed && len(s.held)+len(part) > maxCopy && s.wait > 0 {
		s.mu.Unlock()
		time.Sleep(spoolTick)
		s.wait -= spoolTick
		s.mu.Lock()
	}
	if s.err != nil || s.closed {
		return
	}
	if len(s.held)+len(part) > maxCopy {
		s.held, s.err = nil, errBehind
	} else {
		s.held = append(s.held, part...)
	}
	s.more.Signal()
}

// end says how the body ends; only the first call counts.
func (s *spool) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.more.Signal()
}

// Read implements io.Reader.
func (s *spool) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.held) == 0 && s.err == nil && !s.closed {
		s.more.Wait()
	}
	if len(s.held) > 0 {
		n := copy(b, s.held)
		s.held = s.held[:copy(s.held, s.held[n:])]
		return n, nil
	}
	if s.closed {
		return 0, io.ErrClosedPipe
	}
	return 0, s.err
}

// Close implements io.Closer: the mirror wants no more.
func (s *spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.held = true, nil
	s.more.Signal()
	return nil
}

// tee is a client whose body is copied while it passes.
type tee struct {
	downstream
	copy *spool
}

func (t *tee) all() ([]byte, bool) { return nil, false }

func (t *tee) part(scratch []byte) ([]byte, error) {
	part, err := t.downstream.part(scratch)
	t.copy.add(part)
	if err != nil && !errors.Is(err, errTakenBack) {
		t.copy.end(err)
	}
	return part, err
}
