package bpf

import (
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/model"
)

func TestExpired(t *testing.T) {
	const now = 24 * time.Hour
	for _, c := range []struct {
		name   string
		proto  model.Protocol
		flags  uint32
		silent time.Duration
		want   bool
	}{
		{"opening", model.TCP, 0, 59 * time.Second, false},
		{"opening, too long", model.TCP, 0, 61 * time.Second, true},
		{"open", model.TCP, connReplied, 2 * time.Hour, false},
		{"open, too long", model.TCP, connReplied, 3 * time.Hour, true},
		{"half closed", model.TCP, connReplied | connFin, time.Hour, false},
		{"closed", model.TCP, connReplied | connFin | connFinRev, 11 * time.Second, true},
		{"reset", model.TCP, connReplied | connRst, 11 * time.Second, true},
		{"one way", model.UDP, 0, 31 * time.Second, true},
		{"both ways", model.UDP, connReplied, 119 * time.Second, false},
		{"both ways, too long", model.UDP, connReplied, 121 * time.Second, true},
		{"echo", 1, 0, 61 * time.Second, true},
	} {
		flow := &kernelConn{Seen: uint64(now - c.silent), Flags: c.flags}
		k := &kernelTuple{Proto: uint8(c.proto)}
		if got := expired(k, flow, now, false); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
		// In a crowd only what has been answered stays as long.
		if got, want := expired(k, flow, now, true), c.want || c.flags&connReplied == 0; got != want {
			t.Errorf("%s, in a crowd: %t, want %t", c.name, got, want)
		}
	}
}

// The two entries of a rewritten flow live and die together.
func TestSweepTwins(t *testing.T) {
	w := newWorld(t)
	w.set(nodePort("web", "10.96.0.1"), w.b1.IPs[0])
	conn, err := w.client.Dial(nil, "udp", "198.51.100.1:30080", "")
	w.must(err)
	defer conn.Close()
	_, err = conn.Ask("x")
	w.must(err)
	dp := w.node1.dp
	age := func(which func(kernelConn) bool) {
		w.must(each(dp.objs.Conns, func(k kernelTuple, c kernelConn) {
			if k.Scope == scopeNode && which(c) {
				c.Seen = 1
				w.must(dp.objs.Conns.Put(k, c))
			}
		}))
	}
	count := func() (n int) {
		w.must(each(dp.objs.Conns, func(k kernelTuple, _ kernelConn) {
			if k.Scope == scopeNode {
				n++
			}
		}))
		return n
	}
	if count() != 2 {
		w.dump()
		t.Fatalf("%d entries, want 2", count())
	}
	age(func(c kernelConn) bool { return c.Service == 0 }) // replies have been rare
	_, err = dp.Sweep(t.Context())
	w.must(err)
	if count() != 2 {
		t.Errorf("%d entries after one direction was silent, want 2", count())
	}
	_, err = conn.Ask("x")
	w.must(err)
	age(func(kernelConn) bool { return true })
	swept, err := dp.Sweep(t.Context())
	w.must(err)
	if count() != 0 || swept.Expired != 2 {
		t.Errorf("%d entries left, %d expired; want 0 and 2", count(), swept.Expired)
	}
}

// A client that uses its port again while the sweep is under way keeps its new flow.
func TestSweepSparesNewFlows(t *testing.T) {
	d := &Datapath{}
	d.objs.Conns = connTable(t)
	k, read := kernelTuple{Proto: uint8(model.TCP), Sport: 1}, kernelConn{Seen: 1, Flags: connRst}
	now := kernelConn{Seen: uint64(time.Hour)}
	if err := d.objs.Conns.Put(&k, &now); err != nil {
		t.Fatal(err)
	}
	if n, err := d.expire(&k, &read, time.Hour, false); n != 0 || err != nil {
		t.Errorf("%d entries removed (%v), want none: it is another flow than was read", n, err)
	}
	if n, err := d.expire(&k, &now, 24*time.Hour, false); n != 1 || err != nil {
		t.Errorf("%d entries removed (%v), want the flow whose time is over", n, err)
	}
}
