package bpf

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/fairway-net/fairway/internal/model"
)

// Flags and scopes of flows, as in bpf/lib/types.h.
const (
	connNAT = 1 << iota
	connRedirect
	connReplied
	connFin
	connFinRev
	connRst
	connOrigin
)

const scopeNode = 1

// How long a flow may be silent. The values for TCP follow RFC 5382 (REQ-5:
// 2 h 4 min), for UDP RFC 4787 (REQ-5: 2 min and more) and for ICMP RFC 5508.
const (
	ttlOpen    = 2*time.Hour + 4*time.Minute // TCP, established
	ttlOpening = time.Minute                 // TCP, no answer yet
	ttlClosing = 10 * time.Second
	ttlUDP     = 2 * time.Minute
	ttlOneWay  = 30 * time.Second // UDP without an answer
	ttlICMP    = 60 * time.Second
	ttlSCTP    = 3*time.Minute + 30*time.Second // seven of its heartbeats (RFC 9260 section 16)
)

// crowded is the number of flows from which on those that are over, or may never
// begin, are not kept as long: a table that is full turns new ones away.
const crowded = 1 << 19

const sweepBatch = 4096

// Sweep removes what has expired: flows, and what Services and policies have
// let go of. Call it every ten seconds or so.
func (d *Datapath) Sweep(ctx context.Context) (Swept, error) {
	swept, err := d.sweepFlows(ctx)
	if err != nil {
		return swept, err
	}
	err = d.services.bury()
	d.mu.Lock()
	defer d.mu.Unlock()
	return swept, errors.Join(err, d.buryPolicy(), d.sweepGone(), d.reaper.sweep())
}

// sweepFlows goes through the connection table in batches. Only the datapath's
// own clock counts: an entry that is refreshed between being read and being
// judged is read again.
func (d *Datapath) sweepFlows(ctx context.Context) (Swept, error) {
	var swept Swept
	now, err := monotonic()
	if err != nil {
		return swept, err
	}
	busy := d.flows.Load() > crowded
	keys := make([]kernelTuple, sweepBatch)
	values := make([]kernelConn, sweepBatch)
	var cursor ebpf.MapBatchCursor
	for {
		if err := ctx.Err(); err != nil {
			return swept, err
		}
		n, err := d.objs.Conns.BatchLookup(&cursor, keys, values, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return swept, fmt.Errorf("read connection table: %w", err)
		}
		swept.Flows += n
		for i := range n {
			if !expired(&keys[i], &values[i], now, busy) {
				continue
			}
			gone, err := d.expire(&keys[i], &values[i], now, busy)
			if err != nil {
				return swept, err
			}
			swept.Expired += gone
		}
		if err != nil { // the end
			d.flows.Store(int64(swept.Flows - swept.Expired))
			return swept, nil
		}
	}
}

// expire removes a flow whose entry has expired, unless the other entry of a
// rewritten flow is still in use: both directions must be silent.
func (d *Datapath) expire(k *kernelTuple, c *kernelConn, now time.Duration, busy bool) (int, error) {
	if c.Flags&(connNAT|connOrigin) == 0 {
		return d.remove(k, c)
	}
	twin := twinOf(k, c)
	var other kernelConn
	err := d.objs.Conns.Lookup(&twin, &other)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return d.remove(k, c)
	}
	if err != nil {
		return 0, fmt.Errorf("read connection table: %w", err)
	}
	// Each entry has seen one direction; the flow is what both have.
	both := *c
	both.Seen = max(c.Seen, other.Seen)
	both.Flags = merge(k.Scope, c.Flags, other.Flags)
	if !expired(k, &both, now, busy) {
		return 0, nil
	}
	n, err := d.remove(&twin, &other)
	m, err2 := d.remove(k, c)
	return n + m, errors.Join(err, err2)
}

// remove deletes an entry that is still as it was read, and returns how many that
// were: none if the twin's turn has taken it along, or if a client has used its
// port again since. Entries are read by the thousand, and to judge them takes
// milliseconds; here is only what the kernel takes for two calls.
func (d *Datapath) remove(k *kernelTuple, read *kernelConn) (int, error) {
	var now kernelConn
	err := d.objs.Conns.Lookup(k, &now)
	if err == nil && now != *read {
		return 0, nil
	}
	if err == nil {
		err = d.objs.Conns.Delete(k)
	}
	switch {
	case errors.Is(err, ebpf.ErrKeyNotExist):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("delete flow: %w", err)
	}
	return 1, nil
}

// twinOf is the key of the other entry: see twin in bpf/lib/conn.h.
func twinOf(k *kernelTuple, c *kernelConn) kernelTuple {
	t := c.To
	t.Scope = k.Scope
	if k.Scope == scopeNode {
		t.Src, t.Dst, t.Sport, t.Dport = t.Dst, t.Src, t.Dport, t.Sport
	}
	return t
}

// merge joins what the two entries of a flow have seen. On the uplink each
// notes its own direction as if it were the only one.
func merge(scope uint8, a, b uint32) uint32 {
	f := a | b
	if scope != scopeNode {
		return f
	}
	if a&b&connReplied == 0 {
		f &^= connReplied
	}
	if a&b&connFin != 0 {
		f |= connFinRev
	}
	return f
}

// expired judges one entry by its own data.
func expired(k *kernelTuple, c *kernelConn, now time.Duration, busy bool) bool {
	ttl := lifetime(model.Protocol(k.Proto), c.Flags)
	if busy && ttl < ttlUDP {
		ttl /= 10
	}
	return now-time.Duration(c.Seen) > ttl
}

func lifetime(p model.Protocol, flags uint32) time.Duration {
	replied := flags&connReplied != 0
	switch p {
	case model.TCP:
		switch {
		case flags&connRst != 0 || flags&connFin != 0 && flags&connFinRev != 0:
			return ttlClosing
		case !replied:
			return ttlOpening
		}
		return ttlOpen
	case model.UDP:
		if !replied {
			return ttlOneWay
		}
		return ttlUDP
	case model.SCTP:
		if !replied {
			return ttlOpening
		}
		return ttlSCTP
	}
	return ttlICMP
}

// monotonic is the clock that the datapath stamps flows with.
func monotonic() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, fmt.Errorf("read clock: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}
