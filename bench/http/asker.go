package main

import (
	"bytes"
	"fmt"
	"math"
	"net"
	"runtime/debug"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// asker is an open-loop client, and the upstream that the proxy asks for it. Requests are
// due at even intervals, whatever became of those before. Each goes out on the connection
// that has been free for longest, or waits for one; its time runs from when it was due.
//
// It is one thread that waits for nothing but the kernel, and looks at the clock between
// any two events: with a client and an upstream that share a processor, what queues is
// now and then one of the two for the other, and not the proxy's work. It tells Go's
// runtime of no system call and collects no garbage, both of which want other threads.
type asker struct {
	poll, listener int
	clients        [maxFDs]bool      // connections to the proxy; all others come from it
	free           [latencyConns]int // those that have no request, from first on in a circle, longest free first
	first, nFree   int
	sent           [maxFDs]time.Time // when the request of a connection was due
	begun          [maxFDs]bool      // its answer has come, but for the end
	next, end      time.Time         // when the next request is due, and none any more
	from           time.Time         // requests that are due before do not count
	interval       time.Duration
	due            []time.Time // of requests that no connection was free for
	waiting        int         // requests without an answer
	took           []float64   // ms
	late           []float64   // ms from when a request was due and a connection free to when it was sent
	buf            [16 << 10]byte
}

const (
	maxFDs = 4096
	warmUp = 300 * time.Millisecond // in which connections are opened, on both sides of the proxy
)

// measureLatency asks at a rate and prints what a latency has, in its order.
func measureLatency(addr, upstream string, rate float64, length time.Duration) error {
	debug.SetGCPercent(-1)
	n := int(rate*(warmUp+length).Seconds()) + 1
	a := &asker{took: make([]float64, 0, n), late: make([]float64, 0, n), due: make([]time.Time, 0, n), interval: time.Duration(float64(time.Second) / rate)}
	var err error
	if a.poll, err = unix.EpollCreate1(0); err != nil {
		return fmt.Errorf("create epoll: %w", err)
	}
	if err := a.listen(upstream); err != nil {
		return err
	}
	for range latencyConns {
		if err := a.open(addr); err != nil {
			return err
		}
	}
	a.next = time.Now()
	a.from = a.next.Add(warmUp)
	a.end = a.from.Add(length)
	if err := a.run(); err != nil {
		return err
	}
	if len(a.took) == 0 {
		return fmt.Errorf("no answer from %s", addr)
	}
	took := time.Since(a.from).Seconds()
	slices.Sort(a.took)
	slices.Sort(a.late)
	late := 0.0
	if n := len(a.late); n > 0 {
		late = a.late[n*99/100]
	}
	n = len(a.took)
	fmt.Println(a.took[n/2], a.took[n*99/100], float64(n)/took, late, a.took[n*9/10], a.took[n*999/1000])
	return nil
}

func sockaddr(addr string) (*unix.SockaddrInet4, error) {
	to, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return nil, err
	}
	return &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}, nil
}

func socket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open socket: %w", err)
	}
	if fd >= maxFDs {
		return 0, fmt.Errorf("open socket: more than %d", maxFDs)
	}
	return fd, nil
}

// listen is the upstream.
func (a *asker) listen(addr string) (err error) {
	at, err := sockaddr(addr)
	if err != nil {
		return err
	}
	if a.listener, err = socket(); err != nil {
		return err
	}
	_ = unix.SetsockoptInt(a.listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err := unix.Bind(a.listener, at); err != nil {
		return fmt.Errorf("listen at %s: %w", addr, err)
	}
	if err := unix.Listen(a.listener, 1024); err != nil {
		return fmt.Errorf("listen at %s: %w", addr, err)
	}
	return a.watch(a.listener)
}

// watch makes a socket non-blocking, and waits for it.
func (a *asker) watch(fd int) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	if err := unix.EpollCtl(a.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
		return fmt.Errorf("watch connection: %w", err)
	}
	return nil
}

// open makes a connection to the proxy, which is never closed.
func (a *asker) open(addr string) error {
	to, err := sockaddr(addr)
	if err != nil {
		return err
	}
	fd, err := socket()
	if err != nil {
		return err
	}
	if err := unix.Connect(fd, to); err != nil {
		return fmt.Errorf("connect to %s: %w", addr, err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	a.clients[fd] = true
	a.give(fd)
	return a.watch(fd)
}

// give takes note that a connection is free.
func (a *asker) give(fd int) {
	a.free[(a.first+a.nFree)%len(a.free)] = fd
	a.nFree++
}

// run asks until end, and then waits for the last answers.
func (a *asker) run() error {
	events := make([]unix.EpollEvent, latencyConns)
	for {
		now, err := a.ask()
		if err != nil {
			return err
		}
		asking := a.next.Before(a.end)
		if !asking && a.waiting == 0 && len(a.due) == 0 {
			return nil
		}
		if now.Sub(a.end) > 10*time.Second {
			return fmt.Errorf("%d requests have no answer after ten seconds", a.waiting+len(a.due))
		}
		pause := 100 * time.Millisecond
		if asking {
			pause = max(0, time.Until(a.next))
		}
		n, err := wait(a.poll, events, pause)
		if err != nil {
			return err
		}
		for _, e := range events[:n] {
			if err := a.serve(int(e.Fd)); err != nil {
				return err
			}
			if _, err := a.ask(); err != nil {
				return err
			}
		}
	}
}

func (a *asker) serve(fd int) error {
	switch {
	case fd == a.listener:
		return a.accept()
	case a.clients[fd]:
		return a.read(fd)
	}
	return a.reply(fd)
}

func (a *asker) accept() error {
	fd, _, err := unix.Accept4(a.listener, unix.SOCK_CLOEXEC)
	if err != nil {
		return fmt.Errorf("accept connection: %w", err)
	}
	if fd >= maxFDs {
		return fmt.Errorf("accept connection: more than %d", maxFDs)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	return a.watch(fd)
}

const small = "a small answer of an ordinary kind\n"

var (
	question = []byte("GET /small HTTP/1.1\r\nHost: h0.example\r\n\r\n")
	answer   = fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nServer: upstream\r\nDate: Mon, 30 Nov 2026 12:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n%s", len(small), small)
)

// reply answers a request of the proxy.
func (a *asker) reply(fd int) error {
	n, err := receive(fd, a.buf[:])
	if again(err) {
		return nil
	}
	if n <= 0 {
		return unix.Close(fd) // the proxy has no use for it
	}
	if !bytes.HasSuffix(a.buf[:n], []byte("\r\n\r\n")) {
		return fmt.Errorf("half a request of the proxy: %s", a.buf[:n])
	}
	return send(fd, answer)
}

// ask sends what is due on what is free.
func (a *asker) ask() (now time.Time, err error) {
	now = time.Now()
	for ; a.next.Before(a.end) && !a.next.After(now); a.next = a.next.Add(a.interval) {
		a.due = append(a.due, a.next)
	}
	for len(a.due) > 0 && a.nFree > 0 {
		fd, due := a.free[a.first], a.due[0]
		a.first, a.nFree, a.due = (a.first+1)%len(a.free), a.nFree-1, a.due[1:]
		if err := send(fd, question); err != nil {
			return now, err
		}
		a.sent[fd], a.begun[fd] = due, false
		a.waiting++
		if a.nFree > 0 && !due.Before(a.from) { // else the connections are what it waited for
			a.late = append(a.late, milliseconds(time.Since(due)))
		}
	}
	return now, nil
}

func (a *asker) read(fd int) error {
	n, err := receive(fd, a.buf[:])
	if again(err) {
		return nil
	}
	if n <= 0 {
		return fmt.Errorf("read answer: connection closed, %v", err)
	}
	if !a.begun[fd] && !bytes.HasPrefix(a.buf[:n], []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("answer of the proxy: %s", a.buf[:n])
	}
	if a.begun[fd] = true; !bytes.HasSuffix(a.buf[:n], []byte("kind\n")) {
		return nil
	}
	if due := a.sent[fd]; !due.Before(a.from) {
		a.took = append(a.took, milliseconds(time.Since(due)))
	}
	a.waiting--
	a.give(fd)
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func again(err error) bool { return err == syscall.EAGAIN || err == syscall.EINTR }

func receive(fd int, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func send(fd int, b []byte) error {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), syscall.MSG_NOSIGNAL, 0, 0)
	if errno != 0 || int(n) != len(b) {
		return fmt.Errorf("send %d of %d octets: %w", int(n), len(b), errno)
	}
	return nil
}

// wait waits for events for as long as the clock can be read: the milliseconds of
// epoll_wait are more than the time between two requests.
func wait(poll int, events []unix.EpollEvent, d time.Duration) (int, error) {
	const epollPwait2 = 441 // on all architectures
	t := unix.NsecToTimespec(min(int64(d), math.MaxInt32))
	n, _, err := syscall.RawSyscall6(epollPwait2, uintptr(poll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(unsafe.Pointer(&t)), 0, 0)
	if err == unix.EINTR {
		return 0, nil
	}
	if err != 0 {
		return 0, fmt.Errorf("wait for answers: %w", err)
	}
	return int(n), nil
}
