package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/fairway-net/fairway/bench/peer"
)

// server is a program under measurement.
type server struct {
	name     string
	addr     string
	zone     bool // has the cluster's zone
	forwards bool // forwards names outside of it
	cmd      *exec.Cmd
	log      *os.File
	life     context.Context // ends with the program, or with all; its cause says how
	ended    chan struct{}   // closed when the program has
}

// startAll starts every server on the first processor and a port of its own. A
// peer that does not answer is left out.
func (b *bench) startAll(ctx context.Context) error {
	ports, err := peer.FreePorts(6)
	if err != nil {
		return err
	}
	at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	if err := writeConfigs(b.dir, ports); err != nil {
		return err
	}
	t := b.tools
	// Knot is the upstream of those that forward, and so comes first.
	for _, s := range []*struct {
		server server
		args   []string
	}{
		{server{name: "knot", addr: at(0), zone: true}, []string{t.knot, "-c", "knot.conf"}},
		{server{name: "nsd", addr: at(1), zone: true}, []string{t.nsd, "-d", "-c", "nsd.conf"}},
		{server{name: "unbound", addr: at(2), forwards: true}, []string{t.unbound, "-d", "-c", "unbound.conf"}},
		{server{name: "coredns", addr: at(3), zone: true, forwards: true}, []string{t.coredns, "-conf", "Corefile"}},
		{server{name: "fairway", addr: at(4), zone: true, forwards: true}, fairway(t.fairway, at(4), at(0))},
		{server{name: "also", addr: at(5), zone: true, forwards: true}, fairway(t.also, at(5), at(0))},
	} {
		if slices.Contains(b.without, s.server.name) || s.args[0] == "" {
			continue
		}
		err := s.server.start(ctx, t, b.dir, s.args)
		if err == nil {
			b.servers = append(b.servers, &s.server)
			_, err = until(&s.server, s.server.known(), "", 20*time.Second)
		}
		if err != nil {
			if err := b.lose(&s.server, "start", err); err != nil {
				return err
			}
		}
	}
	return nil
}

// known is a name that the server must have.
func (s *server) known() string {
	if s.zone {
		return "svc1.ns1.svc.cluster.local."
	}
	return "host1.example.com."
}

// lose takes down that a peer gives no figures from here on. The others go on,
// but not without ours.
func (b *bench) lose(s *server, doing string, err error) error {
	if s.name == "fairway" || context.Cause(s.life) == context.Canceled {
		return fmt.Errorf("%s: %s: %w", s.name, doing, err)
	}
	fmt.Fprintf(os.Stderr, "LOST %s: %s: %v\n", s.name, doing, err)
	b.lost = append(b.lost, s.name)
	s.stop()
	b.servers = slices.DeleteFunc(b.servers, func(o *server) bool { return o == s })
	return nil
}

// start runs args on the first processor.
func (s *server) start(ctx context.Context, t tools, dir string, args []string) (err error) {
	s.cmd = exec.CommandContext(ctx, "taskset", append([]string{"-c", "0"}, args...)...)
	s.cmd.Dir, s.cmd.Env = dir, t.env
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if s.log, err = os.Create(filepath.Join(dir, s.name+".log")); err != nil {
		return err
	}
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	life, end := context.WithCancelCause(ctx)
	s.life, s.ended = life, make(chan struct{})
	if err := s.cmd.Start(); err != nil {
		s.log.Close()
		end(err)
		close(s.ended)
		return err
	}
	go func() {
		_ = s.cmd.Wait()
		s.log.Close()
		text, _ := os.ReadFile(s.log.Name())
		end(fmt.Errorf("it has ended, %v; its last words:\n%s", s.cmd.ProcessState, tail(text)))
		close(s.ended)
	}()
	return nil
}

// stop ends it and waits for its end.
func (s *server) stop() {
	select {
	case <-s.ended:
	default:
		syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // NSD has children
		<-s.ended
	}
}

func fairway(program, listen, upstream string) []string {
	return []string{program, "dns", "--manifests", "manifests.yaml", "--listen", listen, "--upstream", upstream, "--health", "", "--lame-duck", "0s"}
}

// writeConfigs gives each server one thread: it has one processor. NSD would limit
// what one client is answered.
func writeConfigs(dir string, ports []int) error {
	for name, text := range map[string]string{
		"knot.conf": fmt.Sprintf(`server:
    rundir: "%[1]s"
    listen: 127.0.0.1@%[2]d
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "%[1]s/knot"
template:
  - id: default
    journal-content: none
zone:
  - domain: cluster.local
    file: "%[1]s/cluster.zone"
  - domain: example.com
    file: "%[1]s/outside.zone"
`, dir, ports[0]),
		"nsd.conf": fmt.Sprintf(`server:
    ip-address: 127.0.0.1@%[2]d
    server-count: 1
    rrl-ratelimit: 0
    rrl-whitelist-ratelimit: 0
    database: ""
    username: ""
    chroot: ""
    zonesdir: "%[1]s"
    pidfile: "%[1]s/nsd.pid"
    xfrdfile: "%[1]s/nsd.xfrd"
    zonelistfile: "%[1]s/nsd.list"
    xfrdir: "%[1]s"
remote-control:
    control-enable: no
zone:
    name: cluster.local
    zonefile: cluster.zone
`, dir, ports[1]),
		"unbound.conf": fmt.Sprintf(`server:
    interface: 127.0.0.1@%[2]d
    num-threads: 1
    username: ""
    chroot: ""
    directory: "%[1]s"
    pidfile: ""
    use-syslog: no
    module-config: "iterator"
    do-not-query-localhost: no
forward-zone:
    name: "."
    forward-addr: 127.0.0.1@%[3]d
`, dir, ports[2], ports[0]),
		"Corefile": fmt.Sprintf(`cluster.local:%[1]d {
    bind 127.0.0.1
    file cluster.zone
}
.:%[1]d {
    bind 127.0.0.1
    cache 86400
    forward . 127.0.0.1:%[2]d
}
`, ports[3], ports[0]),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return os.MkdirAll(filepath.Join(dir, "knot"), 0o755)
}
