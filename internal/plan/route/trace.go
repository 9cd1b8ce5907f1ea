package route

import (
	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/dialect/nginx"
)

// Trace says which requests of a rule make spans, and how those are called. Nil is the
// default: those of a gateway that was started with a collector.
type Trace struct {
	On, Off  bool             // neither: as the gateway was started
	Distrust bool             // traces of clients are not gone on with
	Name     dialect.Template // empty: method and path of the rule
}

func trace(t *nginx.Trace) *Trace {
	if t.On == nil && !t.Distrust && len(t.Name) == 0 {
		return nil
	}
	return &Trace{On: t.On != nil && *t.On, Off: t.On != nil && !*t.On, Distrust: t.Distrust, Name: t.Name}
}
