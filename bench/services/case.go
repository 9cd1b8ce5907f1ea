package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// oneCase measures one subject in the namespaces that it is in, which are its
// own, and writes the samples to standard output.
func oneCase(ctx context.Context, subject, dir, root string, n, changes int) error {
	if err := build(ctx); err != nil {
		return err
	}
	a := newAPI(n)
	l, err := net.Listen("tcp", apiAddr)
	if err != nil {
		return err
	}
	go http.Serve(l, a)
	if err := serveEndpoints(); err != nil {
		return err
	}
	start := time.Now()
	cmd, err := startSubject(ctx, subject, dir, root)
	if err != nil {
		return err
	}
	defer func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}()
	var out []sample
	add := func(figure, unit string, v float64) { out = append(out, sample{figure, unit, v}) }
	if err := allProgrammed(ctx, n); err != nil {
		return err
	}
	add("process start to all programmed", "s", time.Since(start).Seconds())
	pause := 20 * time.Millisecond
	if subject != "fairway" { // it gathers the changes of a second (min-sync-period); these are to be single ones
		changes, pause = max(3, changes/20), 1500*time.Millisecond
	}
	var took []float64
	for i := range changes {
		time.Sleep(pause)
		d, err := oneChange(ctx, a, 1+i%2)
		if err != nil {
			return err
		}
		took = append(took, d.Seconds()*1000)
	}
	slices.Sort(took)
	add("one endpoint changes to programmed, p50", "ms", took[len(took)/2])
	add("one endpoint changes to programmed, p99", "ms", took[len(took)*99/100])
	ratio, err := share(ctx, n)
	if err != nil {
		return err
	}
	add("connect + request + close, ClusterIP / direct", "ratio", ratio)
	rss, err := memory(cmd.Process.Pid)
	if err != nil {
		return err
	}
	add("memory (RSS)", "MiB", rss)
	return json.NewEncoder(os.Stdout).Encode(out)
}

// build makes loopback carry everything: endpoints are local, and Services have
// a route, so that packets get as far as the rules of the subject.
func build(ctx context.Context) error {
	for _, c := range []string{
		"link set lo up", "addr add " + nodeIP + "/32 dev lo",
		"route add local 10.128.0.0/9 dev lo", "route add 10.96.0.0/12 dev lo src " + nodeIP,
	} {
		if out, err := exec.CommandContext(ctx, "ip", strings.Fields(c)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", c, err, out)
		}
	}
	return nil
}

// serveEndpoints answers each request with the address that it reached, and
// closes first, so that no client port is left waiting.
func serveEndpoints() error {
	l, err := net.Listen("tcp4", fmt.Sprint(":", port))
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				var b [1]byte
				if _, err := c.Read(b[:]); err == nil {
					io.WriteString(c, c.LocalAddr().(*net.TCPAddr).IP.String())
				}
			}()
		}
	}()
	return nil
}

// startSubject starts the process under test.
func startSubject(ctx context.Context, subject, dir, root string) (*exec.Cmd, error) {
	var cmd *exec.Cmd
	if mode, ok := strings.CutPrefix(subject, "kube-proxy "); ok {
		cmd = exec.CommandContext(ctx, filepath.Join(root, "bin", "bench", "kube-proxy"), "--master=http://"+apiAddr, "--proxy-mode="+mode,
			"--hostname-override="+nodeName, "--cluster-cidr=10.128.0.0/9", "--conntrack-max-per-core=0", "--conntrack-min=0",
			"--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0", "--v=0")
		log, err := os.Create(filepath.Join(dir, "log"))
		if err != nil {
			return nil, err
		}
		defer log.Close()
		cmd.Stdout, cmd.Stderr = log, log
	} else {
		if err := joinCgroup(dir); err != nil {
			return nil, err
		}
		bpffs := filepath.Join(dir, "bpf")
		if err := os.Mkdir(bpffs, 0o700); err != nil {
			return nil, err
		}
		if err := syscall.Mount("bpf", bpffs, "bpf", 0, ""); err != nil {
			return nil, fmt.Errorf("mount bpffs: %w", err)
		}
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		cmd = exec.CommandContext(ctx, self, "-as", "proxy", "-dir", dir)
		cmd.Stderr = os.Stderr
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd, cmd.Start()
}

// joinCgroup moves this process, the client, into a cgroup of its own, which
// the subject is told of.
func joinCgroup(dir string) error {
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(self)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		for _, mount := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
			if _, err := os.Stat(filepath.Join(mount, "cgroup.procs")); err != nil {
				continue
			}
			own := filepath.Join(mount, path, filepath.Base(dir))
			err := os.Mkdir(own, 0o755)
			if err == nil {
				err = os.WriteFile(filepath.Join(own, "cgroup.procs"), []byte("0"), 0o644)
			}
			return errors.Join(err, os.WriteFile(filepath.Join(dir, "cgroup"), []byte(own), 0o600))
		}
	}
	return errors.New("no cgroup v2 hierarchy is mounted")
}

// client is an address among the endpoints', as a pod's is.
var client = &net.TCPAddr{IP: net.IPv4(10, 255, 255, 1)}

func ask(ctx context.Context, to netip.AddrPort, patience time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := (&net.Dialer{LocalAddr: client}).DialContext(ctx, "tcp4", to.String())
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

// allProgrammed waits until 200 Services, or all if there are fewer, answer.
func allProgrammed(ctx context.Context, n int) error {
	for _, i := range rand.Perm(n)[:min(n, 200)] {
		for {
			if _, err := ask(ctx, netip.AddrPortFrom(clusterIP(i), 80), 10*time.Millisecond); err == nil {
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("Service %d does not answer: %w", i, ctx.Err())
			}
		}
	}
	return nil
}

// oneChange gives the first Service another endpoint and returns when
// connections go there.
func oneChange(ctx context.Context, a *api, k int) (time.Duration, error) {
	want, start := endpoint(0, k).String(), time.Now()
	a.change(k)
	for {
		got, err := ask(ctx, netip.AddrPortFrom(clusterIP(0), 80), time.Second)
		if err == nil && got == want {
			return time.Since(start), nil
		}
		if ctx.Err() != nil {
			return 0, fmt.Errorf("a change is not programmed: %w", ctx.Err())
		}
	}
}

// share is how fast connections by ClusterIP are in terms of direct ones, made
// in turns: the quotient of the medians, which others on the machine disturb
// less than sums.
func share(ctx context.Context, n int) (float64, error) {
	const each = 4000
	var took [2][]time.Duration
	for turn := range each {
		i, k := rand.IntN(n), rand.IntN(perService)
		ways := []netip.AddrPort{netip.AddrPortFrom(endpoint(i, k), port), netip.AddrPortFrom(clusterIP(i), 80)}
		for j := range ways {
			way := (turn + j) % 2
			start := time.Now()
			if _, err := ask(ctx, ways[way], 5*time.Second); err != nil {
				return 0, err
			}
			took[way] = append(took[way], time.Since(start))
		}
	}
	slices.Sort(took[0])
	slices.Sort(took[1])
	return took[0][each/2].Seconds() / took[1][each/2].Seconds(), nil
}

// memory is the resident set of a process in MiB.
func memory(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kib); err == nil {
			return kib / 1024, nil
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS", pid)
}
