package agent

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/fairway-net/fairway/internal/dns/index"
	"github.com/fairway-net/fairway/internal/dns/settings"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/zone"
	"github.com/fairway-net/fairway/internal/state"

	fairwaydns "github.com/fairway-net/fairway/internal/dns"
)

// history is what one Service's name meant, and when. While a change is being
// made both meanings count.
type history struct {
	mu    sync.Mutex
	spans []span
}

type span struct {
	value    string // an address, or "NXDOMAIN"
	from, to time.Time
}

// change makes the name mean value, by doing do.
func (h *history) change(value string, do func()) {
	h.mu.Lock()
	h.spans = append(h.spans, span{value: value, from: time.Now()})
	h.mu.Unlock()
	do()
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.spans); n > 1 {
		h.spans[n-2].to = time.Now()
	}
}

// meant reports whether value was true at some time between from and to.
func (h *history) meant(value string, from, to time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.spans {
		if s.value == value && !s.from.After(to) && (s.to.IsZero() || !s.to.Before(from)) {
			return true
		}
	}
	return false
}

// stall measures how long a goroutine that only sleeps is kept from running:
// what the machine, not the server, adds to any delay.
func stall(ctx context.Context) time.Duration {
	var worst time.Duration
	for ctx.Err() == nil {
		start := time.Now()
		time.Sleep(time.Millisecond)
		worst = max(worst, time.Since(start)-time.Millisecond)
	}
	return worst
}

// TestNoStaleAnswers creates, renumbers and deletes 1,000 Services in random order
// while clients ask for them: from 10 ms after the watch event each answer is the
// new one, and none is SERVFAIL.
func TestNoStaleAnswers(t *testing.T) {
	const services, clients, pace, tolerance = 1000, 4, 600 * time.Microsecond, 10 * time.Millisecond
	store := state.New()
	x, err := index.New(index.Params{Params: zone.Params{Zone: "cluster.local", TTL: 5}})
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	fwd, err := newOutside(DNSOptions{Log: quiet}, settings.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	listen := netip.MustParseAddrPort(freePort(t))
	server, err := fairwaydns.New(fairwaydns.Options{Zone: x, Upstream: fwd, Listen: []netip.AddrPort{listen}, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	life, end := context.WithTimeout(t.Context(), time.Minute)
	var running sync.WaitGroup
	running.Go(func() { server.Serve(life, time.Second) })
	running.Go(func() { feedZone(life, store, x, quiet) })
	defer running.Wait()
	defer end()

	histories := make([]history, services)
	store.Update(func(tx *state.Tx) {
		tx.Set(&model.Namespace{Name: "ns"})
		for _, k := range zone.Kinds() {
			tx.SetSynced(k)
		}
	})
	for i := range histories {
		histories[i].change("NXDOMAIN", func() {})
	}
	eventually(t, "synced", x.Synced)

	load, stop := context.WithCancel(life)
	var asking, watching sync.WaitGroup
	var asked, worst atomic.Int64
	watching.Go(func() { worst.Store(int64(stall(load))) })
	type late struct {
		name, got string
		sent      time.Time
		i         int
		back      time.Time
	}
	var mu sync.Mutex
	var suspects []late
	for range clients {
		asking.Go(func() {
			conn, err := dns.Dial("udp", listen.String())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			for load.Err() == nil {
				i := rand.IntN(services)
				m := new(dns.Msg).SetQuestion(fmt.Sprintf("s%d.ns.svc.cluster.local.", i), dns.TypeA)
				sent := time.Now()
				conn.SetDeadline(sent.Add(5 * time.Second))
				if err = conn.WriteMsg(m); err == nil {
					m, err = conn.ReadMsg()
				}
				back := time.Now()
				if err != nil {
					t.Errorf("s%d: %v", i, err)
					return
				}
				got := dns.RcodeToString[m.Rcode]
				if len(m.Answer) == 1 {
					got = m.Answer[0].(*dns.A).A.String()
				}
				asked.Add(1)
				if !histories[i].meant(got, sent.Add(-tolerance), back) {
					mu.Lock()
					suspects = append(suspects, late{m.Question[0].Name, got, sent, i, back})
					mu.Unlock()
				}
				time.Sleep(time.Until(sent.Add(pace)))
			}
		})
	}

	// Each Service three times: created, given another address, deleted.
	var order []int
	for i := range services {
		order = append(order, i, i, i)
	}
	rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	steps := make([]int, services)
	for _, i := range order {
		key := model.Name{Namespace: "ns", Name: fmt.Sprint("s", i)}
		steps[i]++
		if steps[i] == 3 {
			histories[i].change("NXDOMAIN", func() {
				store.Update(func(tx *state.Tx) { tx.Delete(model.KindService, key.String()) })
			})
		} else {
			a := netip.AddrFrom4([4]byte{10, 96 + byte(steps[i]), byte(i >> 8), byte(i)})
			histories[i].change(a.String(), func() {
				store.Update(func(tx *state.Tx) { tx.Set(&model.Service{Name: key, ClusterIPs: []netip.Addr{a}}) })
			})
		}
		time.Sleep(time.Millisecond)
	}
	time.Sleep(2 * tolerance)
	stop()
	asking.Wait()
	watching.Wait()

	allowed := tolerance + time.Duration(worst.Load())
	for _, s := range suspects {
		if !histories[s.i].meant(s.got, s.sent.Add(-allowed), s.back) {
			t.Errorf("%s: %s, which it had not meant for %v", s.name, s.got, allowed)
		}
	}
	t.Logf("%d answers to %d changes; %d older than %v, none older than %v (the machine's own stalls included)", asked.Load(), len(order), len(suspects), tolerance, allowed)
	if asked.Load() < 3000 {
		t.Errorf("only %d answers: the test said nothing", asked.Load())
	}
}
