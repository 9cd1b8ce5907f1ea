package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/route"
)

// findNginx returns Debian's nginx and its environment: one that is installed, that of
// FAIRWAY_NGINX, or what `make deps` and the benchmarks unpack below .cache.
func findNginx(t *testing.T) (string, []string) {
	if file := os.Getenv("FAIRWAY_NGINX"); file != "" {
		return file, os.Environ()
	}
	files, _ := filepath.Glob("../../.cache/*/root/usr/sbin/nginx")
	if len(files) > 0 {
		file, err := filepath.Abs(files[0])
		if err != nil {
			t.Fatal(err)
		}
		libs, _ := filepath.Glob(filepath.Join(filepath.Dir(file), "../lib/*-linux-gnu*"))
		return file, append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(libs, ":"))
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/usr/bin"} {
		if _, err := os.Stat(filepath.Join(dir, "nginx")); err == nil {
			return filepath.Join(dir, "nginx"), os.Environ()
		}
	}
	t.Skip("no nginx to compare with: `make deps` fetches Debian's")
	return "", nil
}

// twins are nginx and a gateway in front of the same endpoints.
type twins struct {
	*world
	nginx string // address

	mu   sync.Mutex
	seen map[string]*sight
	next int
}

// sight is what an endpoint saw of a request.
type sight struct {
	who, method, host, path, query, body string
	header                               http.Header
}

// endpoint answers as the request asks it to: with the status of ?status=, and with
// the headers of X-Answer, "NAME=VALUE" each.
func (w *twins) endpoint(who string) string {
	return w.backendFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		path, query, _ := strings.Cut(r.RequestURI, "?")
		s := &sight{who: who, method: r.Method, host: r.Host, path: path, query: query, body: string(body), header: r.Header}
		w.mu.Lock()
		w.seen[r.Header.Get("X-Test-Id")+" "+who] = s
		w.mu.Unlock()
		for _, h := range r.Header.Values("X-Answer") {
			name, value, _ := strings.Cut(h, "=")
			rw.Header().Add(name, value)
		}
		if d, err := time.ParseDuration(r.URL.Query().Get("sleep")); err == nil {
			time.Sleep(d)
		}
		if to := r.URL.Query().Get("accel"); to != "" {
			rw.Header().Set("X-Accel-Redirect", to)
		}
		rw.Header().Set("X-Who", who)
		if status, err := strconv.Atoi(r.URL.Query().Get("status")); err == nil {
			rw.WriteHeader(status)
		}
		fmt.Fprintln(rw, "from", who)
		if n, err := strconv.Atoi(r.URL.Query().Get("more")); err == nil {
			_, _ = io.WriteString(rw, strings.Repeat("more text\n", n))
		}
	}).String()
}

// ask is one request, and what became of it.
type ask struct {
	method, host, target, body string
	headers                    []string // "NAME: VALUE"
	chunked                    bool     // the body is
}

type outcome struct {
	status int
	header http.Header
	seen   map[string]*sight // by who
	took   time.Duration
	body   string
}

// send asks one of the two, octet by octet as it is written.
func (w *twins) send(addr string, a ask, whos []string) outcome {
	w.mu.Lock()
	w.next++
	id := fmt.Sprint("id", w.next)
	w.mu.Unlock()
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nX-Test-Id: %s\r\nConnection: close\r\n", a.method, a.target, a.host, id)
	for _, h := range a.headers {
		fmt.Fprintf(&b, "%s\r\n", h)
	}
	switch {
	case a.chunked:
		fmt.Fprintf(&b, "Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(a.body), a.body)
	case a.body != "":
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(a.body), a.body)
	default:
		b.WriteString("\r\n")
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	start := time.Now()
	go c.Write(b.Bytes())
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, &http.Request{Method: a.method})
	for err == nil && resp.StatusCode == http.StatusContinue {
		resp, err = http.ReadResponse(r, &http.Request{Method: a.method})
	}
	if err != nil {
		return outcome{status: -1}
	}
	text, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	out := outcome{body: string(text), status: resp.StatusCode, header: resp.Header, seen: map[string]*sight{}, took: time.Since(start)}
	if strings.HasPrefix(a.host, "mirror.") { // nobody waits for the copy
		eventually(w.t, func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.seen[id+" copies"] != nil
		}, "the copy arrives")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, who := range whos {
		if s := w.seen[id+" "+who]; s != nil {
			out.seen[who] = s
		}
	}
	return out
}

// compared are the headers of responses, and of requests as endpoints see them, that
// must be the same.
var (
	comparedResponse = []string{"Location", "Refresh", "Www-Authenticate", "Set-Cookie", "Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers",
		"Access-Control-Allow-Credentials", "Access-Control-Max-Age", "Access-Control-Expose-Headers", "X-Custom", "X-Who", "X-Hidden", "X-Twice", "Etag", "Last-Modified", "Content-Range", "Vary", "Allow", "Retry-After"}
	comparedRequest = []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Scheme", "X-Real-Ip", "X-Original-Forwarded-For", "X-Original-Forwarded-Host",
		"Authorization", "X-User", "X-Forwarded-Prefix", "User-Agent", "Accept", "X-Code", "X-Format", "X-Namespace", "X-Ingress-Name", "X-Service-Name", "X-Service-Port", "X-Original-Uri", "X-Original-Url", "X-Original-Method", "X_under_score", "X-Under_score", "Proxy", "Cookie", "Connection", "Content-Type", "Range", "If-None-Match", "If-Modified-Since", "Accept-Encoding", "Content-Encoding", "Referer", "Origin"}
)

// differences compares what became of a request.
func differences(theirs, ours outcome, also ...string) (out []string) {
	if theirs.status != ours.status {
		return []string{fmt.Sprintf("status %d, nginx %d", ours.status, theirs.status)}
	}
	for _, name := range slices.Concat(comparedResponse, also) {
		a, b := theirs.header.Values(name), ours.header.Values(name)
		for i, v := range b { // nginx writes out what a Location that it changed is relative to
			if name == "Location" && i < len(a) && strings.HasPrefix(v, "/") && strings.HasPrefix(a[i], "http://") && strings.HasSuffix(a[i], ".example"+v) {
				b[i] = a[i]
			}
		}
		if !slices.Equal(a, b) {
			out = append(out, fmt.Sprintf("%s: %q, nginx %q", name, b, a))
		}
	}
	for who := range theirs.seen {
		if ours.seen[who] == nil {
			out = append(out, who+" was asked by nginx only")
		}
	}
	for who, b := range ours.seen {
		a := theirs.seen[who]
		if a == nil {
			out = append(out, who+" was not asked by nginx")
			continue
		}
		if a.method != b.method || a.host != b.host || !samePath(a.path, b.path) || a.query != b.query || a.body != b.body {
			out = append(out, fmt.Sprintf("%s saw %s %s %s?%s (%d octets), with nginx %s %s %s?%s (%d)", who, b.method, b.host, b.path, b.query, len(b.body), a.method, a.host, a.path, a.query, len(a.body)))
		}
		for _, name := range comparedRequest {
			if x, y := a.header.Values(name), b.header.Values(name); !slices.Equal(x, y) {
				out = append(out, fmt.Sprintf("%s saw %s: %q, with nginx %q", who, name, y, x))
			}
		}
	}
	return out
}

// samePath compares what two servers would understand: nginx passes on what it got, we
// resolve dot segments, and escape other characters in what a rule rewrites.
func samePath(a, b string) bool {
	x, _, e1 := route.CanonicalPath(a)
	y, _, e2 := route.CanonicalPath(b)
	if e1 != nil || e2 != nil {
		u, _ := url.PathUnescape(a)
		v, _ := url.PathUnescape(b)
		return u == v
	}
	return x == y
}

// twin is one host in the words of both.
type twin struct {
	host        string
	annotations []string
	paths       []string // "TYPE PATH SERVICE"
	server      string   // of nginx.conf
	requests    func(r *rand.Rand) ask
	n           int // of requests
	allow       func(a ask, theirs, ours outcome) bool
	also        []string // headers of responses that are compared, too
}

// passing is what ingress-nginx writes into every location.
const passing = ` proxy_pass http://main; `

func locations(paths ...string) string {
	var b strings.Builder
	for _, p := range paths {
		fmt.Fprintf(&b, "  location %s {%s}\n", p, passing)
	}
	return b.String()
}

// startNginx runs nginx with the servers until the test ends.
func (w *twins) startNginx(all []twin, upstreams map[string]string) {
	w.nginx = "127.0.0.1:" + freePorts(w.t, 1)[0]
	var conf strings.Builder
	conf.WriteString(`  access_log off; server_tokens off; client_max_body_size 1m; port_in_redirect off; absolute_redirect on; server_names_hash_bucket_size 128;
  proxy_http_version 1.1; proxy_buffering off; proxy_redirect off;
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  proxy_set_header Host $http_host; proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Host $http_host;
  proxy_set_header X-Forwarded-Port 80; proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Scheme $scheme; proxy_set_header X-Scheme $scheme;
  proxy_set_header X-Original-Forwarded-For $http_x_forwarded_for; proxy_set_header X-Original-Forwarded-Host $http_x_forwarded_host; proxy_set_header Proxy ""; proxy_set_header Connection $connection_upgrade;
  limit_req_status 503; limit_conn_status 503;
  limit_req_zone $binary_remote_addr zone=rate:1m rate=2r/s; limit_conn_zone $binary_remote_addr zone=conns:1m;
`)
	for name, servers := range upstreams {
		fmt.Fprintf(&conf, "  upstream %s { %s }\n", name, servers)
	}
	fmt.Fprintf(&conf, "  server { listen %s default_server; server_name _; location / { return 404; } }\n", w.nginx)
	for _, s := range all {
		name := s.host
		if !strings.HasPrefix(s.server, "  server_name ") {
			name = "server_name " + s.host + ";"
		} else {
			name = ""
		}
		fmt.Fprintf(&conf, "  server { listen %s; %s\n%s  }\n", w.nginx, name, strings.ReplaceAll(s.server, "NGINX", w.nginx))
	}
	w.runNginx(conf.String(), map[string]string{"users": "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\nbob:$apr1$5/OcJxSy$0sUQQK1TzFHz.2TYzsLrs.\n"})
}

// runNginx runs nginx, which listens at w.nginx, until the test ends: http is what its
// block of that name holds, files are beside nginx.conf.
func (w *twins) runNginx(http string, files map[string]string) {
	file, env := findNginx(w.t.(*testing.T))
	dir, user := w.t.TempDir(), ""
	if os.Geteuid() == 0 {
		user = "user root; "
	}
	conf := fmt.Sprintf(`worker_processes 1; daemon off; %spid %s/pid; error_log %[2]s/error.log warn;
events { worker_connections 1000; }
http {
  client_body_temp_path %[2]s/b; proxy_temp_path %[2]s/p; fastcgi_temp_path %[2]s/f; uwsgi_temp_path %[2]s/u; scgi_temp_path %[2]s/s;
%[3]s}
`, user, dir, http)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(conf), 0o600); err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(file, "-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", filepath.Join(dir, "nginx.conf"))
	cmd.Env, cmd.SysProcAttr = env, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", w.nginx); err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			w.t.Fatalf("nginx does not start: %s\n%s\n%s", out.String(), log, conf)
		}
	}
}

// TestLikeNginx sends the same requests, made at random from a seed, to Debian's nginx,
// configured as ingress-nginx would, and to a gateway with the annotations, and compares
// the answers and what the endpoints saw.
func TestLikeNginx(t *testing.T) {
	w := &twins{world: newWorld(t), seen: map[string]*sight{}}
	ill := w.backendFunc(func(rw http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); rw.WriteHeader(503) }).String()
	main, other, auth, pages, copies := w.endpoint("main"), w.endpoint("other"), w.endpoint("auth"), w.endpoint("pages"), w.endpoint("copies")
	dead := freePorts(t, 1)[0]
	all := twinTable(auth, copies)
	w.startNginx(all, map[string]string{
		"main": "server " + main + ";", "other": "server " + other + ";", "auth": "server " + auth + ";", "pages": "server " + pages + ";", "copies": "server " + copies + ";",
		"halfdead": "server 127.0.0.1:" + dead + "; server " + main + ";", "halfill": "server " + ill + " max_fails=0; server " + main + " max_fails=0;"})
	objects := []any{opaque("users", "auth", "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\nbob:$apr1$5/OcJxSy$0sUQQK1TzFHz.2TYzsLrs.\n"), configMap("default", "custom", "X-Custom", "yes"),
		configMap("ingress-nginx", "ingress-nginx-controller", "global-allowed-response-headers", "X-Custom", "hide-headers", "X-Hidden", "allow-snippet-annotations", "true", "annotations-risk-level", "Critical")}
	for name, addr := range map[string]string{"main": main, "other": other, "auth": auth, "pages": pages, "copies": copies} {
		objects = append(objects, service(name), slice(name, netip.MustParseAddrPort(addr)))
	}
	objects = append(objects, service("halfdead"), sliceNamed("halfdead-1", "halfdead", netip.MustParseAddrPort("127.0.0.1:"+dead)), sliceNamed("halfdead-2", "halfdead", netip.MustParseAddrPort(main)))
	objects = append(objects, service("halfill"), sliceNamed("halfill-1", "halfill", netip.MustParseAddrPort(ill)), sliceNamed("halfill-2", "halfill", netip.MustParseAddrPort(main)))
	for _, s := range all {
		objects = append(objects, s.ingress())
	}
	w.set(objects...)
	for _, r := range w.server.live.Load().plan.Rejected {
		t.Errorf("rejected: %v", r)
	}
	whos := []string{"main", "other", "auth", "pages", "copies"}
	for i, s := range all {
		t.Run(s.host, func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(i), 5))
			for range max(s.n, 1) {
				a := s.requests(r)
				if a.method == "" {
					a.method = "GET"
				}
				if a.host == "" {
					a.host = s.host
				}
				theirs, ours := w.send(w.nginx, a, whos), w.send(w.server.Addr("http").String(), a, whos)
				if s.allow != nil && s.allow(a, theirs, ours) {
					continue
				}
				if d := differences(theirs, ours, s.also...); len(d) > 0 {
					t.Errorf("%s %s %s %q:\n  %s", a.method, a.host, a.target, a.headers, strings.Join(d, "\n  "))
				}
			}
		})
	}
	t.Run("rate", func(t *testing.T) { w.compareRates(t) })
	t.Run("connections", func(t *testing.T) { w.compareConnections(t) })
}

// compareConnections counts how many of five at once get through.
func (w *twins) compareConnections(t *testing.T) {
	for _, addr := range []string{w.nginx, w.server.Addr("http").String()} {
		var ok, no atomic.Int64
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				switch w.send(addr, ask{method: "GET", host: "conns.example", target: "/?sleep=700ms"}, nil).status {
				case 200:
					ok.Add(1)
				case 503:
					no.Add(1)
				}
			})
		}
		wg.Wait()
		if ok.Load() != 2 || no.Load() != 3 {
			t.Errorf("%s: %d of 5 got through and %d got 503, want 2 and 3", addr, ok.Load(), no.Load())
		}
	}
}

// compareRates counts how many of a burst get through.
func (w *twins) compareRates(t *testing.T) {
	count := func(addr string) (ok, refused int) {
		var n, no atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 10 {
					switch w.send(addr, ask{method: "GET", host: "rate.example", target: "/"}, nil).status {
					case 200:
						n.Add(1)
					case 503:
						no.Add(1)
					}
				}
			})
		}
		wg.Wait()
		return int(n.Load()), int(no.Load())
	}
	ok, refused := count(w.nginx)
	ours, oursRefused := count(w.server.Addr("http").String())
	// One, and a burst of ten, and two for every second that it took.
	if ok+refused != 40 || ours+oursRefused != 40 || ok < 10 || ours < 10 || ours-ok > 6 || ok-ours > 6 {
		t.Errorf("%d of 40 got through and %d got 503; with nginx %d and %d", ours, oursRefused, ok, refused)
	}
}

func (s *twin) ingress() *model.Ingress {
	ing := annotate(ingress(strings.ReplaceAll(s.host, ".", "-"), s.host), s.annotations...)
	for _, p := range s.paths {
		words := strings.Fields(p)
		kind := map[string]model.PathType{"Prefix": model.Prefix, "Exact": model.Exact, "Text": model.ImplementationSpecific}[words[0]]
		ing.Rules[0].Paths = append(ing.Rules[0].Paths, model.IngressPath{Path: words[1], Type: kind, Backend: model.IngressBackend{Service: words[2], Port: model.IntOrString{Int: 80}}})
	}
	return ing
}
