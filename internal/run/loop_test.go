package run

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

func node(name string) func(*state.Tx) {
	return func(tx *state.Tx) { tx.Set(&model.Node{Name: name}) }
}

func TestLoopRetriesTheSameChangesAndThoseThatCameLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		store := state.New()
		fails := 2
		var seen []int
		go Loop(ctx, slog.New(slog.DiscardHandler), "test", store.Watch(), Options{}, func(_ context.Context, snap *state.Snapshot, c state.Changes) error {
			if c.All && len(c.Keys) == 0 && snap.Nodes.Len() == 0 {
				return nil // the first delivery
			}
			seen = append(seen, len(c.Keys))
			if fails > 0 {
				fails--
				return errors.New("no")
			}
			return nil
		})
		synctest.Wait()
		store.Update(node("a"))
		synctest.Wait()
		store.Update(node("b"))
		time.Sleep(time.Second)
		synctest.Wait()
		cancel()
		synctest.Wait()
		if len(seen) != 3 || seen[0] != 1 || seen[1] != 2 || seen[2] != 2 {
			t.Errorf("changes per step: got %v, want [1 2 2]", seen)
		}
	})
}

func TestLoopActsAtOnceThenGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		store := state.New()
		start := time.Now()
		var at []time.Duration
		go Loop(ctx, slog.New(slog.DiscardHandler), "test", store.Watch(), Options{Interval: 100 * time.Millisecond}, func(_ context.Context, snap *state.Snapshot, c state.Changes) error {
			at = append(at, time.Since(start))
			return nil
		})
		time.Sleep(time.Second)
		for i := range 50 {
			store.Update(node(string(rune('a' + i))))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		cancel()
		synctest.Wait()
		want := []time.Duration{0, time.Second, 1100 * time.Millisecond}
		if len(at) != 3 || at[0] != want[0] || at[1] != want[1] || at[2] != want[2] {
			t.Errorf("steps at %v, want %v", at, want)
		}
	})
}

func TestLoopWaitsForItsSourcesAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		store := state.New()
		var steps []state.Changes
		go Loop(ctx, slog.New(slog.DiscardHandler), "test", store.Watch(), Options{Synced: []model.Kind{model.KindNode}}, func(_ context.Context, snap *state.Snapshot, c state.Changes) error {
			steps = append(steps, c)
			if snap.Node("a") == nil {
				t.Error("the step does not see what came before")
			}
			return nil
		})
		store.Update(node("a"))
		synctest.Wait()
		if len(steps) != 0 {
			t.Error("stepped before the source had synced")
		}
		store.Update(func(tx *state.Tx) { tx.SetSynced(model.KindNode) })
		synctest.Wait()
		cancel()
		synctest.Wait()
		if len(steps) != 1 || !steps[0].All {
			t.Errorf("steps: %+v", steps)
		}
	})
}

func TestLoopRunsAgainWhenAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		var at []time.Duration
		go Loop(ctx, slog.New(slog.DiscardHandler), "test", state.New().Watch(), Options{}, func(context.Context, *state.Snapshot, state.Changes) error {
			at = append(at, time.Since(start))
			if len(at) == 1 {
				return Again{After: time.Second}
			}
			return nil
		})
		time.Sleep(time.Minute)
		cancel()
		synctest.Wait()
		if len(at) != 2 || at[1] != time.Second {
			t.Errorf("steps at %v, want [0s 1s]", at)
		}
	})
}
