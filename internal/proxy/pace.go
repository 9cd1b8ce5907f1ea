package proxy

import (
	"math"
	"sync/atomic"
	"time"
)

// pace is how quickly an endpoint answers: a mean of seconds that forgets within
// paceMemory, and believes a slower answer at once.
type pace struct{ seconds, at atomic.Uint64 }

const paceMemory = 10 * time.Second

func (e *endpoint) observe(took time.Duration, now time.Time) {
	old, since := math.Float64frombits(e.pace.seconds.Load()), now.UnixNano()-int64(e.pace.at.Swap(uint64(now.UnixNano())))
	mean := took.Seconds()
	if mean < old {
		keep := math.Exp(-float64(max(since, 0)) / float64(paceMemory))
		mean = old*keep + mean*(1-keep)
	}
	e.pace.seconds.Store(math.Float64bits(mean))
}

// latency is the mean in seconds, which time makes less, too: or who was slow once would
// not be asked again.
func (e *endpoint) latency(now time.Time) float64 {
	silence := now.UnixNano() - int64(e.pace.at.Load())
	return math.Float64frombits(e.pace.seconds.Load()) * math.Exp(-float64(max(silence, 0))/float64(paceMemory))
}

func (e *endpoint) score(now time.Time) float64 { return (e.latency(now) + 1e-6) * e.load() }

// budget bounds how much of an endpoint's misery is passed on to the others: attempts
// after the first may be a fifth of the requests, and some more for Services that
// have few: retriesPerSecond, so that where little is asked one pod of three that fails
// need not show. Attempts that found no connection do not count, as nobody had work by them.
type budget struct {
	tokens atomic.Int64
	second atomic.Int64 // Unix time that spare is for
	spare  atomic.Int64
}

const (
	tokensPerRequest = 200
	tokensPerRetry   = 1000
	tokensMost       = 100 * tokensPerRetry
	tokensFirst      = 10 * tokensPerRetry
	retriesPerSecond = 10
)

func (b *budget) request() {
	if b.tokens.Load() < tokensMost {
		b.tokens.Add(tokensPerRequest)
	}
}

func (b *budget) retry() bool {
	if b.tokens.Add(-tokensPerRetry) >= 0 {
		return true
	}
	b.tokens.Add(tokensPerRetry)
	if now := time.Now().Unix(); b.second.Swap(now) != now {
		b.spare.Store(retriesPerSecond)
	}
	return b.spare.Add(-1) >= 0
}
