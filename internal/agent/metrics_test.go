package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/metric"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// TestProgrammingLatency: each change of the API is observed once, from its own
// time on, and what was there before the agent is not.
func TestProgrammingLatency(t *testing.T) {
	start := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	svc := func(created time.Time) *model.Service {
		return &model.Service{Name: model.Name{Namespace: "x", Name: "web"}, Created: created}
	}
	slice := func(triggered time.Time) *model.EndpointSlice {
		return &model.EndpointSlice{Name: model.Name{Namespace: "x", Name: "web-1"}, Service: "web", Triggered: triggered}
	}
	keys := state.Changes{Keys: map[state.Change]struct{}{
		{Kind: model.KindService, Key: "x/web"}: {}, {Kind: model.KindEndpointSlice, Key: "x/web/web-1"}: {},
	}}
	steps := []struct {
		name             string
		before, after    []any
		services, slices uint64 // observed so far
	}{
		{"a new Service with its slice", nil, []any{svc(start), slice(start)}, 1, 1},
		{"a change of labels", []any{svc(start), slice(start)}, []any{svc(start), slice(start)}, 1, 1},
		{"another endpoint", []any{svc(start), slice(start)}, []any{svc(start), slice(start.Add(time.Second))}, 1, 2},
		{"a slice that does not say", []any{svc(start), slice(start)}, []any{svc(start), slice(time.Time{})}, 1, 2},
		{"both are gone", []any{svc(start), slice(start)}, nil, 1, 2},
	}
	m := newServiceMetrics()
	m.now = func() time.Time { return start.Add(3 * time.Millisecond) }
	m.programmed(nil, snapshotOf(svc(start), slice(start)), keys)
	for _, s := range steps {
		m.programmed(snapshotOf(s.before...), snapshotOf(s.after...), keys)
		if got, want := [2]uint64{m.services.Count(), m.slices.Count()}, [2]uint64{s.services, s.slices}; got != want {
			t.Errorf("%s: %v observed, want %v", s.name, got, want)
		}
	}
	var b strings.Builder
	m.write(metric.Writer{Writer: &b})
	for _, line := range []string{
		`fairway_service_programming_duration_seconds_bucket{kind="EndpointSlice",le="0.005"} 2`, // a clock that is behind counts as none
		`fairway_service_programming_duration_seconds_bucket{kind="Service",le="0.002"} 0`,
		`fairway_service_programming_duration_seconds_count{kind="Service"} 1`,
		`fairway_service_sync_duration_seconds_count 0`,
		`fairway_service_failed 0`,
	} {
		if !strings.Contains(b.String(), line+"\n") {
			t.Errorf("no line %s in\n%s", line, &b)
		}
	}
}
