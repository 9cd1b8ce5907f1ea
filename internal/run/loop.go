// Package run turns changes of the state into calls of a step, and is the only
// clock of the control path: everything below it takes a snapshot and returns.
package run

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// Options of a Loop. The zero value acts on each change at once.
type Options struct {
	// Synced are the kinds whose sources must have delivered their first
	// complete list before the first step; changes gather until then.
	Synced []model.Kind
	// Interval is the least time between two steps. The first change after a
	// quiet time is acted on at once; those that follow within Interval wait
	// and are taken together. 0: no limit.
	Interval time.Duration
	// Resync makes a step happen without a change after this long, to repair
	// what others changed behind our back. 0: never.
	Resync time.Duration
	// Backoff is the longest wait after a failed step; the first is 20 ms,
	// doubled each time. 0: 10 s.
	Backoff time.Duration
}

// Again is what a step returns to be run again after a while though nothing
// changed. It is no failure: the step's changes are done.
type Again struct{ After time.Duration }

func (a Again) Error() string { return "again after " + a.After.String() }

// Step acts on a snapshot and on what changed since the last successful step.
// After an error the same changes come again, with those that came later.
type Step func(ctx context.Context, snap *state.Snapshot, changes state.Changes) error

const firstBackoff = 20 * time.Millisecond

// Loop runs step for every change that w delivers until ctx ends, and returns ctx's error.
func Loop(ctx context.Context, log *slog.Logger, name string, w *state.Watch, o Options, step Step) error {
	if o.Backoff == 0 {
		o.Backoff = 10 * time.Second
	}
	backoff, patience := firstBackoff, o.Resync
	for {
		if err := wait(ctx, w, patience); err != nil {
			return err
		}
		if !w.Synced(o.Synced...) {
			continue // the flag's change wakes us again
		}
		snap, changes := w.Take()
		start := time.Now()
		pause := o.Interval
		patience = o.Resync
		err := step(ctx, snap, changes)
		if again := (Again{}); errors.As(err, &again) {
			patience, err = again.After, nil
		}
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			log.Warn("step failed, will retry", "loop", name, "err", err, "retry_in", backoff)
			w.Requeue(changes)
			pause, backoff = backoff, min(2*backoff, o.Backoff)
		} else {
			backoff = firstBackoff
			log.Debug("step done", "loop", name, "revision", snap.Revision, "changes", len(changes.Keys), "took", time.Since(start))
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// wait returns when w has something, or after resync.
func wait(ctx context.Context, w *state.Watch, resync time.Duration) error {
	var timeout <-chan time.Time
	if resync > 0 {
		t := time.NewTimer(resync)
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-w.C():
	case <-timeout:
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
