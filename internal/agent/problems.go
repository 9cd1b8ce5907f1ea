package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"github.com/fairway-net/fairway/internal/apply/bpf"
	"github.com/fairway-net/fairway/internal/apply/status"
	"github.com/fairway-net/fairway/internal/metric"
	"github.com/fairway-net/fairway/internal/model"
)

// problems are what is wrong on the node at the moment, each under a name of a
// fixed set. They show in the log, in /readyz, as a metric, and as Events.
type problems struct {
	node    model.Ref
	log     *slog.Logger
	changed chan struct{} // wakes tell

	mu  sync.Mutex
	now map[string]problem
}

type problem struct {
	model.Rejected
	severe bool // the node cannot be relied on
}

// newProblems makes the set of a node's problems. Its Events name the Node as
// kubelet's do, with the name as UID: that is where kubectl describe looks.
func newProblems(node string, log *slog.Logger) *problems {
	return &problems{
		node: model.Ref{Kind: model.KindNode, Name: model.Name{Name: node}, UID: node},
		log:  log, changed: make(chan struct{}, 1), now: map[string]problem{},
	}
}

// set remembers that something is wrong and logs it, once while it stays the same.
func (p *problems) set(name string, severe bool, r model.Rejected) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Ref == (model.Ref{}) {
		r.Ref = p.node
	}
	old, known := p.now[name]
	p.now[name] = problem{r, severe}
	if known && old.Reason == r.Reason && old.Message == r.Message {
		return
	}
	p.log.Error(r.Message, "problem", name, "reason", r.Reason, "fix", r.Fix)
	p.wake()
}

// clear takes a problem back.
func (p *problems) clear(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old, ok := p.now[name]; ok {
		delete(p.now, name)
		p.log.Info("the problem is over", "problem", name, "reason", old.Reason)
		p.wake()
	}
}

func (p *problems) wake() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// severe returns the first severe problem as an error.
func (p *problems) severe() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(p.now)) {
		if x := p.now[name]; x.severe {
			return errors.New("not ready: " + x.String())
		}
	}
	return nil
}

// list returns the problems by name, in order.
func (p *problems) list() []model.Rejected {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []model.Rejected
	for _, name := range slices.Sorted(maps.Keys(p.now)) {
		out = append(out, p.now[name].Rejected)
	}
	return out
}

func (p *problems) write(w metric.Writer) {
	w.Family("fairway_problem", metric.Gauge, "What is wrong on the node at the moment, by reason.")
	for _, x := range p.list() {
		w.Value("fairway_problem", 1, "reason", x.Reason)
	}
}

// tell keeps the Events of the problems as they are, until ctx ends.
func (p *problems) tell(ctx context.Context, config *rest.Config) error {
	events, err := status.NewEvents(config)
	if err != nil {
		return err
	}
	for {
		wait, err := events.Emit(ctx, p.list())
		if err != nil && ctx.Err() == nil {
			p.log.Debug("write Events", "err", err)
			wait = 10 * time.Second
		}
		if wait == 0 {
			wait = 10 * time.Minute // Events are renewed while their cause lasts
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.changed:
		case <-time.After(wait):
		}
	}
}

// troubleOf says a trouble of the datapath as the planners say theirs.
func troubleOf(err error) model.Rejected {
	var t bpf.Trouble
	if errors.As(err, &t) {
		return model.Rejected{Reason: t.Reason, Message: err.Error(), Fix: t.Fix}
	}
	return model.Rejected{Reason: "DatapathFailed", Message: fmt.Sprint(err), Fix: "see the agent's log"}
}
