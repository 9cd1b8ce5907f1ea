package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// writeConfigs gives each server one thread: it has one processor. The peers add
// the header fields that Fairway adds.
func writeConfigs(dir string, a addresses) error {
	files := map[string]string{
		"upstream.conf": nginxFrame(dir, "upstream", fmt.Sprintf("  server { listen %s; root %s; default_type text/plain; location = /small { return 200 \"a small answer of an ordinary kind\\n\"; } }\n", a.upstream, dir)),
		"one.conf":      nginxFrame(dir, "one", nginxOne(dir, a)),
		"many.conf":     nginxFrame(dir, "many", nginxMany(a)),
		"large":         strings.Repeat("0123456789abcdef", 1<<16),
		"haproxy.cfg":   haproxyConfig(dir, a),
		"Caddyfile":     caddyConfig(dir, a),
		"message":       "\x00\x00\x00\x00\x07message",
		"hosts.lua": fmt.Sprintf(`local i = 0
request = function()
  i = (i + 7919) %% %d
  return wrk.format("GET", nil, {["Host"] = "h" .. i .. ".example"})
end
`, manyHosts),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	huge := filepath.Join(dir, "huge") // of zeros, which take no room on the disk
	if err := os.WriteFile(huge, nil, 0o644); err != nil {
		return err
	}
	if err := os.Truncate(huge, 100<<20); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

func nginxFrame(dir, name, http string) string {
	return fmt.Sprintf(`worker_processes 1; worker_rlimit_nofile 65536; daemon off; user root; pid %[1]s/%[2]s.pid;
events { worker_connections 30000; }
http {
  access_log off; sendfile on; keepalive_requests 100000000; server_names_hash_max_size 65536; server_names_hash_bucket_size 128;
  client_body_temp_path %[1]s/%[2]s.b; proxy_temp_path %[1]s/%[2]s.p; fastcgi_temp_path %[1]s/%[2]s.f; uwsgi_temp_path %[1]s/%[2]s.u; scgi_temp_path %[1]s/%[2]s.s;
%[3]s}
`, dir, name, http)
}

// nginxFields are those of ingress-nginx, set by proxy_set_header or grpc_set_header.
func nginxFields(directive string) string {
	var b strings.Builder
	for _, field := range []string{"Host $host", "X-Request-ID $request_id", "X-Real-IP $remote_addr", "X-Forwarded-For $remote_addr", "X-Forwarded-Host $host",
		"X-Forwarded-Port $server_port", "X-Forwarded-Proto $scheme", "X-Forwarded-Scheme $scheme", "X-Scheme $scheme"} {
		fmt.Fprintf(&b, "%s %s; ", directive, field)
	}
	return b.String()
}

func nginxPass(to string) string {
	return "    location / { proxy_pass http://" + to + "; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_buffering off; " + nginxFields("proxy_set_header") + "}\n"
}

func nginxUpstream(name, addr string) string {
	return fmt.Sprintf("  upstream %s { server %s; keepalive 320; keepalive_requests 100000000; keepalive_time 10h; }\n", name, addr)
}

func nginxOne(dir string, a addresses) string {
	return nginxUpstream("up", a.upstream) + nginxUpstream("calls", a.grpcUpstream) + nginxUpstream("asker", a.asker) + fmt.Sprintf(`  ssl_certificate %[1]s/tls.crt; ssl_certificate_key %[1]s/tls.key; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:SSL:10m; ssl_ecdh_curve X25519;
  server { listen %[2]s; listen %[3]s ssl http2; server_name h0.example;
%[4]s  }
  server { listen %[5]s http2; server_name h0.example; location / { grpc_pass grpc://calls; %[6]s} }
  server { listen %[7]s; server_name h0.example;
%[8]s  }
`, dir, a.nginx[plain], a.nginx[secure], nginxPass("up"), a.nginx[calls], nginxFields("grpc_set_header"), a.nginx[timed], nginxPass("asker"))
}

func nginxMany(a addresses) string {
	var b strings.Builder
	b.WriteString(nginxUpstream("up", a.upstream))
	pass := nginxPass("up")
	for i := range manyHosts {
		fmt.Fprintf(&b, "  server { listen %s; server_name h%d.example;\n%s  }\n", a.nginxMany, i, pass)
	}
	return b.String()
}

func haproxyConfig(dir string, a addresses) string {
	const fields = `  http-request set-header X-Request-ID %[uuid]
  http-request set-header X-Real-IP %[src]
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Port %[dst_port]
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Scheme http
  http-request set-header X-Scheme http
`
	return fmt.Sprintf(`global
  nbthread 1
  maxconn 9950
  tune.h2.max-concurrent-streams 128
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 60s
  http-reuse always
frontend front
  bind %s
  bind %s ssl crt %s/tls.pem alpn h2,http/1.1 curves X25519
  default_backend up
frontend calls
  bind %s proto h2
  default_backend calls
frontend timed
  bind %s
  default_backend asker
backend up
%s  server up %s
backend calls
%s  server up %s proto h2
backend asker
%s  server up %s
`, a.haproxy[plain], a.haproxy[secure], dir, a.haproxy[calls], a.haproxy[timed], fields, a.upstream, fields, a.grpcUpstream, fields, a.asker)
}

func caddyConfig(dir string, a addresses) string {
	port := func(addr string) string { return addr[strings.LastIndexByte(addr, ':'):] }
	return fmt.Sprintf(`{
	admin off
	auto_https off
	log {
		level ERROR
	}
	servers {
		protocols h1 h2 h2c
	}
}
http://%[1]s {
	bind 127.0.0.1
	reverse_proxy %[2]s
}
https://%[3]s {
	bind 127.0.0.1
	tls %[4]s/tls.crt %[4]s/tls.key
	reverse_proxy %[2]s
}
http://%[5]s {
	bind 127.0.0.1
	reverse_proxy h2c://%[6]s
}
http://%[7]s {
	bind 127.0.0.1
	reverse_proxy %[8]s
}
`, port(a.caddy[plain]), a.upstream, port(a.caddy[secure]), dir, port(a.caddy[calls]), a.grpcUpstream, port(a.caddy[timed]), a.asker)
}
