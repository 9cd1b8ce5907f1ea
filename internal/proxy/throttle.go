package proxy

import (
	"time"

	"github.com/fairway-net/fairway/internal/plan/route"
)

// throttle is a client that gets the body of a response no faster than allowed, as
// by nginx's limit_rate and limit_rate_after.
type throttle struct {
	downstream
	limit *route.Bandwidth
	sent  int64
	since time.Time // when what counts against the limit began
}

// piece is how much goes at once, so that the rate holds for short moments too.
const piece = 16 << 10

func (t *throttle) write(part []byte, more bool) error {
	for len(part) > 0 {
		n := min(len(part), piece)
		if t.wait(int64(n)); t.downstream.gone() {
			return errClientGone
		}
		if err := t.downstream.write(part[:n], false); err != nil {
			return err
		}
		part = part[n:]
	}
	return nil
}

// wait waits until n more octets may go.
func (t *throttle) wait(n int64) {
	counted := t.sent - t.limit.After
	t.sent += n
	if counted < 0 {
		return
	}
	if t.since.IsZero() {
		t.since = time.Now()
	}
	due := time.Duration(float64(counted) / float64(t.limit.PerSecond) * float64(time.Second))
	time.Sleep(due - time.Since(t.since))
}
