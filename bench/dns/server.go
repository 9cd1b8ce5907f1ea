package main

import (
	"context"
	"fmt"
	"net"
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
}

// startAll starts every server on the first processor and a port of its own.
// What has been started is returned even after an error.
func startAll(ctx context.Context, t tools, without []string, dir string) (all []*server, err error) {
	ports, err := peer.FreePorts(6)
	if err != nil {
		return nil, err
	}
	at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	if err := writeConfigs(dir, ports); err != nil {
		return nil, err
	}
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
		if slices.Contains(without, s.server.name) || s.args[0] == "" {
			continue
		}
		if err := s.server.start(ctx, t, dir, s.args); err != nil {
			return all, fmt.Errorf("start %s: %w", s.server.name, err)
		}
		all = append(all, &s.server)
		if err := s.server.answers(ctx); err != nil {
			return all, fmt.Errorf("start %s: %w", s.server.name, err)
		}
	}
	return all, nil
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
	return s.cmd.Start()
}

func fairway(program, listen, upstream string) []string {
	return []string{program, "dns", "--manifests", "manifests.yaml", "--listen", listen, "--upstream", upstream, "--health", "", "--lame-duck", "0s"}
}

// writeConfigs gives each server one thread: it has one processor.
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

// answers waits until the server answers the question for a name that it must
// have with an address.
func (s *server) answers(ctx context.Context) error {
	name := "\x05host1\x07example\x03com\x00"
	if s.zone {
		name = "\x04svc1\x03ns1\x03svc\x07cluster\x05local\x00"
	}
	query := append([]byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"), name+"\x00\x01\x00\x01"...)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("udp", s.addr)
		if err != nil {
			return err
		}
		conn.SetDeadline(time.Now().Add(500 * time.Millisecond))
		conn.Write(query)
		buf := make([]byte, 1500)
		n, err := conn.Read(buf)
		conn.Close()
		if err == nil && n > 12 && buf[3]&15 == 0 && buf[7] == 1 {
			return nil
		}
	}
	text, _ := os.ReadFile(s.log.Name())
	return fmt.Errorf("does not answer\n%s", text)
}

func stopAll(all []*server) {
	for _, s := range all {
		syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // NSD has children
		s.cmd.Wait()
		s.log.Close()
	}
}
