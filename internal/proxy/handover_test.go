package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/state"
)

// asGateway makes this program a gateway: "ADDRESS BACKEND".
const asGateway = "FAIRWAY_TEST_GATEWAY"

func TestMain(m *testing.M) {
	if what := os.Getenv(asGateway); what != "" {
		if err := beGateway(strings.Fields(what)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	if what := os.Getenv(asCrowd); what != "" {
		if err := beCrowd(strings.Fields(what)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func beGateway(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	s, err := New(Options{Listen: map[string]string{"http": args[0]}, Drain: 10 * time.Second, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	store := state.New()
	store.Update(func(tx *state.Tx) {
		tx.Set(service("a"))
		tx.Set(slice("a", netip.MustParseAddrPort(args[1])))
		tx.Set(ingress("i", "", "/ a"))
	})
	w := store.Watch()
	defer w.Close()
	snap, _ := w.Take()
	s.Apply(route.Make(snap, route.Params{}, time.Now()))
	if err := s.Open(); err != nil {
		return err
	}
	fmt.Println("ready")
	return s.Run(ctx)
}

// startGateway starts a process and waits until it listens.
func startGateway(t *testing.T, addr string, backend netip.AddrPort) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s", asGateway, addr, backend))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("gateway says %q, %v", line, err)
	}
	return cmd
}

// TestDivert has two listeners of one port, as two processes would, and sees whom
// new connections come to.
func TestDivert(t *testing.T) {
	older, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer older.Close()
	younger, err := listen(older.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer younger.Close()
	var log strings.Builder
	s := &Server{opts: Options{Log: slog.New(slog.NewTextHandler(&log, nil))}}
	s.divert([]*net.TCPListener{older})
	call := func(n int) {
		for range n {
			c, err := net.Dial("tcp", older.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
		}
	}
	see := func(l *net.TCPListener, want uint32) {
		t.Helper()
		// The last octet of a handshake may still be on its way into the queue.
		n, err := queued(l)
		for until := time.Now().Add(5 * time.Second); err == nil && n != want && time.Now().Before(until); n, err = queued(l) {
			time.Sleep(time.Millisecond)
		}
		if n != want || err != nil {
			t.Errorf("%d connections in the queue, want %d; %v", n, want, err)
		}
	}
	call(50)
	see(younger, 50)
	see(older, 0)
	older.Close()
	call(10) // the younger one is the only one now, and not the second
	see(younger, 60)
	if log.Len() > 0 {
		t.Error(log.String())
	}
}

// TestHandover replaces the process three times under load: new connections, and
// connections that are kept.
func TestHandover(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	backend := (&world{t: t}).backendFunc(func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, "ok") })
	old := startGateway(t, addr, backend)
	var asked, failed atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i := range 12 {
		c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: i%3 != 0, DisableCompression: true}}
		wg.Go(func() {
			for ctx.Err() == nil {
				resp, err := c.Get("http://" + addr + "/")
				if asked.Add(1); err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				if err != nil || resp.StatusCode != 200 {
					failed.Add(1)
					t.Errorf("request %d: %v", asked.Load(), err)
				}
			}
		})
	}
	for range 3 {
		time.Sleep(300 * time.Millisecond)
		next := startGateway(t, addr, backend)
		_ = old.Process.Signal(syscall.SIGTERM)
		if err := old.Wait(); err != nil {
			t.Errorf("old gateway: %v", err)
		}
		old = next
	}
	time.Sleep(300 * time.Millisecond)
	cancel()
	wg.Wait()
	t.Logf("%d requests, %d failed", asked.Load(), failed.Load())
	if asked.Load() < 100 {
		t.Errorf("only %d requests", asked.Load())
	}
}
