package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/sock"
)

// layer4Key is what a listener is known by.
type layer4Key struct {
	udp  bool
	port uint16
}

// layer4 is a listener for what is passed on as it is. What it is for may change
// while it is open.
type layer4 struct {
	server *Server
	stream atomic.Pointer[route.Stream]
	tcp    *net.TCPListener // nil: UDP
	close  func() error
}

// applyStreams opens and closes listeners, so that there are those of want.
// Connections that are open stay. Runs under s.mu.
func (s *Server) applyStreams(want []route.Stream) {
	keep := map[layer4Key]bool{}
	for i := range want {
		st := &want[i]
		key := layer4Key{st.UDP, st.Port}
		keep[key] = true
		if l := s.layer4[key]; l != nil {
			l.stream.Store(st)
			continue
		}
		l := &layer4{server: s}
		l.stream.Store(st)
		if err := l.open(); err != nil {
			s.opts.Log.Error("listen", "port", st.Port, "udp", st.UDP, "err", err)
			continue // the next plan tries again
		}
		s.layer4[key] = l
	}
	for key, l := range s.layer4 {
		if !keep[key] {
			_ = l.close()
			delete(s.layer4, key)
		}
	}
}

func (l *layer4) open() error {
	st := l.stream.Load()
	addr := fmt.Sprintf(":%d", st.Port)
	if l.server.opts.StreamAddr != nil {
		addr = l.server.opts.StreamAddr(st.Port)
	}
	if st.UDP {
		c, err := listenPacket(addr, takeAll())
		if err != nil {
			return err
		}
		d := &datagrams{layer4: l, conn: c, flows: map[netip.AddrPort]*flow{}}
		l.close = d.end
		go d.serve()
		return nil
	}
	var err error
	if l.tcp, err = listen(addr); err != nil {
		return err
	}
	l.close = l.tcp.Close
	l.server.accepts.Go(l.accept)
	return nil
}

func (l *layer4) accept() {
	for {
		c, err := l.tcp.AcceptTCP()
		switch {
		case err == nil && !l.server.room():
			_ = c.Close()
		case err == nil:
			l.server.arriving.Add(1)
			go l.serve(c)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			time.Sleep(10 * time.Millisecond) // out of descriptors, most likely
		}
	}
}

// serve connects a client with an endpoint.
func (l *layer4) serve(c *net.TCPConn) {
	defer l.server.arriving.Add(-1)
	defer l.server.conns.Add(-1)
	st := l.stream.Load()
	from, to := addrPort(c.RemoteAddr()), addrPort(c.LocalAddr())
	if st.ReadProxy {
		said, err := readPreamble(c, l.server.live.Load().clients.Preamble)
		if err != nil {
			_ = c.Close()
			return
		}
		if !said.local {
			from, to = said.from, said.to
		}
	}
	l.server.splice(c, st, from, to)
}

// splice passes a connection on to an endpoint of a backend as it is, and closes it.
func (s *Server) splice(c *net.TCPConn, st *route.Stream, from, at netip.AddrPort) {
	s.active.Add(1)
	defer s.active.Add(-1)
	defer c.Close()
	var tried []*endpoint
	for begun := time.Now(); (st.Tries == 0 || len(tried) < st.Tries) && (st.Within == 0 || time.Since(begun) < st.Within); {
		pool := s.live.Load().pools.Get(st.Backend)
		if pool == nil {
			return
		}
		e := pool.seize(tried, wish{single: true})
		if e == nil {
			return
		}
		tried = append(tried, e)
		up, err := e.dial(kind{}, nil, patience, nil)
		if err != nil {
			e.failed(time.Now())
			e.release()
			continue
		}
		e.succeeded()
		if st.SendProxy > 0 {
			_, _ = up.Write(appendPreamble(nil, st.SendProxy, from, at))
		}
		bare := sock.Bare(up).(*net.TCPConn)
		done := watchSilence(st.Timeout, c, bare)
		relayHalves(c, bare)
		done()
		e.release()
		return
	}
}

// watchSilence closes connections when nothing has come or gone on any of them for a while.
// The kernel knows since when: the octets that it moves from one to the other (splice(2))
// do not pass through us.
func watchSilence(most time.Duration, conns ...*net.TCPConn) (done func()) {
	if most <= 0 {
		return func() {}
	}
	var timer *time.Timer
	var mu sync.Mutex
	ended := false
	look := func() {
		left := time.Duration(0)
		for _, c := range conns { // any that is not silent keeps all
			left = max(left, most-silence(c))
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case ended:
		case left > 0:
			timer.Reset(left + 10*time.Millisecond)
		default:
			for _, c := range conns {
				_ = c.Close()
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(most, look)
	return func() {
		mu.Lock()
		defer mu.Unlock()
		ended = true
		timer.Stop()
	}
}

// silence is how long ago the last octet came or went; 0 if that cannot be said.
func silence(c *net.TCPConn) (d time.Duration) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			d = time.Duration(min(info.Last_data_recv, info.Last_data_sent)) * time.Millisecond
		}
	})
	return d
}

// relayHalves moves octets both ways. The end of one direction is passed on as such, and
// the other goes on.
func relayHalves(a, b *net.TCPConn) {
	var wg sync.WaitGroup
	one := func(to, from *net.TCPConn) {
		if _, err := io.Copy(to, from); err != nil {
			_ = to.Close()
			_ = from.Close()
			return
		}
		_ = to.CloseWrite()
	}
	wg.Go(func() { one(a, b) })
	one(b, a)
	wg.Wait()
	_ = a.Close()
	_ = b.Close()
}

func addrPort(a net.Addr) netip.AddrPort {
	p, _ := netip.ParseAddrPort(a.String())
	return p
}

// maxFlows is how many flows a port may have.
const maxFlows = 16 << 10

// datagrams is a UDP port: each client has an endpoint for as long as it talks.
type datagrams struct {
	*layer4
	conn *net.UDPConn

	mu    sync.Mutex
	flows map[netip.AddrPort]*flow
}

type flow struct {
	up   *net.UDPConn
	last atomic.Int64 // Unix nanoseconds
	owed int          // answers still to come, if it is known how many a datagram has; guarded by datagrams.mu
}

func (f *flow) take(st *route.Stream) {
	f.last.Store(time.Now().UnixNano())
	f.owed += st.Responses
}

func (d *datagrams) end() error {
	err := d.conn.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.flows {
		_ = f.up.Close()
	}
	return err
}

func (d *datagrams) serve() {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := d.conn.ReadFromUDPAddrPort(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			continue
		}
		if f := d.flow(from); f != nil {
			_, _ = f.up.Write(buf[:n])
		}
	}
}

// flow is the one that a client has, or a new one, for one more datagram. Its endpoint
// changes when it has left, or has answered as often as it does.
func (d *datagrams) flow(from netip.AddrPort) *flow {
	d.mu.Lock()
	defer d.mu.Unlock()
	st := d.stream.Load()
	if f := d.flows[from]; f != nil {
		f.take(st)
		return f
	}
	pool := d.server.live.Load().pools.Get(st.Backend)
	if pool == nil || len(d.flows) >= maxFlows {
		return nil
	}
	e := pool.choose(nil, wish{}, time.Now())
	if e == nil {
		return nil
	}
	up, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(e.key.addr))
	if err != nil {
		return nil
	}
	f := &flow{up: up}
	f.take(st)
	d.flows[from] = f
	e.acquire()
	go func() {
		defer e.release()
		d.answers(from, f, e)
	}()
	return f
}

// answers takes what the endpoint says back to the client.
func (d *datagrams) answers(to netip.AddrPort, f *flow, e *endpoint) {
	defer f.up.Close()
	forget := func(stays func() bool) bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		if stays() {
			return false
		}
		delete(d.flows, to)
		return true
	}
	leaves := func() bool { return false }
	buf := make([]byte, 64<<10)
	for {
		st := d.stream.Load()
		_ = f.up.SetReadDeadline(time.Now().Add(time.Second))
		n, err := f.up.Read(buf)
		switch {
		case n > 0:
			f.last.Store(time.Now().UnixNano())
			_, _ = d.conn.WriteToUDPAddrPort(buf[:n], to)
			if st.Responses > 0 && forget(func() bool { f.owed--; return f.owed > 0 }) {
				return
			}
		case !errors.Is(err, os.ErrDeadlineExceeded), e.gone.Load(), st.Timeout > 0 && time.Since(time.Unix(0, f.last.Load())) > st.Timeout:
			forget(leaves)
			return
		}
	}
}
