package proxy

import (
	"math/rand/v2"
	"slices"
	"time"
)

// ofSubset draws one of the size endpoints that a key belongs to, by rendezvous hashing:
// when an endpoint comes or goes only its own keys move. Those that are not well, and
// have no room, hand their keys on.
func (p *pool) ofSubset(tried []*endpoint, key string, size int, now time.Time, single bool) *endpoint {
	fit := func(e *endpoint) bool { return e.well(now) && p.room(e, single) }
	if size == 1 {
		if e := topOf(p.endpoints, tried, key, fit); e != nil {
			return e
		}
		return topOf(p.endpoints, tried, key, func(e *endpoint) bool { return p.room(e, single) })
	}
	type ranked struct {
		e     *endpoint
		fits  bool
		score uint64
	}
	all, fits := make([]ranked, 0, len(p.endpoints)), 0
	for _, e := range p.endpoints {
		if !slices.Contains(tried, e) && p.room(e, single) {
			r := ranked{e, fit(e), rendezvous(key, e.token)}
			if all = append(all, r); r.fits {
				fits++
			}
		}
	}
	slices.SortFunc(all, func(a, b ranked) int {
		switch {
		case a.fits && !b.fits, a.fits == b.fits && a.score > b.score:
			return -1
		case b.fits && !a.fits, a.score < b.score:
			return 1
		}
		return 0
	})
	if len(all) == 0 {
		return nil
	}
	if fits > 0 { // or they would share with those that are not well
		all = all[:fits]
	}
	return all[rand.IntN(min(size, len(all)))].e
}

// topOf is the endpoint that a key belongs to among those that were not tried and fit.
func topOf(list, tried []*endpoint, key string, fit func(*endpoint) bool) (best *endpoint) {
	var most uint64
	for _, e := range list {
		if score := rendezvous(key, e.token); (best == nil || score > most) && !slices.Contains(tried, e) && fit(e) {
			best, most = e, score
		}
	}
	return best
}

// rendezvous mixes key and endpoint, the same in all gateways (FNV-1a, then the
// finalizer of MurmurHash3, as FNV alone does not mix its last octets).
func rendezvous(key, token string) uint64 {
	h := uint64(14695981039346656037)
	for _, s := range [...]string{key, "\x00", token} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
