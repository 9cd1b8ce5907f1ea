package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	latencyCase  = "HTTP/1.1, 64 connections, 70 % of the slower C peer's rate"
	latencyConns = 64
)

// latencies asks every proxy at one rate, which the slower of the C peers can do with
// ease: in turn, several times, each time for a second, and the median of those counts.
// Whatever else wants a processor for a moment is most of the p99 of the second in which
// it does. A proxy that is behind its clients by seconds is asked once.
func (b *bench) latencies(ctx context.Context, rate float64) {
	all := map[*server][]latency{}
	for range latencyTurns {
		for _, s := range b.asked(plain) {
			before := all[s]
			if len(before) == 1 && before[0].most > 1000 {
				continue
			}
			l, err := b.latency(ctx, s, rate)
			if err != nil {
				b.fail(s, latencyCase, err)
				continue
			}
			all[s] = append(before, l)
		}
	}
	for _, s := range b.asked(plain) {
		of := func(figure func(latency) float64) float64 {
			var list []float64
			for _, l := range all[s] {
				list = append(list, figure(l))
			}
			slices.Sort(list)
			return list[len(list)/2]
		}
		if len(all[s]) == 0 {
			continue
		}
		b.add(s, latencyCase, "p99 latency", "ms", of(func(l latency) float64 { return l.most }))
		b.add(s, latencyCase, "median latency", "ms", of(func(l latency) float64 { return l.half }))
		b.add(s, latencyCase, "p90 latency", "ms", of(func(l latency) float64 { return l.p90 }))
		b.add(s, latencyCase, "p99.9 latency", "ms", of(func(l latency) float64 { return l.p999 }))
		b.add(s, latencyCase, "answers", "requests/s", of(func(l latency) float64 { return l.rate }))
		b.add(s, latencyCase, "p99 of the client's own lateness", "ms", of(func(l latency) float64 { return l.late }))
	}
	b.compare(latencyCase)
}

const latencyTurns = 7

// latency is what one second of asking gives; times are in milliseconds.
type latency struct{ half, most, rate, late, p90, p999 float64 }

func (b *bench) latency(ctx context.Context, s *server, rate float64) (l latency, err error) {
	text, err := b.client(ctx, s, b.self, "-latency", s.at[plain], "-rate", fmt.Sprint(rate), "-time", "1s")
	if err != nil {
		return l, err
	}
	if _, err := fmt.Sscan(string(text), &l.half, &l.most, &l.rate, &l.late, &l.p90, &l.p999); err != nil {
		return l, fmt.Errorf("read latencies: %w\n%s", err, text)
	}
	return l, nil
}

// asker is an open-loop client: requests are due at even intervals, whatever became of
// those before. Each goes out on the connection that has been free for longest, or waits
// for one; its time runs from when it was due. It is one thread that waits for nothing but
// the kernel, so that what queues is the proxy's work and not the client's.
type asker struct {
	poll int
	free []int       // connections, longest free first
	due  []time.Time // of requests that no connection was free for
	sent map[int]time.Time
	got  map[int][]byte // of an answer that is not complete
	took []float64      // ms
	late []float64      // ms from when a request was due and a connection free to when it was sent
	buf  [16 << 10]byte
}

// measureLatency asks at a rate and prints what a latency has, in its order.
func measureLatency(addr string, rate float64, length time.Duration) error {
	a := &asker{sent: map[int]time.Time{}, got: map[int][]byte{}}
	var err error
	if a.poll, err = unix.EpollCreate1(0); err != nil {
		return fmt.Errorf("create epoll: %w", err)
	}
	for range latencyConns {
		if err := a.open(addr); err != nil {
			return err
		}
	}
	interval := time.Duration(float64(time.Second) / rate)
	begun := time.Now()
	if err := a.run(begun, begun.Add(length), interval); err != nil {
		return err
	}
	if len(a.took) == 0 {
		return fmt.Errorf("no answer from %s", addr)
	}
	took := time.Since(begun).Seconds()
	slices.Sort(a.took)
	slices.Sort(a.late)
	n := len(a.took)
	fmt.Println(a.took[n/2], a.took[n*99/100], float64(n)/took, a.late[len(a.late)*99/100], a.took[n*9/10], a.took[n*999/1000])
	return nil
}

// open makes a connection; it is non-blocking, and never closed.
func (a *asker) open(addr string) error {
	to, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}); err != nil {
		return fmt.Errorf("connect to %s: %w", addr, err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	if err := unix.EpollCtl(a.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
		return fmt.Errorf("watch connection: %w", err)
	}
	a.free = append(a.free, fd)
	return nil
}

// run asks until end, and then waits for the last answers.
func (a *asker) run(next, end time.Time, interval time.Duration) error {
	events := make([]unix.EpollEvent, latencyConns)
	for {
		now := time.Now()
		for ; next.Before(end) && !next.After(now); next = next.Add(interval) {
			a.due = append(a.due, next)
		}
		if err := a.send(); err != nil {
			return err
		}
		asking := next.Before(end)
		if !asking && len(a.sent) == 0 && len(a.due) == 0 {
			return nil
		}
		if now.Sub(end) > 10*time.Second {
			return fmt.Errorf("%d requests have no answer after ten seconds", len(a.sent)+len(a.due))
		}
		pause := 100 * time.Millisecond
		if asking {
			pause = max(0, time.Until(next))
		}
		n, err := wait(a.poll, events, pause)
		if err != nil {
			return err
		}
		for _, e := range events[:n] {
			if err := a.read(int(e.Fd)); err != nil {
				return err
			}
		}
	}
}

var question = []byte("GET /small HTTP/1.1\r\nHost: h0.example\r\n\r\n")

// send sends what is due on what is free.
func (a *asker) send() error {
	for len(a.due) > 0 && len(a.free) > 0 {
		fd, due := a.free[0], a.due[0]
		a.free, a.due = a.free[1:], a.due[1:]
		if n, err := unix.Write(fd, question); err != nil || n != len(question) {
			return fmt.Errorf("send request: %d of %d bytes, %w", n, len(question), err)
		}
		a.sent[fd] = due
		if len(a.free) > 0 { // else the connections are what it waited for
			a.late = append(a.late, milliseconds(time.Since(due)))
		}
	}
	return nil
}

func (a *asker) read(fd int) error {
	n, err := unix.Read(fd, a.buf[:])
	if err == unix.EAGAIN || err == unix.EINTR {
		return nil
	}
	if n <= 0 {
		return fmt.Errorf("read answer: connection closed, %v", err)
	}
	answer := a.buf[:n]
	if before := a.got[fd]; before != nil {
		answer = append(before, answer...)
	}
	if !bytes.HasSuffix(answer, []byte("kind\n")) { // how the small answer ends
		a.got[fd] = bytes.Clone(answer)
		return nil
	}
	delete(a.got, fd)
	a.took = append(a.took, milliseconds(time.Since(a.sent[fd])))
	delete(a.sent, fd)
	a.free = append(a.free, fd)
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// wait waits for events for as long as the clock can be read: the milliseconds of
// epoll_wait are more than the time between two requests.
func wait(poll int, events []unix.EpollEvent, d time.Duration) (int, error) {
	const epollPwait2 = 441 // on all architectures
	t := unix.NsecToTimespec(min(int64(d), math.MaxInt32))
	n, _, err := unix.Syscall6(epollPwait2, uintptr(poll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(unsafe.Pointer(&t)), 0, 0)
	if err == unix.EINTR {
		return 0, nil
	}
	if err != 0 {
		return 0, fmt.Errorf("wait for answers: %w", err)
	}
	return int(n), nil
}
