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
	"github.com/fairway-net/fairway/bench/record"
)

// measureCluster lets Fairway and CoreDNS's kubernetes plugin follow one API
// server, in turns, and weighs them.
func measureCluster(ctx context.Context, t tools, without []string, dir string, services, changes int, set *record.Set) error {
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
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	addr := fmt.Sprintf("127.0.0.1:%d", ports[1])
	weights := map[string]weight{}
	for _, s := range []struct {
		server server
		args   []string
	}{
		{server{name: "coredns", addr: fmt.Sprintf("127.0.0.1:%d", ports[0])}, []string{t.coredns, "-conf", "Corefile.cluster"}},
		{server{name: "fairway", addr: addr}, []string{t.fairway, "dns", "--kubeconfig", "kubeconfig", "--listen", addr, "--health", "", "--lame-duck", "0s", "--resolv-conf", "/dev/null"}},
	} {
		if slices.Contains(without, s.server.name) {
			continue
		}
		if weights[s.server.name], err = weigh(ctx, t, a, &s.server, s.args, dir, changes, set); err != nil {
			return fmt.Errorf("%s: %w", s.server.name, err)
		}
	}
	if f, c := weights["fairway"], weights["coredns"]; c.steady > 0 {
		set.Add("fairway / coredns", a.describe(), "memory (RSS)", "ratio", f.steady/c.steady)
		set.Add("fairway / coredns", a.describe(), "highest memory during a relist", "ratio", f.peak/c.peak)
		set.Add("fairway / coredns", a.describe(), "change to new answer, p99", "ratio", f.p99/c.p99)
	}
	return nil
}

// weight is what following a cluster costs: KiB, and ms until a change is answered.
type weight struct{ steady, peak, p99 float64 }

func (a *api) describe() string {
	return fmt.Sprintf("%d Services, %d endpoints of headless ones", a.n, a.n/2*perHeadless)
}

func weigh(ctx context.Context, t tools, a *api, s *server, args []string, dir string, changes int, set *record.Set) (w weight, err error) {
	of := a.describe()
	start := time.Now()
	if err := s.start(ctx, t, dir, args); err != nil {
		return w, err
	}
	defer stopAll([]*server{s})
	last, ns := serviceName(a.n - 1)
	if _, err := until(ctx, s.addr, fmt.Sprintf("%s.%s.svc.cluster.local.", last, ns), "", 3*time.Minute); err != nil {
		return w, err
	}
	set.Add(s.name, of, "start to first complete answer", "s", time.Since(start).Seconds())
	time.Sleep(5 * time.Second) // what was needed only to get there is given back
	w.steady, err = peer.Memory(s.cmd.Process.Pid)
	if err != nil {
		return w, err
	}
	set.Add(s.name, of, "memory (RSS)", "MiB", w.steady/1024)

	first, ns := serviceName(0)
	name := fmt.Sprintf("%s.%s.svc.cluster.local.", first, ns)
	var took []float64
	for range changes {
		at := time.Now()
		if _, err := until(ctx, s.addr, name, a.change(), 10*time.Second); err != nil {
			return w, err
		}
		took = append(took, float64(time.Since(at).Microseconds())/1000)
		time.Sleep(5 * time.Millisecond)
	}
	slices.Sort(took)
	set.Add(s.name, of, "change to new answer, p50", "ms", took[(len(took)-1)/2])
	w.p99 = took[(len(took)-1)*99/100]
	set.Add(s.name, of, "change to new answer, p99", "ms", w.p99)

	// 5 resets the highest resident set (proc(5)).
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.cmd.Process.Pid), []byte("5"), 0); err != nil {
		return w, err
	}
	a.expire()
	time.Sleep(5 * time.Second)
	if _, err := until(ctx, s.addr, name, a.change(), 2*time.Minute); err != nil { // it follows again
		return w, err
	}
	w.peak, err = highest(s.cmd.Process.Pid)
	if err != nil {
		return w, err
	}
	set.Add(s.name, of, "highest memory during a relist", "MiB", w.peak/1024)
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

// until asks for name again and again until the address is want, or any if
// want is empty, and returns how often it asked.
func until(ctx context.Context, addr, name, want string, patience time.Duration) (asked int, err error) {
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}}
	var got []net.IP
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && ctx.Err() == nil; asked++ {
		got, err = r.LookupIP(ctx, "ip4", name)
		if err == nil && len(got) > 0 && (want == "" || got[0].String() == want) {
			return asked, nil
		}
	}
	return asked, fmt.Errorf("%s is %v (%v), not %q, after %v", name, got, err, want, patience)
}
