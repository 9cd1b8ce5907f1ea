package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// result is what a client has measured of the same thing done directly and via
// the Service, in turns: others on the machine then disturb both alike.
type result struct {
	Direct, Via float64 // per second; Direct is 0 for a client from outside
}

// share is the speed via the Service in terms of the direct one.
func (r result) share() float64 { return r.Via / r.Direct }

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
		return c.single(4000, c.connect)
	case "udp":
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return result{}, err
		}
		defer unix.Close(fd)
		return c.single(8000, func(w way) error { return c.datagram(fd, w) })
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
	return result{1 / took[direct][each/2].Seconds(), 1 / took[via][each/2].Seconds()}, nil
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

// blocks runs do for a while in each way in turn; do returns what it got done
// per second. The medians count. From outside there is one way only.
func (c client) blocks(n int, do func(way) (float64, error)) (result, error) {
	var got [2][]float64
	for turn := range n {
		for j := range 2 {
			w := way((turn + j) % 2)
			if c.nodePort {
				w = via
			}
			v, err := do(w)
			if err != nil {
				return result{}, err
			}
			got[w] = append(got[w], v)
		}
	}
	for w := range got {
		slices.Sort(got[w])
	}
	if c.nodePort {
		return result{Via: got[via][n]}, nil
	}
	return result{got[direct][n/2], got[via][n/2]}, nil
}

// connections is how many connections with a request four clients at once get done.
func (c client) connections() (result, error) {
	const together, while = 4, 250 * time.Millisecond
	return c.blocks(6, func(w way) (float64, error) {
		var done [together]int
		var errs [together]error
		var all sync.WaitGroup
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
		took, sum := time.Since(start), 0
		for _, n := range done {
			sum += n
		}
		return float64(sum) / took.Seconds(), errors.Join(errs[:]...)
	})
}

// keepAlive is how many requests sixteen open connections answer, one after the other.
func (c client) keepAlive() (result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const conns, while = 16, 60 * time.Millisecond
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
	return c.blocks(15, func(w way) (float64, error) {
		b, start, n := make([]byte, 1), time.Now(), 0
		for ; time.Since(start) < while; n++ {
			fd := open[w][n%conns]
			if _, err := unix.Write(fd, b); err != nil {
				return 0, err
			}
			if m, err := unix.Read(fd, b); m != 1 {
				return 0, errors.Join(err, errors.New("a connection ended"))
			}
		}
		return float64(n) / time.Since(start).Seconds(), nil
	})
}

// bulk is how many bytes one connection brings.
func (c client) bulk() (result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const while = 120 * time.Millisecond
	buf := make([]byte, 1<<18)
	return c.blocks(7, func(w way) (float64, error) {
		fd, err := c.open(w, askBulk)
		if err != nil {
			return 0, err
		}
		defer unix.Close(fd)
		read := func(while time.Duration) (sum int, took time.Duration, err error) {
			for start := time.Now(); ; {
				n, err := unix.Read(fd, buf)
				if took = time.Since(start); n <= 0 || took > while {
					return sum + n, took, err
				}
				sum += n
			}
		}
		if _, _, err := read(30 * time.Millisecond); err != nil { // until the window is open
			return 0, err
		}
		sum, took, err := read(while)
		return float64(sum) / took.Seconds(), err
	})
}
