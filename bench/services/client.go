package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// result is what a client has measured of the same thing done directly and via
// the Service, in turns: others on the machine then disturb both alike.
type result struct {
	Via         float64 // per second
	Share       float64 // of what is done directly in the same time
	ViaPerCPU   float64 // per second of processor time, of both ends; 0: not measured
	SharePerCPU float64
}

// way is one way to an endpoint.
type way int

const (
	direct way = iota
	via
)

// client measures one figure from the namespace that it is in, to the Services
// first, first+step, … below n. Its sockets are plain and blocking: what is
// measured is the path, not a runtime's poller.
type client struct {
	n, first, step int
	nodePort       bool // via is the node's port of Service first
	server         int  // process of the endpoints, whose processor time counts as well
}

// target is where to go; the Service is any, the endpoint any of its own.
func (c client) target(w way) *unix.SockaddrInet4 {
	i := c.first + c.step*rand.IntN((c.n-c.first-1)/c.step+1)
	switch {
	case w == direct:
		k := rand.IntN(perService)
		if i == 0 { // it has one endpoint at a time
			i = c.step
		}
		if c.nodePort { // others on the same node, for no client has one port for both ways to one endpoint
			i = c.first + 2
		}
		return sockaddr(endpoint(i, k), port)
	case c.nodePort:
		return sockaddr(netip.MustParseAddr(nodeIP), int(nodePortOf(c.first)))
	}
	return sockaddr(clusterIP(i), 80)
}

func sockaddr(a netip.Addr, port int) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
}

// measure measures a figure.
func (c client) measure(figure string) (result, error) {
	switch figure {
	case "connect":
		return c.single(3000, c.connect)
	case "udp":
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return result{}, err
		}
		defer unix.Close(fd)
		return c.single(5000, func(w way) error { return c.datagram(fd, w) })
	case "connections":
		return c.connections()
	case "keepalive":
		return c.keepAlive()
	case "bulk":
		return c.bulk()
	}
	return result{}, fmt.Errorf("no figure %q", figure)
}

// single times single operations and takes their medians.
func (c client) single(each int, do func(way) error) (result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var took [2][]time.Duration
	for turn := range each {
		for j := range 2 {
			w := way((turn + j) % 2)
			start := time.Now()
			if err := do(w); err != nil {
				return result{}, err
			}
			took[w] = append(took[w], time.Since(start))
		}
	}
	slices.Sort(took[0])
	slices.Sort(took[1])
	d, v := took[direct][each/2], took[via][each/2]
	return result{Via: 1 / v.Seconds(), Share: d.Seconds() / v.Seconds()}, nil
}

// open connects and says what it wants.
func (c client) open(w way, ask byte) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	patience := unix.Timeval{Sec: 5}
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience), unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	to := c.target(w)
	if err == nil {
		if err = unix.Connect(fd, to); err != nil {
			err = fmt.Errorf("connect to %v:%d: %w", netip.AddrFrom4(to.Addr), to.Port, err)
		}
	}
	if err == nil {
		_, err = unix.Write(fd, []byte{ask})
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// connect is connect, one request, its answer, and the end.
func (c client) connect(w way) error {
	fd, err := c.open(w, askWho)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var buf [64]byte
	for {
		if n, err := unix.Read(fd, buf[:]); n <= 0 {
			return err
		}
	}
}

// datagram asks by UDP from a socket that is not connected, as resolvers do.
func (c client) datagram(fd int, w way) error {
	to := c.target(w)
	if err := unix.Sendto(fd, []byte("x"), 0, to); err != nil {
		return err
	}
	set := unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	if n, err := unix.Poll([]unix.PollFd{set}, 5000); n != 1 {
		return fmt.Errorf("no answer from %v:%d by UDP: %w", netip.AddrFrom4(to.Addr), to.Port, errors.Join(err, unix.ETIMEDOUT))
	}
	_, _, err := unix.Recvfrom(fd, make([]byte, 8), 0)
	return err
}

// amount is what a block got done.
type amount struct {
	done float64
	took time.Duration
	cpu  time.Duration
}

func (a amount) rate() float64   { return a.done / a.took.Seconds() }
func (a amount) perCPU() float64 { return a.done / a.cpu.Seconds() }

// blocks runs do for a while in each way in turn. The medians count: of blocks,
// and of the ratios of two that follow each other.
func (c client) blocks(n int, do func(way) (amount, error)) (result, error) {
	var rate, share, perCPU, sharePerCPU []float64
	for turn := range n {
		var got [2]amount
		for j := range 2 {
			w := way((turn + j) % 2)
			var err error
			if got[w], err = do(w); err != nil {
				return result{}, err
			}
		}
		rate, share = append(rate, got[via].rate()), append(share, got[via].rate()/got[direct].rate())
		perCPU, sharePerCPU = append(perCPU, got[via].perCPU()), append(sharePerCPU, got[via].perCPU()/got[direct].perCPU())
	}
	return result{median(rate), median(share), median(perCPU), median(sharePerCPU)}, nil
}

func median(v []float64) float64 {
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// watch returns a function that says what has been done, and how long it took of
// time and of both processes' processor time.
func (c client) watch() func(done int) amount {
	start, cpu := time.Now(), cpuTime(os.Getpid())+cpuTime(c.server)
	return func(done int) amount {
		return amount{float64(done), time.Since(start), cpuTime(os.Getpid()) + cpuTime(c.server) - cpu}
	}
}

// cpuTime is the processor time of a process until now, user and kernel; 0 if
// there is none. What packets cost is part of it: veth devices hand them on in
// the context of who sends.
func cpuTime(pid int) time.Duration {
	const schedClock = 2 // CPUCLOCK_SCHED of the kernel
	var ts unix.Timespec
	if pid == 0 || unix.ClockGettime(int32(^pid<<3|schedClock), &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// connections is how many connections with a request four clients at once get done.
func (c client) connections() (result, error) {
	const together, while = acceptors, 150 * time.Millisecond
	return c.blocks(2, func(w way) (amount, error) {
		var done [together]int
		var errs [together]error
		var all sync.WaitGroup
		ended := c.watch()
		start := time.Now()
		for i := range together {
			all.Go(func() {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				for time.Since(start) < while && errs[i] == nil {
					errs[i] = c.connect(w)
					done[i]++
				}
			})
		}
		all.Wait()
		sum := 0
		for _, n := range done {
			sum += n
		}
		return ended(sum), errors.Join(errs[:]...)
	})
}

// keepAlive is how many requests sixteen open connections answer, one after the other.
func (c client) keepAlive() (result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const conns, while = 16, 40 * time.Millisecond
	var open [2][]int
	for w := range open {
		for range conns {
			fd, err := c.open(way(w), askEcho)
			if err != nil {
				return result{}, err
			}
			defer unix.Close(fd)
			open[w] = append(open[w], fd)
		}
	}
	return c.blocks(24, func(w way) (amount, error) {
		b, n, start, ended := make([]byte, 1), 0, time.Now(), c.watch()
		for ; time.Since(start) < while; n++ {
			fd := open[w][n%conns]
			if _, err := unix.Write(fd, b); err != nil {
				return amount{}, err
			}
			if m, err := unix.Read(fd, b); m != 1 {
				return amount{}, errors.Join(err, errors.New("a connection ended"))
			}
		}
		return ended(n), nil
	})
}

// bulk is how many bytes one connection brings: many short blocks, for two
// processors that client, server and kernel share make single ones differ by half.
func (c client) bulk() (result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	n := 24
	if c.nodePort { // it takes several turns
		n = 4
	}
	buf := make([]byte, 1<<18)
	return c.blocks(n, func(w way) (amount, error) {
		fd, err := c.open(w, askBulk)
		if err != nil {
			return amount{}, err
		}
		defer unix.Close(fd)
		read := func(while time.Duration) (amount, error) {
			sum, start, ended := 0, time.Now(), c.watch()
			for time.Since(start) < while {
				n, err := unix.Read(fd, buf)
				if n <= 0 {
					return amount{}, errors.Join(err, errors.New("a connection ended"))
				}
				sum += n
			}
			return ended(sum), nil
		}
		if _, err := read(15 * time.Millisecond); err != nil { // until the window is open
			return amount{}, err
		}
		return read(50 * time.Millisecond)
	})
}
