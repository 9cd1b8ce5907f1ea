package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// both are the addresses of nginx and of the gateway.
func (w *twins) both() []string { return []string{w.nginx, w.server.Addr("http").String()} }

// TestBandwidthLikeNginx: a response takes as long from both. (nginx bounds it only with
// proxy-buffering; we do in any case.)
func TestBandwidthLikeNginx(t *testing.T) {
	t.Parallel()
	w := &twins{world: newWorld(t), seen: map[string]*sight{}}
	main := w.endpoint("main")
	w.startNginx([]twin{{host: "slow.example", server: "  location / { proxy_buffering on; limit_rate 64k; limit_rate_after 32k;" + passing + "}\n"}}, map[string]string{"main": "server " + main + ";"})
	w.set(service("main"), slice("main", netip.MustParseAddrPort(main)), annotate(ingress("i", "slow.example", "/ main"), "limit-rate", "64", "limit-rate-after", "32"))
	for _, lines := range []int{1000, 30_000} { // of ten octets
		var took []time.Duration
		for _, addr := range w.both() {
			took = append(took, w.send(addr, ask{method: "GET", host: "slow.example", target: fmt.Sprint("/?more=", lines)}, nil).took)
		}
		if d := (took[1] - took[0]).Abs(); d > 1300*time.Millisecond || lines == 30_000 && took[1] < 3*time.Second { // nginx counts whole seconds of its clock
			t.Errorf("%d lines: %v, nginx %v", lines, took[1], took[0])
		}
	}
}

// TestHashLikeNginx: the same key goes to the same pod, keys are spread, and when a pod goes
// hardly any move but its own, as with nginx's consistent hash.
func TestHashLikeNginx(t *testing.T) {
	t.Parallel()
	w := &twins{world: newWorld(t), seen: map[string]*sight{}}
	var servers []string
	var slices []any
	for i := range 4 {
		addr := w.endpoint(fmt.Sprint(i))
		servers = append(servers, "server "+addr+";")
		slices = append(slices, sliceNamed(fmt.Sprint("main-", i), "main", netip.MustParseAddrPort(addr)))
	}
	hash := "hash $request_uri consistent; "
	w.startNginx([]twin{{host: "four.example", server: "  location / { proxy_pass http://four; }\n"}, {host: "three.example", server: "  location / { proxy_pass http://three; }\n"}},
		map[string]string{"four": hash + strings.Join(servers, " "), "three": hash + strings.Join(servers[1:], " ")})
	w.set(append(slices, service("main"), annotate(ingress("i", "four.example", "/ main"), "upstream-hash-by", "$request_uri"), annotate(ingress("j", "three.example", "/ main"), "upstream-hash-by", "$request_uri"))...)
	const keys = 400
	ask := func(addr, host string) (to [keys]string) {
		for i := range to {
			to[i] = w.send(addr, ask{method: "GET", host: host, target: fmt.Sprint("/key/", i)}, nil).header.Get("X-Who")
		}
		return to
	}
	figures := func(first, again, three [keys]string) (least, moved int) {
		count := map[string]int{}
		for i := range first {
			count[first[i]]++
			if first[i] != again[i] {
				t.Errorf("key %d goes to %s and to %s", i, first[i], again[i])
			}
			if first[i] != "0" && first[i] != three[i] {
				moved++
			}
		}
		return min(count["0"], count["1"], count["2"], count["3"]), moved
	}
	nginxLeast, nginxMoved := figures(ask(w.nginx, "four.example"), ask(w.nginx, "four.example"), ask(w.nginx, "three.example"))
	addr := w.server.Addr("http").String()
	first, again := ask(addr, "four.example"), ask(addr, "four.example")
	w.set(sliceNamed("main-0", "main"))
	least, moved := figures(first, again, ask(addr, "three.example"))
	if least < min(nginxLeast, keys/4)/2 || moved > nginxMoved+keys/20 {
		t.Errorf("the pod with the fewest has %d of %d keys, with nginx %d; %d move that need not, with nginx %d", least, keys, nginxLeast, moved, nginxMoved)
	}
}

// TestOriginsLikeNginx: several origins, one of them with any label, as ingress-nginx writes
// them into an expression. (Its expression does not begin at the beginning; ours does, so
// that xhttps://a.example is nobody. And we say Vary: Origin.)
func TestOriginsLikeNginx(t *testing.T) {
	t.Parallel()
	w := &twins{world: newWorld(t), seen: map[string]*sight{}}
	main := w.endpoint("main")
	headers := ""
	for _, h := range []string{"Origin $http_origin", "Credentials true", `Methods "GET, PUT"`, "Headers X-A", "Expose-Headers X-B", "Max-Age 5"} {
		name, value, _ := strings.Cut(h, " ")
		if name != "Max-Age" && name != "Expose-Headers" {
			name = "Allow-" + name
		}
		headers += fmt.Sprintf("add_header Access-Control-%s %s always; ", name, value)
	}
	server := `  location / { if ($http_origin ~* ((https://a\.example)|(https://[A-Za-z0-9\-]+\.b\.example)|(http://c\.example:8080))$ ) { set $cors 'true'; }
  if ($request_method = 'OPTIONS') { set $cors ${cors}options; }
  if ($cors = "true") { ` + headers + passing + `}
  if ($cors = "trueoptions") { ` + headers + ` return 204; }
` + passing + "}\n"
	w.startNginx([]twin{{host: "origins.example", server: server}}, map[string]string{"main": "server " + main + ";"})
	w.set(service("main"), slice("main", netip.MustParseAddrPort(main)), annotate(ingress("i", "origins.example", "/ main"), "enable-cors", "true", "cors-allow-origin", "https://a.example, https://*.b.example,http://c.example:8080",
		"cors-allow-methods", "GET, PUT", "cors-allow-headers", "X-A", "cors-expose-headers", "X-B", "cors-max-age", "5"))
	for _, origin := range []string{"", "https://a.example", "HTTPS://A.EXAMPLE", "http://a.example", "https://x.b.example", "https://x-1.b.example", "https://b.example", "https://x.y.b.example", "http://c.example:8080", "http://c.example", "https://a.example.evil", "null"} {
		for _, method := range []string{"GET", "OPTIONS", "PUT"} {
			for _, target := range []string{"/", "/?status=404"} {
				a := ask{method: method, host: "origins.example", target: target}
				if origin != "" {
					a.headers = []string{"Origin: " + origin}
				}
				theirs, ours := w.send(w.nginx, a, []string{"main"}), w.send(w.server.Addr("http").String(), a, []string{"main"})
				ours.header.Del("Vary")
				if d := differences(theirs, ours); len(d) > 0 {
					t.Errorf("%s %s from %q:\n  %s", method, target, origin, strings.Join(d, "\n  "))
				}
			}
		}
	}
}

// TestAuthCacheLikeNginx: how often the service of auth-url is asked, by key and status.
func TestAuthCacheLikeNginx(t *testing.T) {
	t.Parallel()
	w := &twins{world: newWorld(t), seen: map[string]*sight{}}
	var asked atomic.Int64
	auth := w.backendFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		status := 200
		fmt.Sscan(r.URL.Query().Get("status"), &status)
		rw.WriteHeader(status)
	})
	main := w.endpoint("main")
	w.nginx = "127.0.0.1:" + freePorts(t, 1)[0]
	dir := t.TempDir()
	w.runNginx(fmt.Sprintf(`  access_log off; proxy_http_version 1.1; proxy_cache_path %s levels=1:2 keys_zone=auth:1m;
  server { listen %s; server_name cache.example;
    location = /_check { internal; proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_cache auth; proxy_cache_key $key; proxy_cache_valid 200 401 5m; proxy_pass http://%s$check; }
    location / { set $check /x?status=$arg_auth; set $key $http_x_key$arg_auth; auth_request /_check; proxy_pass http://%s; } }
`, dir, w.nginx, auth, main), nil)
	w.set(service("main"), slice("main", netip.MustParseAddrPort(main)), annotate(ingress("i", "cache.example", "/ main"), "auth-url", "http://"+auth.String()+"/x?status=$arg_auth", "auth-cache-key", "$http_x_key$arg_auth", "auth-cache-duration", "200 401 5m"))
	for _, status := range []int{200, 401, 403, 204, 500} {
		var counts [2]int64
		for i, addr := range w.both() {
			before := asked.Load()
			for _, key := range []string{"a", "b", "a", "a", "b"} {
				w.send(addr, ask{method: "GET", host: "cache.example", target: fmt.Sprint("/?auth=", status), headers: []string{"X-Key: " + key}}, nil)
			}
			counts[i] = asked.Load() - before
		}
		if counts[0] != counts[1] {
			t.Errorf("answers of %d: asked %d times, by nginx %d", status, counts[1], counts[0])
		}
	}
}

// TestCiphersLikeNginx: which suites of TLS 1.2 a host takes.
func TestCiphersLikeNginx(t *testing.T) {
	t.Parallel()
	w := &twins{world: newWorld(t), seen: map[string]*sight{}}
	main := w.endpoint("main")
	w.nginx = "127.0.0.1:" + freePorts(t, 1)[0]
	server := secret(t, "server", "some.example", "all.example")
	conf := ""
	for host, ciphers := range map[string]string{"some.example": "ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305; ssl_prefer_server_ciphers on;", "one.example": "ssl_ciphers ECDHE-ECDSA-AES256-GCM-SHA384;"} {
		conf += fmt.Sprintf("  server { listen %s ssl; server_name %s; ssl_certificate server.crt; ssl_certificate_key server.key; %s location / { proxy_pass http://%s; } }\n", w.nginx, host, ciphers, main)
	}
	w.runNginx("  access_log off;\n"+conf, map[string]string{"server.crt": string(server.Data["tls.crt"]), "server.key": string(server.Data["tls.key"])})
	w.set(service("main"), slice("main", netip.MustParseAddrPort(main)), annotate(ingress("i", "some.example", "/ main"), "ssl-ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305"),
		annotate(ingress("j", "one.example", "/ main"), "ssl-ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384"))
	for _, host := range []string{"some.example", "one.example"} {
		for _, suite := range []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA} {
			var taken [2]bool
			for i, addr := range []string{w.nginx, w.server.Addr("https").String()} {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				c, err := (&tls.Dialer{Config: &tls.Config{ServerName: host, InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}}}).DialContext(ctx, "tcp", addr)
				cancel()
				if taken[i] = err == nil; err == nil {
					c.Close()
				}
			}
			if taken[0] != taken[1] {
				t.Errorf("%s takes %s: %v, nginx %v", host, tls.CipherSuiteName(suite), taken[1], taken[0])
			}
		}
	}
}

// peakEWMA is what lua/balancer/ewma.lua of ingress-nginx keeps of an endpoint: a mean of
// response times that decays in ten seconds, of silence too.
type peakEWMA struct {
	mean float64
	at   time.Time
}

func (m *peakEWMA) score(now time.Time) float64 {
	return m.mean * math.Exp(-max(now.Sub(m.at).Seconds(), 0)/10)
}

func (m *peakEWMA) observe(took time.Duration, now time.Time) {
	w := math.Exp(-max(now.Sub(m.at).Seconds(), 0) / 10)
	m.mean, m.at = m.mean*w+took.Seconds()*(1-w), now
}

// TestEWMADecays compares the mean of an endpoint with that of ingress-nginx, over times and
// silences; what differs is that a peak counts at once.
func TestEWMADecays(t *testing.T) {
	e := &endpoint{}
	var m peakEWMA
	now := time.Now()
	for i := range 200 {
		took := time.Duration(10+i%7) * time.Millisecond
		now = now.Add(time.Duration(50+i*13%200) * time.Millisecond)
		e.observe(took, now)
		m.observe(took, now)
	}
	for _, later := range []time.Duration{0, time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second} {
		ours, theirs := e.latency(now.Add(later)), m.score(now.Add(later))
		if r := ours / theirs; math.IsNaN(r) || r < .8 || r > 1.7 {
			t.Errorf("%v later: %v, theirs %v", later, ours, theirs)
		}
	}
}
