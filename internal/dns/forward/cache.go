package forward

import (
	"hash/maphash"
	"sync"
	"time"
)

const shards = 64

// cache keeps answers. Each shard is bounded by entries and by bytes; when it
// is full a random entry goes, expired ones first.
type cache struct {
	seed    maphash.Seed
	entries int // per shard
	bytes   int // per shard
	shard   [shards]shard
}

type shard struct {
	mu    sync.Mutex
	m     map[string]*Answer
	bytes int
}

func newCache(entries, bytes int) *cache {
	c := &cache{seed: maphash.MakeSeed(), entries: max(1, entries/shards), bytes: max(1, bytes/shards)}
	for i := range c.shard {
		c.shard[i].m = map[string]*Answer{}
	}
	return c
}

func (c *cache) of(key []byte) *shard { return &c.shard[maphash.Bytes(c.seed, key)%shards] }

// get returns what is kept for key, fresh or not.
func (c *cache) get(key []byte) *Answer {
	s := c.of(key)
	s.mu.Lock()
	a := s.m[string(key)]
	s.mu.Unlock()
	return a
}

func (c *cache) put(key []byte, a *Answer, now time.Time) {
	s := c.of(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(string(key))
	for len(s.m) > 0 && (len(s.m) >= c.entries || s.bytes+a.size() > c.bytes) {
		s.remove(s.victim(now))
	}
	s.m[string(key)] = a
	s.bytes += a.size() + len(key)
}

// victim looks at a few entries; a map is walked from a random place.
func (s *shard) victim(now time.Time) string {
	var any string
	n := 0
	for k, a := range s.m {
		if any = k; n == 8 || !a.fresh(now) {
			break
		}
		n++
	}
	return any
}

func (s *shard) remove(key string) {
	if a, ok := s.m[key]; ok {
		s.bytes -= a.size() + len(key)
		delete(s.m, key)
	}
}

func (c *cache) len() int {
	n := 0
	for i := range c.shard {
		s := &c.shard[i]
		s.mu.Lock()
		n += len(s.m)
		s.mu.Unlock()
	}
	return n
}
