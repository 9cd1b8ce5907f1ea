package dns

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
)

// dying names the variables that make the test program a server which is there
// to be killed: what it listens on and its keeper.
const dying = "FAIRWAY_TEST_DYING"

func TestMain(m *testing.M) {
	if v := os.Getenv(dying); v != "" {
		serveToDie(strings.Fields(v))
		return
	}
	os.Exit(m.Run())
}

func serveToDie(args []string) {
	s, err := New(Options{Zone: fill(&testing.T{}, cluster()), Upstream: none, Listen: []netip.AddrPort{netip.MustParseAddrPort(args[0])}, Keeper: args[1], Name: "ns/server", Log: quiet()})
	if err == nil {
		fmt.Println("ready")
		err = s.Serve(context.Background(), 0)
	}
	fmt.Println(err)
}

// mortal is a server in a process of its own.
type mortal struct {
	t    *testing.T
	args string
	cmd  *exec.Cmd
}

func (m *mortal) start() {
	m.t.Helper()
	m.cmd = exec.Command(os.Args[0])
	m.cmd.Env = append(os.Environ(), dying+"="+m.args)
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, _ := out.Read(buf)
	if string(buf[:n]) != "ready\n" {
		m.t.Fatalf("the server says %q", buf[:n])
	}
}

func (m *mortal) kill() {
	m.cmd.Process.Kill()
	m.cmd.Wait()
}

// steady asks the server at to over one socket, each question once.
type steady struct {
	conn            *net.UDPConn
	asked, answered atomic.Int64
	wg              sync.WaitGroup
}

func startSteady(ctx context.Context, t *testing.T, to netip.AddrPort, rate int) *steady {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadBuffer(4 << 20)
	s := &steady{conn: conn}
	q, err := new(mdns.Msg).SetQuestion("web.default.svc.cluster.local.", mdns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	var got [1 << 16]atomic.Bool
	s.wg.Go(func() {
		buf := make([]byte, 1500)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			if n > 12 && buf[3]&15 == 0 && buf[7] == 1 && !got[binary.BigEndian.Uint16(buf)].Swap(true) {
				s.answered.Add(1)
			}
		}
	})
	s.wg.Go(func() {
		start, n := time.Now(), 0
		for ctx.Err() == nil {
			for due := int(time.Since(start).Seconds() * float64(rate)); n < due; n++ {
				binary.BigEndian.PutUint16(q, uint16(n))
				got[uint16(n)].Store(false)
				conn.WriteToUDPAddrPort(q, to)
				s.asked.Add(1)
			}
			time.Sleep(time.Millisecond)
		}
		conn.SetReadDeadline(time.Now().Add(3 * time.Second))
	})
	return s
}

// serveKeeper lets k serve until the test ends, and returns where.
func serveKeeper(t *testing.T, k *Keeper) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "keeper.sock")
	l, err := k.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	go k.Serve(t.Context(), l)
	return path
}

// TestKeeper kills a server with -9 again and again under questions that are
// asked once each, and lets it be away for a while. Another server answers
// meanwhile; nothing is lost but what the server had read and not yet answered.
func TestKeeper(t *testing.T) {
	other := start(t, Options{Zone: fill(t, cluster()), Upstream: none})
	var others atomic.Pointer[[]netip.AddrPort]
	others.Store(&[]netip.AddrPort{other})
	k := &Keeper{Others: func() []netip.AddrPort { return *others.Load() }, Exists: func(string) bool { return true }, Log: quiet()}
	path := serveKeeper(t, k)

	addr := freePort(t)
	m := &mortal{t: t, args: addr.String() + " " + path}
	m.start()
	defer func() { m.kill() }()
	kept := func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		e := k.kept["ns/server"]
		return e != nil && e.relay == nil
	}
	// deaths under questions: the server is killed, away for a while, and started again.
	deaths := func(what string, rate, n int, away time.Duration) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		s := startSteady(ctx, t, addr, rate)
		for range n {
			eventually(t, "sockets are kept", kept)
			time.Sleep(300 * time.Millisecond)
			m.kill()
			time.Sleep(away)
			m.start()
		}
		time.Sleep(300 * time.Millisecond)
		stop()
		s.wg.Wait()
		asked, lost := s.asked.Load(), s.asked.Load()-s.answered.Load()
		t.Logf("%s: %d questions, %d lost in %d deaths, %d answered by others so far", what, asked, lost, n, k.Relayed.Load())
		// What a server has read and not yet answered when it dies is a batch at most (a death without a keeper costs hundreds), and nearly always nothing.
		if lost > int64(n*batch) || asked < int64(rate) {
			t.Errorf("%s: %d of %d questions lost in %d deaths", what, lost, asked, n)
		}
	}
	deaths("another server", 2000, 5, 200*time.Millisecond)
	if k.Relayed.Load() < 400 {
		t.Errorf("others answered %d questions only", k.Relayed.Load())
	}
	eventually(t, "sockets are kept", kept)
	m.kill()
	eventually(t, "the keeper stands in", func() bool { return k.count("ns/server") > 0 })
	c := &mdns.Client{Net: "tcp", Timeout: 2 * time.Second}
	if r, _, err := c.Exchange(new(mdns.Msg).SetQuestion("web.default.svc.cluster.local.", mdns.TypeA), addr.String()); err != nil || len(r.Answer) != 1 {
		t.Errorf("over TCP: %v, %v", r, err)
	}
	m.start()
	others.Store(&[]netip.AddrPort{})
	deaths("no other server: questions wait for the next one", 200, 2, 500*time.Millisecond)
	if k.Lost.Load() > 0 {
		t.Errorf("others did not answer %d", k.Lost.Load())
	}
}

// TestKeeperHung: others answer for a server that does not run, too, after a second
// and until it runs again, and no question is lost.
func TestKeeperHung(t *testing.T) {
	other := start(t, Options{Zone: fill(t, cluster()), Upstream: none})
	k := &Keeper{Others: func() []netip.AddrPort { return []netip.AddrPort{other} }, Exists: func(string) bool { return true }, Log: quiet()}
	path := serveKeeper(t, k)
	addr := freePort(t)
	m := &mortal{t: t, args: addr.String() + " " + path}
	m.start()
	defer func() { m.kill() }()
	in := func(relayed bool) func() bool {
		return func() bool {
			k.mu.Lock()
			defer k.mu.Unlock()
			e := k.kept["ns/server"]
			return e != nil && (e.relay != nil) == relayed
		}
	}
	eventually(t, "sockets are kept", in(false))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	s := startSteady(ctx, t, addr, 300)
	for range 2 {
		time.Sleep(2 * aliveEvery)
		before := k.Relayed.Load()
		m.cmd.Process.Signal(syscall.SIGSTOP)
		eventually(t, "the keeper stands in", in(true))
		eventually(t, "others have answered", func() bool { return k.Relayed.Load() > before+100 })
		m.cmd.Process.Signal(syscall.SIGCONT)
		eventually(t, "the server answers again", in(false))
	}
	stop()
	s.wg.Wait()
	if asked, answered := s.asked.Load(), s.answered.Load(); asked != answered {
		t.Errorf("%d of %d questions lost", asked-answered, asked)
	}
}

// TestKeeperForgets: what belonged to a server that will not come again is let go.
func TestKeeperForgets(t *testing.T) {
	var exists atomic.Bool
	exists.Store(true)
	k := &Keeper{Others: func() []netip.AddrPort { return nil }, Exists: func(string) bool { return exists.Load() }, Log: quiet()}
	path := serveKeeper(t, k)
	ctx, end := context.WithCancel(t.Context())
	s, err := New(Options{Zone: fill(t, cluster()), Upstream: none, Listen: loopback(), Keeper: path, Name: "ns/server", Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	addr := s.Addrs()[0]
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, 0) }()
	held := func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.kept["ns/server"] != nil
	}
	eventually(t, "sockets are kept", held)
	end()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	eventually(t, "the keeper stands in", func() bool { return k.count("ns/server") > 0 })
	if l, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(addr)); err == nil {
		l.Close()
		t.Error("nobody has the port any more")
	}
	exists.Store(false)
	eventually(t, "forgotten", func() bool { return !held() })
	eventually(t, "the port is free", func() bool {
		l, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(addr))
		if err == nil {
			l.Close()
		}
		return err == nil
	})
}

// freePort is one that is free for UDP and for TCP.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	for {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if l, err := net.Listen("tcp", c.LocalAddr().String()); err == nil {
			l.Close()
			return c.LocalAddr().(*net.UDPAddr).AddrPort()
		}
	}
}

// eventually waits for what others bring about.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}
