package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/apply/status"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/service"
	"github.com/fairway-net/fairway/internal/run"
	"github.com/fairway-net/fairway/internal/state"
)

type noDatapath struct{}

func (noDatapath) ApplyServices(context.Context, []service.Plan) error { return nil }
func (noDatapath) PruneServices(context.Context) error                 { return nil }

// eventLog keeps the last that it was told.
type eventLog struct {
	told int
	last []model.Rejected
}

func (e *eventLog) Apply(_ context.Context, _ *state.Snapshot, want status.Want) (time.Duration, error) {
	e.told++
	e.last = want.Rejected
	if len(want.Rejected) > 0 {
		return time.Minute, nil
	}
	return 0, nil
}

// What a node cannot do is told while it lasts, and nothing is written where all
// is well.
func TestServicesTell(t *testing.T) {
	store := state.New()
	watch := store.Watch()
	events := &eventLog{}
	s := &services{
		params: service.Params{Node: "here", NoSCTP: true}, datapath: noDatapath{}, events: events, done: func() {},
		metrics: newServiceMetrics(), problems: newProblems("here", slog.New(slog.DiscardHandler)),
		health: newHealthPorts(func() bool { return true }, slog.New(slog.DiscardHandler)), log: slog.New(slog.DiscardHandler),
	}
	step := func(protocols ...model.Protocol) error {
		store.Update(func(tx *state.Tx) {
			svc := &model.Service{Name: model.Name{Namespace: "x", Name: "web"}, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.1")}}
			for _, p := range protocols {
				svc.Ports = append(svc.Ports, model.ServicePort{Name: p.String(), Protocol: p, Port: 80})
			}
			tx.Set(svc)
		})
		snap, changes := watch.Take()
		return s.step(t.Context(), snap, changes)
	}
	if err := step(model.TCP); err != nil || events.told != 0 {
		t.Errorf("TCP alone: %v, told %d times", err, events.told)
	}
	if err := step(model.TCP, model.SCTP); !errors.As(err, &run.Again{}) || len(events.last) != 1 {
		t.Errorf("with SCTP: %v, told %v", err, events.last)
	}
	if n := s.metrics.rejected.Load(); n != 1 {
		t.Errorf("%d Services counted as rejected in part, want 1", n)
	}
	if err := step(model.TCP); err != nil || events.told != 2 || len(events.last) != 0 || s.metrics.rejected.Load() != 0 {
		t.Errorf("without it again: %v, told %d times, %v", err, events.told, events.last)
	}
	if err := step(model.UDP); err != nil || events.told != 2 {
		t.Errorf("later: %v, told %d times", err, events.told)
	}
}
