package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// A loop is an upstream that asks us, by way of whoever it forwards to. Nobody
// can see that from a configuration, so each upstream is asked for a name that
// nobody else knows: if that question arrives here, it came around.
const (
	probeMark    = "\x0cfairway-loop"
	probeWhenOK  = 5 * time.Minute
	probeInLoop  = 5 * time.Second
	probeTagSize = 16 // hexadecimal digits
)

// ErrLoop is the end of a probe that came back.
var ErrLoop = errors.New("the question came back: an upstream server asks this one")

// ProbeLoops asks each upstream once and returns when to do so again. An
// upstream in a loop is not asked anything else until a probe is answered
// without coming back.
func (f *Forwarder) ProbeLoops(ctx context.Context) (again time.Duration) {
	again = probeWhenOK
	var done []*upstream
	for _, r := range f.routes {
		for _, u := range r.servers {
			if slices.Contains(done, u) {
				continue
			}
			done = append(done, u)
			f.probe(ctx, u, r.domain)
			if u.looping.Load() {
				again = probeInLoop
			}
		}
	}
	return again
}

// Looping are the upstreams that were found to ask this server.
func (f *Forwarder) Looping() (out []Server) {
	for _, u := range f.all {
		if u.looping.Load() {
			out = append(out, u.Server)
		}
	}
	return out
}

func (f *Forwarder) probe(ctx context.Context, u *upstream, domain []byte) {
	tag := fmt.Sprintf("%0*x", probeTagSize, rand.Uint64())
	name := append([]byte{probeTagSize}, tag+probeMark...)
	if name = append(name, domain...); len(name) > 255 {
		return
	}
	f.mu.Lock()
	f.tags[tag] = false
	f.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, f.o.Timeout)
	_, err := u.exchange(ctx, question{name: name, rrtype: 1})
	cancel()
	f.mu.Lock()
	back := f.tags[tag]
	delete(f.tags, tag)
	f.mu.Unlock()
	was := u.looping.Load()
	switch {
	case back && !was:
		u.looping.Store(true)
		f.o.Log.Warn("upstream left out: it asks this server, directly or by way of others", "upstream", u.Server)
	case !back && was && err == nil:
		u.looping.Store(false)
		f.o.Log.Info("upstream is asked again: the loop is gone", "upstream", u.Server)
	}
}

// came notes a probe of ours that came back; false for any other name.
func (f *Forwarder) came(name []byte) bool {
	if len(name) < 1+probeTagSize+len(probeMark) || name[0] != probeTagSize || !bytes.HasPrefix(name[1+probeTagSize:], []byte(probeMark)) {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	tag := string(name[1 : 1+probeTagSize])
	if _, ours := f.tags[tag]; !ours {
		return false
	}
	f.tags[tag] = true
	return true
}
