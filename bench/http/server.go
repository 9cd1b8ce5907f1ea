package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fairway-net/fairway/bench/peer"
)

// server is a program under measurement, or an upstream of all of them.
type server struct {
	name     string
	at       [subjects]string // by subject; "" where it is not asked
	upstream bool
	cmd      *exec.Cmd
	log      *os.File
}

const manyHosts = 10_000

// addresses are where everything listens.
type addresses struct {
	upstream, grpcUpstream, asker                     string
	nginx, haproxy, caddy, fairway                    [subjects]string
	nginxMany, fairwayMany, fairwayGRPC, fairwayTimed string
}

func allot() (a addresses, err error) {
	ports, err := peer.FreePorts(25)
	if err != nil {
		return a, err
	}
	next := func() string {
		p := ports[0]
		ports = ports[1:]
		return fmt.Sprintf("127.0.0.1:%d", p)
	}
	a.upstream, a.grpcUpstream, a.asker = next(), next(), next()
	for _, s := range []*[subjects]string{&a.nginx, &a.haproxy, &a.caddy} {
		s[plain], s[secure], s[calls], s[timed] = next(), next(), next(), next()
	}
	a.fairway[plain], a.fairway[secure] = next(), next()
	a.nginxMany, a.fairwayMany, a.fairwayGRPC, a.fairwayTimed = next(), next(), next(), next()
	return a, nil
}

// startAll starts every proxy on the first processor, and the upstreams on the
// second. A proxy that does not answer is left out; without an upstream there is nothing to measure.
func (b *bench) startAll(ctx context.Context, dir string) error {
	t := b.tools
	a, err := allot()
	if err != nil {
		return err
	}
	if err := writeCertificate(dir); err != nil {
		return err
	}
	if err := writeConfigs(dir, a); err != nil {
		return err
	}
	b.asker = a.asker
	nginx := func(name string) []string {
		return []string{t.nginx, "-p", dir, "-e", filepath.Join(dir, name+".err"), "-c", filepath.Join(dir, name+".conf")}
	}
	for _, s := range []struct {
		server server
		cpu    string
		args   []string
	}{
		{server{name: "upstream", at: [subjects]string{plain: a.upstream}, upstream: true}, "1", nginx("upstream")},
		{server{name: "gRPC upstream", upstream: true}, "1", []string{b.self, "-grpc-upstream", a.grpcUpstream}},
		{server{name: "nginx", at: a.nginx}, "0", nginx("one")},
		{server{name: "haproxy", at: a.haproxy}, "0", []string{t.haproxy, "-f", filepath.Join(dir, "haproxy.cfg")}},
		{server{name: "caddy", at: a.caddy}, "0", []string{t.caddy, "run", "--config", filepath.Join(dir, "Caddyfile"), "--adapter", "caddyfile"}},
		{server{name: "fairway", at: a.fairway}, "0", []string{t.fairway, "-http", a.fairway[plain], "-https", a.fairway[secure], "-backend", a.upstream}},
		{server{name: "fairway", at: [subjects]string{calls: a.fairwayGRPC}}, "0", []string{t.fairway, "-http", a.fairwayGRPC, "-backend", a.grpcUpstream, "-h2c"}},
		{server{name: "fairway", at: [subjects]string{timed: a.fairwayTimed}}, "0", []string{t.fairway, "-http", a.fairwayTimed, "-backend", a.asker}},
		{server{name: "nginx", at: [subjects]string{many: a.nginxMany}}, "0", nginx("many")},
		{server{name: "fairway", at: [subjects]string{many: a.fairwayMany}}, "0", []string{t.fairway, "-http", a.fairwayMany, "-backend", a.upstream, "-hosts", fmt.Sprint(manyHosts)}},
	} {
		if err := s.server.start(ctx, t, dir, s.cpu, s.args); err != nil {
			return fmt.Errorf("start %s: %w", s.server.name, err)
		}
		b.servers = append(b.servers, &s.server)
		if err := s.server.answers(ctx); err != nil {
			if s.server.upstream {
				return fmt.Errorf("start %s: %w", s.server.name, err)
			}
			b.fail(&s.server, "start", err)
			s.server.at = [subjects]string{} // and is not asked
		}
	}
	return nil
}

func (s *server) start(ctx context.Context, t tools, dir, cpu string, args []string) (err error) {
	s.cmd = exec.CommandContext(ctx, "taskset", append([]string{"-c", cpu}, args...)...)
	s.cmd.Dir = dir
	s.cmd.Env = append(t.env, "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if s.log, err = os.CreateTemp(dir, s.name+"*.log"); err != nil {
		return err
	}
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	return s.cmd.Start()
}

// answers waits until the server answers for the last of its hosts.
func (s *server) answers(ctx context.Context) error {
	for at, addr := range s.at {
		if addr != "" && subject(at) != timed { // whose upstream comes and goes
			if err := s.answersAt(ctx, addr, subject(at)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *server) answersAt(ctx context.Context, addr string, to subject) error {
	host, url := "h0.example", "http://"+addr+"/small"
	t := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: host}}
	switch to {
	case many:
		host = fmt.Sprintf("h%d.example", manyHosts-1)
	case secure:
		url = "https://" + addr + "/small"
	case calls:
		t.Protocols = new(http.Protocols)
		t.Protocols.SetUnencryptedHTTP2(true)
	}
	client := &http.Client{Timeout: 2 * time.Second, Transport: t}
	last := error(nil)
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
		if err != nil {
			return err
		}
		r.Host = host
		resp, err := client.Do(r)
		if last = err; err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
		last = fmt.Errorf("status %d", resp.StatusCode)
	}
	text, _ := os.ReadFile(s.log.Name())
	return fmt.Errorf("%s does not answer: %w\n%s", url, last, text)
}

func stopAll(all []*server) {
	for _, s := range all {
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // nginx has children
		_ = s.cmd.Wait()
		s.log.Close()
	}
}
