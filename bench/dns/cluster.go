package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/fairway-net/fairway/bench/peer"
)

// measureCluster lets Fairway and CoreDNS's kubernetes plugin follow one API
// server, in turns, and weighs them.
func (b *bench) measureCluster(ctx context.Context, services, changes int) error {
	a := newAPI(services)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go http.Serve(l, a)
	defer l.Close()
	ports, err := peer.FreePorts(2)
	if err != nil {
		return err
	}
	url := "http://" + l.Addr().String()
	files := map[string]string{
		"Corefile.cluster": fmt.Sprintf("cluster.local:%d {\n    bind 127.0.0.1\n    kubernetes cluster.local {\n        endpoint %s\n    }\n}\n", ports[0], url),
		"kubeconfig": fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: %q}}]\n"+
			"users: [{name: u, user: {}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n", url),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	addr := fmt.Sprintf("127.0.0.1:%d", ports[1])
	weights := map[string]weight{}
	for _, s := range []struct {
		server server
		args   []string
	}{
		{server{name: "coredns", addr: fmt.Sprintf("127.0.0.1:%d", ports[0])}, []string{b.tools.coredns, "-conf", "Corefile.cluster"}},
		{server{name: "fairway", addr: addr}, []string{b.tools.fairway, "dns", "--kubeconfig", "kubeconfig", "--listen", addr, "--health", "", "--lame-duck", "0s", "--resolv-conf", "/dev/null"}},
	} {
		if slices.Contains(b.without, s.server.name) {
			continue
		}
		w, err := b.weigh(ctx, a, &s.server, s.args, changes)
		if err != nil {
			if err := b.lose(&s.server, "cluster", err); err != nil {
				return err
			}
			continue
		}
		weights[s.server.name] = w
	}
	if f, c := weights["fairway"], weights["coredns"]; c.steady > 0 {
		for _, r := range []struct {
			figure       string
			ours, theirs float64
		}{
			{first, f.start, c.start},
			{steady, f.steady, c.steady},
			{peak, f.peak, c.peak},
			{p99Change, f.p99, c.p99},
		} {
			b.set.Add("fairway / coredns", a.describe(), r.figure, "ratio", r.ours/r.theirs)
		}
	}
	return nil
}

// The figures.
const (
	first     = "start to first complete answer"
	steady    = "memory (RSS)"
	peak      = "highest memory during a relist"
	grown     = "the same, of the memory before"
	p50Change = "change to new answer, p50"
	p99Change = "change to new answer, p99"
)

// weight is what following a cluster costs: s, KiB, and ms until a change is answered.
type weight struct{ start, steady, peak, p99 float64 }

func (a *api) describe() string {
	return fmt.Sprintf("%d Services, %d endpoints of headless ones", a.n, a.n/2*perHeadless)
}

func (b *bench) weigh(ctx context.Context, a *api, s *server, args []string, changes int) (w weight, err error) {
	of, set := a.describe(), &b.set
	began := time.Now()
	if err := s.start(ctx, b.tools, b.dir, args); err != nil {
		return w, err
	}
	defer s.stop()
	last, ns := serviceName(a.n - 1)
	if _, err := until(s, fmt.Sprintf("%s.%s.svc.cluster.local.", last, ns), "", 3*time.Minute); err != nil {
		return w, err
	}
	w.start = time.Since(began).Seconds()
	set.Add(s.name, of, first, "s", w.start)
	time.Sleep(5 * time.Second) // what was needed only to get there is given back
	w.steady, err = peer.Memory(s.cmd.Process.Pid)
	if err != nil {
		return w, err
	}
	set.Add(s.name, of, steady, "MiB", w.steady/1024)

	changed, ns := serviceName(0)
	name := fmt.Sprintf("%s.%s.svc.cluster.local.", changed, ns)
	var took []float64
	for range changes {
		at := time.Now()
		if _, err := until(s, name, a.change(), 10*time.Second); err != nil {
			return w, err
		}
		took = append(took, float64(time.Since(at).Microseconds())/1000)
		time.Sleep(5 * time.Millisecond)
	}
	slices.Sort(took)
	set.Add(s.name, of, p50Change, "ms", took[(len(took)-1)/2])
	w.p99 = took[(len(took)-1)*99/100]
	set.Add(s.name, of, p99Change, "ms", w.p99)

	before, err := peer.Memory(s.cmd.Process.Pid)
	if err != nil {
		return w, err
	}
	// 5 resets the highest resident set (proc(5)).
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.cmd.Process.Pid), []byte("5"), 0); err != nil {
		return w, err
	}
	a.expire()
	time.Sleep(5 * time.Second)
	if _, err := until(s, name, a.change(), 2*time.Minute); err != nil { // it follows again
		return w, err
	}
	w.peak, err = highest(s.cmd.Process.Pid)
	if err != nil {
		return w, err
	}
	set.Add(s.name, of, peak, "MiB", w.peak/1024)
	set.Add(s.name, of, grown, "×", w.peak/before)
	return w, nil
}

var highWater = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

func highest(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	m := highWater.FindSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("process %d has no VmHWM", pid)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}
