package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// jobs are the goroutines of a role. The first that fails ends all.
type jobs struct {
	ctx  context.Context
	stop context.CancelFunc

	wg    sync.WaitGroup
	mu    sync.Mutex
	first error
}

func newJobs(ctx context.Context, stop context.CancelFunc) *jobs { return &jobs{ctx: ctx, stop: stop} }

// start runs f until the context ends; an error that is not the context's ends all jobs.
func (j *jobs) start(name string, f func(context.Context) error) {
	j.wg.Go(func() {
		if err := f(j.ctx); err != nil && !errors.Is(err, context.Canceled) {
			j.fail(fmt.Errorf("%s: %w", name, err))
		}
	})
}

// every runs f now and then; an error is logged and f comes again.
func (j *jobs) every(name string, interval time.Duration, log *slog.Logger, f func(context.Context) error) {
	j.start(name, func(ctx context.Context) error {
		t := time.NewTicker(interval)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-t.C:
			}
			if err := f(ctx); err != nil && ctx.Err() == nil {
				log.Warn("periodic work failed", "job", name, "err", err)
			}
		}
	})
}

func (j *jobs) fail(err error) {
	j.mu.Lock()
	if j.first == nil {
		j.first = err
	}
	j.mu.Unlock()
	j.stop()
}

// wait returns when all jobs have ended, with the first error. With an error
// of its own it ends them; the end of the context is no error.
func (j *jobs) wait(err error) error {
	if err != nil && !errors.Is(err, context.Canceled) {
		j.fail(err)
	}
	j.wg.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.first
}
