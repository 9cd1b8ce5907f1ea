package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// change gives the first Service another endpoint again and again, and measures
// how long it takes from when the API server begins to say so until a connection
// to the new one is open. All of it is done on one thread, which asks, and rests
// between its questions: on a machine of two processors it must not be what the
// subject waits for.
func (b *bench) change(ctx context.Context) error {
	n, pause := b.changes, 20*time.Millisecond
	if b.options.subject != fairway { // it gathers the changes of a second (min-sync-period); these are to be single ones
		pause = 1500 * time.Millisecond
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	runtime.GC() // of what the API server has encoded
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var took []float64
	var cpu time.Duration
	for i := range n {
		time.Sleep(pause)
		k, before := 1+i%2, cpuTime(b.subject.Pid)
		want, start := endpoint(0, k), b.api.change(k)
		for {
			at, got, err := reach(clusterIP(0), 80)
			if err == nil && got == want {
				took = append(took, float64(at.Sub(start).Microseconds())/1000)
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("a change is not programmed: %w", context.Cause(ctx))
			}
			unix.Nanosleep(&unix.Timespec{Nsec: int64(50 * time.Microsecond)}, nil)
		}
		cpu += cpuTime(b.subject.Pid) - before
	}
	slices.Sort(took)
	return errors.Join(
		b.add("one endpoint changes to programmed, p50", "ms", took[len(took)/2]),
		b.add("one endpoint changes to programmed, p99", "ms", took[len(took)*99/100]),
		b.add("one endpoint changes, processor time of the process", "ms", float64(cpu.Microseconds())/1000/float64(n)))
}

// reach connects to an address, and returns when the connection was open and
// which endpoint it is to.
func reach(a netip.Addr, port int) (at time.Time, endpoint netip.Addr, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return at, endpoint, err
	}
	defer unix.Close(fd)
	patience := unix.Timeval{Sec: 1}
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience))
	if err == nil {
		err = unix.Connect(fd, sockaddr(a, port))
	}
	at = time.Now()
	if err != nil {
		return at, endpoint, err
	}
	if _, err := unix.Write(fd, []byte{askWho}); err != nil {
		return at, endpoint, err
	}
	var text []byte
	for buf := make([]byte, 64); ; {
		n, err := unix.Read(fd, buf)
		if err != nil {
			return at, endpoint, err
		}
		if n == 0 {
			break
		}
		text = append(text, buf[:n]...)
	}
	endpoint, err = netip.ParseAddr(string(text))
	return at, endpoint, err
}
