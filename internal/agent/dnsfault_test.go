package agent

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/ipv4"

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

// asker sends questions for the A records of Services at a fixed rate, without
// waiting for answers, each once. It sends and receives several with one system
// call, so that the rate is not bounded by what the client costs.
type asker struct {
	conn  *net.UDPConn
	names [][]byte // packed questions; the first two bytes are the ID
	began time.Time
	sent  [1 << 16]atomic.Uint64 // by ID: the Service and when, packed
	room  chan struct{}          // wakes the sender, which has more to send than window
	check func(q question, got string, back time.Time)

	asked, answered atomic.Int64
}

// question is what the ID of a query stands for.
type question struct {
	service int
	at      time.Time
}

// window is how many questions of one asker may be without an answer: together
// less than the smallest of the sockets' buffers holds (212,992 bytes, doubled, at
// some 1,300 a packet), so that nothing can be lost but by the server.
const window = 100

// together is how many questions or answers are one system call at most.
const together = 32

// nanos are the bits of a time in sent: three days.
const nanos = 48

func batch(size int) []ipv4.Message {
	ms := make([]ipv4.Message, together)
	for i := range ms {
		ms[i].Buffers = [][]byte{make([]byte, size)}
	}
	return ms
}

// send asks rate questions a second until ctx ends. What the machine did not let
// it send in time it sends as soon as there is room.
func (a *asker) send(ctx context.Context, rate int) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	pc, ms := ipv4.NewPacketConn(a.conn), batch(512)
	for id, began := uint16(0), time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-a.room:
		}
		due := int64(time.Since(began).Seconds()*float64(rate)) - a.asked.Load()
		due = min(due, window-(a.asked.Load()-a.answered.Load()))
		for due > 0 {
			n := int(min(due, together))
			for k := range n {
				i := rand.IntN(len(a.names))
				b := append(ms[k].Buffers[0][:0], a.names[i]...)
				b[0], b[1] = byte(id>>8), byte(id)
				ms[k].Buffers[0] = b
				a.sent[id].Store(uint64(i)<<nanos | uint64(time.Since(a.began)))
				id++
			}
			sent, err := pc.WriteBatch(ms[:n], 0)
			if err != nil || sent < n {
				id -= uint16(n - max(sent, 0))
			}
			a.asked.Add(int64(max(sent, 0)))
			due -= int64(n)
		}
	}
}

// receive checks answers until the socket's deadline.
func (a *asker) receive() {
	pc, ms := ipv4.NewPacketConn(a.conn), batch(1500)
	for {
		n, err := pc.ReadBatch(ms, 0)
		if err != nil {
			return
		}
		back := time.Now()
		a.answered.Add(int64(n))
		select {
		case a.room <- struct{}{}:
		default:
		}
		for i := range n {
			a.receipt(ms[i].Buffers[0][:ms[i].N], back)
		}
	}
}

// receipt checks one answer. A question without EDNS is answered without: an address ends the message.
func (a *asker) receipt(b []byte, back time.Time) {
	got := dns.RcodeToString[int(b[3]&15)]
	if got == "NOERROR" && b[7] == 1 {
		got = netip.AddrFrom4([4]byte(b[len(b)-4:])).String()
	}
	sent := a.sent[uint16(b[0])<<8|uint16(b[1])].Load()
	a.check(question{int(sent >> nanos), a.began.Add(time.Duration(sent & (1<<nanos - 1)))}, got, back)
}

// TestNoStaleAnswers creates, renumbers and deletes 1,000 Services in random order
// while 20,000 questions a second come for them: from 10 ms after the watch event
// each answer is the new one, and none is SERVFAIL.
func TestNoStaleAnswers(t *testing.T) {
	const services, tolerance = 1000, 10 * time.Millisecond
	const askers, rate = 2, 10_000 // each
	store := state.New()
	x, err := index.New(index.Params{Params: zone.Params{Zone: "cluster.local", TTL: 5}})
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	fwd, err := newOutside(DNSOptions{Log: quiet}, settings.Settings{}, newProblems("", quiet))
	if err != nil {
		t.Fatal(err)
	}
	listen := netip.MustParseAddrPort(freePort(t))
	server, err := fairwaydns.New(fairwaydns.Options{Zone: x, Upstream: fwd, Listen: []netip.AddrPort{listen}, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	life, end := context.WithTimeout(t.Context(), 2*time.Minute)
	var running sync.WaitGroup
	running.Go(func() { server.Serve(life, time.Second) })
	running.Go(func() { feedZone(life, store, x, quiet) })
	defer running.Wait()
	defer end()

	histories := make([]history, services)
	var names [][]byte
	store.Update(func(tx *state.Tx) {
		tx.Set(&model.Namespace{Name: "ns"})
		for _, k := range zone.Kinds() {
			tx.SetSynced(k)
		}
	})
	for i := range histories {
		histories[i].change("NXDOMAIN", func() {})
		b, err := new(dns.Msg).SetQuestion(fmt.Sprintf("s%d.ns.svc.cluster.local.", i), dns.TypeA).Pack()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, b)
	}
	eventually(t, "synced", x.Synced)

	load, stop := context.WithCancel(life)
	var asking, receiving, watching sync.WaitGroup
	var worst atomic.Int64
	watching.Go(func() { worst.Store(int64(stall(load))) })
	type late struct {
		question
		got  string
		back time.Time
	}
	var mu sync.Mutex
	var suspects []late
	var all []*asker
	began := time.Now()
	for range askers {
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(listen))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		a := &asker{conn: conn, names: names, began: began, room: make(chan struct{}, 1), check: func(q question, got string, back time.Time) {
			if !histories[q.service].meant(got, q.at.Add(-tolerance), back) {
				mu.Lock()
				suspects = append(suspects, late{q, got, back})
				mu.Unlock()
			}
		}}
		all = append(all, a)
		asking.Go(func() { a.send(load, rate) })
		receiving.Go(a.receive)
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
	took := time.Since(began)
	stop()
	asking.Wait()
	watching.Wait()
	var asked, answered int64
	for _, a := range all {
		a.conn.SetReadDeadline(time.Now().Add(3 * time.Second))
	}
	receiving.Wait()
	for _, a := range all {
		asked, answered = asked+a.asked.Load(), answered+a.answered.Load()
	}

	allowed := tolerance + time.Duration(worst.Load())
	for _, s := range suspects {
		if !histories[s.service].meant(s.got, s.at.Add(-allowed), s.back) {
			t.Errorf("s%d: %s, which it had not meant for %v", s.service, s.got, allowed)
		}
	}
	t.Logf("%.0f questions/s of %d, %d of %d answered, %d changes; %d answers older than %v, none older than %v (the machine's own stalls included)",
		float64(asked)/took.Seconds(), askers*rate, answered, asked, len(order), len(suspects), tolerance, allowed)
	if answered != asked {
		t.Errorf("%d of %d questions have no answer", asked-answered, asked)
	}
	if answered < 3000 {
		t.Errorf("only %d answers: the test said nothing", answered)
	}
}
