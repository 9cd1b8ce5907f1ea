package main

import (
	"bufio"
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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netns"

	"github.com/fairway-net/fairway/bench/peer"
)

// options of a case.
type options struct {
	subject, dir, root string
	n                  int // Services
	changes            int
	figures            []string // empty: all
}

func (o *options) wants(figure string) bool {
	return len(o.figures) == 0 || slices.Contains(o.figures, figure)
}

// oneCase measures one subject in the namespace that it is in, which is its
// own, and writes each sample to standard output as soon as it has it. Then it
// waits, with the subject stopped, and measures one turn of what takes turns with
// other subjects for each line that it reads.
func oneCase(ctx context.Context, o options) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &bench{options: o, out: json.NewEncoder(os.Stdout)}
	var err error
	if c.world, err = newWorld(ctx, o.dir); err != nil {
		return err
	}
	if err := c.startServers(ctx); err != nil {
		return err
	}
	c.api = newAPI(o.n)
	l, err := net.Listen("tcp", apiAddr)
	if err != nil {
		return err
	}
	go http.Serve(l, c.api)
	return c.run(ctx, cancel)
}

// bench is a case under way.
type bench struct {
	options
	world       *world
	api         *api
	out         *json.Encoder
	subject     *os.Process
	here, other int // processes of the endpoints
}

func (b *bench) add(figure, unit string, v float64) error {
	return b.out.Encode(sample{figure, unit, v})
}

func (b *bench) run(ctx context.Context, cancel context.CancelCauseFunc) error {
	start := time.Now()
	cmd, err := startSubject(ctx, b.options.subject, b.dir, b.root)
	if err != nil {
		return err
	}
	b.subject = cmd.Process
	done := make(chan struct{})
	go func() {
		cancel(fmt.Errorf("%s has ended: %w", b.options.subject, cmd.Wait()))
		close(done)
	}()
	defer func() {
		b.subject.Signal(syscall.SIGCONT)
		b.subject.Signal(syscall.SIGTERM)
		<-done
	}()
	if err := b.measure(ctx, start); err != nil {
		return err
	}
	return b.turns(ctx)
}

// measure measures what the subject does alone.
func (b *bench) measure(ctx context.Context, start time.Time) error {
	if err := allProgrammed(ctx, b.n); err != nil {
		return err
	}
	if err := b.add("start: process to all programmed", "s", time.Since(start).Seconds()); err != nil {
		return err
	}
	cpu, err := peer.CPUTime(b.subject.Pid)
	if err != nil {
		return err
	}
	if err := b.add("start: processor time of the process", "s", cpu.Seconds()); err != nil {
		return err
	}
	if took, ok := b.warmStart(ctx); ok {
		if err := b.add("start: synced to all programmed", "s", took); err != nil {
			return err
		}
	}
	if err := b.traffic(ctx); err != nil {
		return err
	}
	if b.wants("change") {
		if err := b.change(ctx); err != nil {
			return err
		}
	}
	rss, err := peer.Memory(b.subject.Pid)
	if err != nil {
		return err
	}
	return b.add("memory (RSS)", "MiB", rss/1024)
}

// turns measures turns until there is nothing more to read.
func (b *bench) turns(ctx context.Context) error {
	for in := bufio.NewScanner(os.Stdin); ; {
		if err := errors.Join(b.subject.Signal(syscall.SIGSTOP), b.add(turnEnds, "", 0)); err != nil {
			return err
		}
		if !in.Scan() {
			return in.Err()
		}
		if err := errors.Join(b.subject.Signal(syscall.SIGCONT), b.fromOutside(ctx)); err != nil {
			return err
		}
	}
}

// warmStart is how long the subject took from its first complete list on, as it
// says itself: Fairway in a file, kube-proxy as the duration of its first sync.
func (b *bench) warmStart(ctx context.Context) (float64, bool) {
	for range 100 {
		var text []byte
		if b.options.subject == fairway {
			text, _ = os.ReadFile(b.dir + "/synced")
		} else if resp, err := http.Get("http://127.0.0.1:10249/metrics"); err == nil {
			all, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			for line := range strings.Lines(string(all)) {
				if strings.HasPrefix(line, "kubeproxy_sync_full_proxy_rules_duration_seconds_sum") && (strings.Contains(line, `"IPv4"`) || !strings.Contains(line, "{")) {
					text = []byte(line[strings.LastIndexByte(line, ' ')+1:])
				}
			}
		}
		if v, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64); err == nil && v > 0 {
			return v, true
		}
		select {
		case <-ctx.Done():
			return 0, false
		case <-time.After(50 * time.Millisecond):
		}
	}
	return 0, false
}

// traffic measures what pods get of Services.
func (b *bench) traffic(ctx context.Context) error {
	const sameNode, crossNode, udpHere, udpOther = 0, 1, 4, 5
	for _, f := range []struct {
		figure, name string
		args         []string
		server       int
	}{
		{"connect", "connect + request + close, ClusterIP / direct, same node", from(sameNode, 2), b.here},
		{"connect", "connect + request + close, ClusterIP / direct, cross node", from(crossNode, 2), b.other},
		{"keepalive", "keep-alive requests/s, ClusterIP / direct, same node", from(sameNode, 2), b.here},
		{"keepalive", "keep-alive requests/s, ClusterIP / direct, cross node", from(crossNode, 2), b.other},
		{"bulk", "bulk throughput, ClusterIP / direct, same node", from(sameNode, 2), b.here},
		{"bulk", "bulk throughput, ClusterIP / direct, cross node", from(crossNode, 2), b.other},
		{"udp", "UDP request/response, ClusterIP / direct, same node", from(udpHere, b.n), b.here},
		{"udp", "UDP request/response, ClusterIP / direct, cross node", from(udpOther, b.n), b.other},
	} {
		if !b.wants(f.figure) {
			continue
		}
		r, err := b.client(ctx, b.world.client, b.world.inside, f.figure, f.server, f.args)
		if err == nil {
			err = b.add(f.name, "ratio", r.Share)
		}
		if err == nil && f.figure == "bulk" {
			err = b.add(strings.Replace(f.name, "throughput", "per CPU second", 1), "ratio", r.SharePerCPU)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

// fromOutside measures what a client from outside gets at the node's port, of
// endpoints of the node, and in turns with it at the endpoints themselves.
func (b *bench) fromOutside(ctx context.Context) error {
	const local = 2
	for _, f := range []struct {
		figure, what string
		unit         string
		of           float64
	}{
		{"connections", "connections", "1/s", 1},
		{"bulk", "bulk", "GB/s", 1e9},
	} {
		r, err := b.client(ctx, b.world.other, b.world.outside, f.figure, b.here, append(from(local, b.n), "-node-port"))
		if err == nil {
			err = errors.Join(
				b.add(nodePort+f.what, f.unit, r.Via/f.of),
				b.add(nodePort+f.what+" per CPU second", f.unit, r.ViaPerCPU/f.of),
				b.add(nodePort+f.what+", NodePort / direct", "ratio", r.Share),
				b.add(nodePort+f.what+" per CPU second, NodePort / direct", "ratio", r.SharePerCPU))
		}
		if err != nil {
			return fmt.Errorf("%s%s: %w", nodePort, f.what, err)
		}
	}
	return nil
}

// from are the Services that a client goes to.
func from(first, step int) []string {
	return []string{"-first", strconv.Itoa(first), "-step", strconv.Itoa(step)}
}

// client measures a figure in a process of its own.
func (b *bench) client(ctx context.Context, ns netns.NsHandle, cgroup int, figure string, server int, args []string) (r result, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	cmd := exec.CommandContext(ctx, self, append([]string{"-as", "client", "-figure", figure, "-server", strconv.Itoa(server), "-n", strconv.Itoa(b.n)}, args...)...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := b.world.start(cmd, ns, cgroup); err != nil {
		return r, err
	}
	if err := cmd.Wait(); err != nil {
		return r, err
	}
	return r, json.Unmarshal([]byte(out.String()), &r)
}

func (b *bench) startServers(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for ns, pid := range map[netns.NsHandle]*int{b.world.here: &b.here, b.world.other: &b.other} {
		cmd := exec.CommandContext(ctx, self, "-as", "server")
		cmd.Stderr = os.Stderr
		if err := b.world.start(cmd, ns, b.world.outside); err != nil {
			return err
		}
		*pid = cmd.Process.Pid
	}
	for _, i := range []int{2, 3} { // until they listen
		for {
			if _, err := ask(ctx, netip.AddrPortFrom(endpoint(i, 0), port), time.Second); err == nil {
				break
			} else if ctx.Err() != nil {
				return fmt.Errorf("endpoints do not answer: %w", err)
			}
		}
	}
	return nil
}

// startSubject starts the process under test.
func startSubject(ctx context.Context, subject, dir, root string) (*exec.Cmd, error) {
	var cmd *exec.Cmd
	log, err := os.Create(dir + "/log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if mode, ok := strings.CutPrefix(subject, "kube-proxy "); ok {
		cmd = exec.CommandContext(ctx, root+"/bin/bench/kube-proxy", "--master=http://"+apiAddr, "--proxy-mode="+mode,
			"--hostname-override="+nodeName, "--cluster-cidr="+clients, "--conntrack-max-per-core=0", "--conntrack-min=0",
			"--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0", "--v=0")
	} else {
		if err := os.Mkdir(dir+"/bpf", 0o700); err != nil {
			return nil, err
		}
		if err := syscall.Mount("bpf", dir+"/bpf", "bpf", 0, ""); err != nil {
			return nil, fmt.Errorf("mount bpffs: %w", err)
		}
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		cmd = exec.CommandContext(ctx, self, "-as", "proxy", "-dir", dir)
	}
	cmd.Env = append(os.Environ(), "GODEBUG=") // that is for the benchmark's own processes
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true} // a group, as peer weighs it
	return cmd, cmd.Start()
}

// ask is what a process of the node asks at an address, and gets for an answer:
// the endpoint.
func ask(ctx context.Context, to netip.AddrPort, patience time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp4", to.String())
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := c.Write([]byte{askWho}); err != nil {
		return "", err
	}
	c.SetReadDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(c)
	return string(b), err
}

// allProgrammed waits until 200 Services, or all if there are fewer, answer.
func allProgrammed(ctx context.Context, n int) error {
	for _, i := range rand.Perm(n)[:min(n, 200)] {
		for {
			if _, err := ask(ctx, netip.AddrPortFrom(clusterIP(i), 80), 20*time.Millisecond); err == nil {
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("Service %d does not answer: %w", i, context.Cause(ctx))
			}
		}
	}
	return nil
}
