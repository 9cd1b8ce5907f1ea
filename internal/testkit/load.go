package testkit

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Load makes new connections all the time, from a process of its own that lives
// in a namespace and in a cgroup, as a pod's does.
type Load struct {
	t     testing.TB
	name  string
	cmd   *exec.Cmd
	stop  io.WriteCloser
	out   io.Reader
	since time.Time
}

// LoadResult is what became of the connections.
type LoadResult struct {
	Done   int            // connections that had their answer
	Failed map[string]int // the others, by error
	Worst  time.Duration  // the longest of all
	Held   []string       // connections that were open all the time and broke
}

// loadEnv tells a test's executable that it is to be the process of a Load.
const loadEnv = "FAIRWAY_TEST_LOAD"

type loadSpec struct {
	Targets []string
	Rate    int // connections per second
	Hold    int // connections to keep open to each target
}

// StartLoad connects to all targets in turn, rate times per second together. The
// test's TestMain must call RunLoad.
func StartLoad(t testing.TB, ns *NS, cgroup string, rate, hold int, targets ...string) *Load {
	t.Helper()
	spec, err := json.Marshal(loadSpec{targets, rate, hold})
	if err != nil {
		t.Fatal(err)
	}
	l := &Load{t: t, name: ns.Name, since: time.Now()}
	l.cmd = Reexec(t, ns, cgroup, loadEnv+"="+string(spec))
	l.cmd.Stderr = os.Stderr
	if l.stop, err = l.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if l.out, err = l.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := ns.Do(l.cmd.Start); err != nil {
		t.Fatalf("start load in %s: %v", ns.Name, err)
	}
	t.Cleanup(func() { l.cmd.Process.Kill(); l.cmd.Wait() })
	return l
}

// Stop ends the load and returns what became of it.
func (l *Load) Stop() LoadResult {
	l.t.Helper()
	l.stop.Close()
	var r LoadResult
	if err := json.NewDecoder(l.out).Decode(&r); err != nil {
		l.t.Fatalf("load in %s: %v", l.name, err)
	}
	l.t.Logf("%s: %d connections in %v (%.0f per second), the longest took %v, failed: %v, broken: %v", l.name, r.Done,
		time.Since(l.since).Round(time.Second/10), float64(r.Done)/time.Since(l.since).Seconds(), r.Worst, r.Failed, r.Held)
	return r
}

// Reexec returns a command that runs the test's executable with env added,
// inside cgroup ("": the test's own). Start it with ns.Do.
func Reexec(t testing.TB, ns *NS, cgroup string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if cgroup != "" {
		dir, err := os.Open(cgroup)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { dir.Close() })
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	}
	return cmd
}

// RunLoad is the other side of StartLoad: it returns false unless the process
// is to be a load, and then true when that has ended.
func RunLoad() bool {
	text := os.Getenv(loadEnv)
	if text == "" {
		return false
	}
	var spec loadSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		panic(err)
	}
	stop := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	json.NewEncoder(os.Stdout).Encode(spec.run(stop))
	return true
}

func (s loadSpec) run(stop chan struct{}) LoadResult {
	r := LoadResult{Failed: map[string]int{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, target := range s.Targets {
		for range s.Hold {
			wg.Go(func() {
				if err := hold(target, stop); err != nil {
					mu.Lock()
					r.Held = append(r.Held, fmt.Sprintf("%s: %v", target, err))
					mu.Unlock()
				}
			})
		}
	}
	// Some of many go on while one waits; a paused process makes up for nothing.
	busy := make(chan struct{}, 256)
	tick := time.NewTicker(time.Second / time.Duration(s.Rate))
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-stop:
			wg.Wait()
			return r
		case <-tick.C:
		}
		target := s.Targets[i%len(s.Targets)]
		busy <- struct{}{}
		wg.Go(func() {
			defer func() { <-busy }()
			start := time.Now()
			err := askOnce(target)
			mu.Lock()
			defer mu.Unlock()
			r.Worst = max(r.Worst, time.Since(start))
			if err != nil {
				r.Failed[err.Error()]++
			} else {
				r.Done++
			}
		})
	}
}

// askOnce is a whole connection. It ends with a reset, so that no port is left
// waiting on either side.
func askOnce(target string) error {
	c, err := net.DialTimeout("tcp", target, 10*time.Second)
	if err != nil {
		return loadError("connect", target, err)
	}
	defer c.Close()
	c.(*net.TCPConn).SetLinger(0)
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, "x\n"); err != nil {
		return loadError("write", target, err)
	}
	if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
		return loadError("read", target, err)
	}
	return nil
}

// loadError leaves out the ports, so that like errors are counted together.
func loadError(what, target string, err error) error {
	for e, ok := err.(interface{ Unwrap() error }); ok; e, ok = err.(interface{ Unwrap() error }) {
		err = e.Unwrap()
	}
	return fmt.Errorf("%s to %s: %w", what, target, err)
}

// hold keeps one connection busy until stop is closed.
func hold(target string, stop chan struct{}) error {
	c, err := net.DialTimeout("tcp", target, 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		select {
		case <-stop:
			return nil
		case <-time.After(50 * time.Millisecond):
		}
		c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(c, "x\n"); err != nil {
			return err
		}
		if _, err := in.ReadString('\n'); err != nil {
			return err
		}
	}
}
