package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fairway-net/fairway/bench/peer"
)

// server is a program under measurement, or the upstream of all of them.
type server struct {
	name     string
	addr     string
	upstream bool
	many     bool // has manyHosts hosts
	cmd      *exec.Cmd
	log      *os.File
}

const manyHosts = 10_000

// startAll starts every proxy on the first processor and a port of its own, and
// the upstream on the second. What has been started is returned even after an error.
func startAll(ctx context.Context, t tools, dir string) (all []*server, err error) {
	ports, err := peer.FreePorts(6)
	if err != nil {
		return nil, err
	}
	at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	if err := writeConfigs(dir, at); err != nil {
		return nil, err
	}
	nginx := func(name string) []string {
		return []string{t.nginx, "-p", dir, "-e", filepath.Join(dir, name+".err"), "-c", filepath.Join(dir, name+".conf")}
	}
	for _, s := range []struct {
		server server
		cpu    string
		args   []string
	}{
		{server{name: "upstream", addr: at(0), upstream: true}, "1", nginx("upstream")},
		{server{name: "nginx", addr: at(1)}, "0", nginx("one")},
		{server{name: "haproxy", addr: at(2)}, "0", []string{t.haproxy, "-f", filepath.Join(dir, "haproxy.cfg")}},
		{server{name: "fairway", addr: at(3)}, "0", []string{t.fairway, "-http", at(3), "-backend", at(0)}},
		{server{name: "nginx", addr: at(4), many: true}, "0", nginx("many")},
		{server{name: "fairway", addr: at(5), many: true}, "0", []string{t.fairway, "-http", at(5), "-backend", at(0), "-hosts", fmt.Sprint(manyHosts)}},
	} {
		s.server.cmd = exec.CommandContext(ctx, "taskset", append([]string{"-c", s.cpu}, s.args...)...)
		s.server.cmd.Dir, s.server.cmd.Env = dir, t.env
		s.server.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		if s.server.log, err = os.Create(filepath.Join(dir, fmt.Sprintf("%s-%v.log", s.server.name, s.server.many))); err != nil {
			return all, err
		}
		s.server.cmd.Stdout, s.server.cmd.Stderr = s.server.log, s.server.log
		if err := s.server.cmd.Start(); err != nil {
			return all, err
		}
		all = append(all, &s.server)
		if err := s.server.answers(ctx); err != nil {
			return all, fmt.Errorf("start %s: %w", s.server.name, err)
		}
	}
	return all, nil
}

// writeConfigs gives each server one thread: it has one processor. The peers add
// the header fields that Fairway adds.
func writeConfigs(dir string, at func(int) string) error {
	const frame = `worker_processes 1; worker_rlimit_nofile 65536; daemon off; user root; pid %[1]s/%[2]s.pid;
events { worker_connections 30000; }
http {
  access_log off; keepalive_requests 100000000; server_names_hash_max_size 65536; server_names_hash_bucket_size 128;
  client_body_temp_path %[1]s/%[2]s.b; proxy_temp_path %[1]s/%[2]s.p; fastcgi_temp_path %[1]s/%[2]s.f; uwsgi_temp_path %[1]s/%[2]s.u; scgi_temp_path %[1]s/%[2]s.s;
%[3]s}
`
	const pass = `    location / { proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Request-ID $request_id; proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Forwarded-Port $server_port; proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Scheme $scheme; proxy_set_header X-Scheme $scheme; proxy_buffering off; }
`
	upstream := fmt.Sprintf("  upstream up { server %s; keepalive 320; keepalive_requests 100000000; keepalive_time 10h; }\n", at(0))
	one := upstream + fmt.Sprintf("  server { listen %s; server_name h0.example;\n%s  }\n", at(1), pass)
	var many strings.Builder
	many.WriteString(upstream)
	for i := range manyHosts {
		fmt.Fprintf(&many, "  server { listen %s; server_name h%d.example;\n%s  }\n", at(4), i, pass)
	}
	for name, text := range map[string]string{
		"upstream.conf": fmt.Sprintf(frame, dir, "upstream", fmt.Sprintf("  server { listen %s; root %s; default_type text/plain; location = /small { return 200 \"a small answer of an ordinary kind\\n\"; } }\n", at(0), dir)),
		"one.conf":      fmt.Sprintf(frame, dir, "one", one),
		"many.conf":     fmt.Sprintf(frame, dir, "many", many.String()),
		"large":         strings.Repeat("0123456789abcdef", 1<<16),
		"haproxy.cfg": fmt.Sprintf(`global
  nbthread 1
  maxconn 9950
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 60s
  http-reuse always
frontend front
  bind %s
  default_backend up
backend up
  http-request set-header X-Request-ID %%[uuid]
  http-request set-header X-Real-IP %%[src]
  http-request set-header X-Forwarded-For %%[src]
  http-request set-header X-Forwarded-Host %%[req.hdr(host)]
  http-request set-header X-Forwarded-Port %%[dst_port]
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Scheme http
  http-request set-header X-Scheme http
  server up %s
`, at(2), at(0)),
		"hosts.lua": fmt.Sprintf(`local i = 0
request = function()
  i = (i + 7919) %% %d
  return wrk.format("GET", nil, {["Host"] = "h" .. i .. ".example"})
end
`, manyHosts),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return os.Chmod(dir, 0o755)
}

// answers waits until the server answers for the last of its hosts.
func (s *server) answers(ctx context.Context) error {
	host := "h0.example"
	if s.many {
		host = fmt.Sprintf("h%d.example", manyHosts-1)
	}
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		r, err := http.NewRequestWithContext(ctx, "GET", "http://"+s.addr+"/small", nil)
		if err != nil {
			return err
		}
		r.Host = host
		if resp, err := client.Do(r); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
	}
	text, _ := os.ReadFile(s.log.Name())
	return fmt.Errorf("does not answer\n%s", text)
}

func stopAll(all []*server) {
	for _, s := range all {
		syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // nginx has children
		s.cmd.Wait()
		s.log.Close()
	}
}
