package tutorial

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/dialect/nginx"
)

// annotated is one Ingress, for host NAME.annotations, and what becomes of requests
// for it. Its path / of type Prefix leads to Service blue unless said otherwise.
type annotated struct {
	name        string
	host        string // NAME.annotations if ""
	annotations string // KEY VALUE, one a line
	path, kind  string // of the rule
	service     string // NAME or NAME:PORT
	tls         bool   // spec.tls names the host
	options     bool   // asked with the options of optionsManifest

	// One request and its response. Not made if url and status are zero and effect is not.
	url      string // "https://host/…" or the path, for plain HTTP
	method   string
	headers  string // NAME: VALUE, one a line
	body     int    // octets
	status   int
	response string // NAME: VALUE that the response must have, one a line; "NAME:" must not be there
	text     string // that its body must hold, one a line; "!TEXT" that it must not

	// effect makes more requests and says what is wrong with their responses.
	effect func(a *annotated, g *gateway) string
}

// TestAnnotationCases: every annotation that has an effect is in one of the cases.
func TestAnnotationCases(t *testing.T) {
	covered := map[string]bool{}
	for _, c := range annotationCases() {
		for line := range strings.Lines(c.annotations) {
			key, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			covered[key] = true
		}
	}
	for _, a := range nginx.Annotations() {
		if (a.Effect == dialect.Full || a.Effect == dialect.Partly) && !covered[a.Key] {
			t.Errorf("no case has the annotation %s", a.Key)
		}
	}
}

// testAnnotations asks for all of them on the cluster, with one manifest: first without
// options, then with some, then with an access log.
func (c *cluster) testAnnotations(t *testing.T) {
	g := newGateway(t)
	all := annotationCases()
	file, apps := filepath.Join(t.TempDir(), "annotations.yaml"), filepath.Join("examples", "ingress", "apps.yaml")
	if err := os.WriteFile(file, []byte(annotationManifest(all, g.certs)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.kubectl(t, "delete", "--ignore-not-found", "--wait=false", "-f", file, "-f", apps) })
	c.kubectl(t, "apply", "-f", apps, "-f", file)
	c.kubectl(t, "rollout", "status", "deployment/blue", "deployment/green", "deployment/many", "deployment/late", "deployment/shut", "--timeout", "60s")
	g.address = c.kubectl(t, "-n", "fairway-system", "get", "service", "fairway-gateway", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
	c.makeHalf(t)
	for i := range all {
		if a := &all[i]; !a.options {
			t.Run(a.name, func(t *testing.T) { a.check(t, g) })
		}
	}
	t.Run("access log", func(t *testing.T) { c.testAccessLog(t, g) })
	options := filepath.Join(t.TempDir(), "options.yaml")
	if err := os.WriteFile(options, []byte(optionsManifest), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.kubectl(t, "delete", "--ignore-not-found", "-f", options) })
	c.kubectl(t, "apply", "-f", options)
	for i := range all {
		if a := &all[i]; a.options {
			t.Run(a.name, func(t *testing.T) { a.check(t, g) })
		}
	}
}

// check asks until all is as it should be: the gateway has just heard of it.
func (a *annotated) check(t *testing.T, g *gateway) {
	var problem string
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		problem = ""
		if a.effect == nil || a.url != "" || a.status != 0 {
			problem = a.ask(g)
		}
		if problem == "" && a.effect != nil {
			problem = a.effect(a, g)
		}
		if problem == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Error(problem)
			return
		}
	}
}

// testAccessLog: requests of Ingress unlogged are in no access log, others are.
func (c *cluster) testAccessLog(t *testing.T, g *gateway) {
	patch := func(op string) {
		c.kubectl(t, "-n", "fairway-system", "patch", "daemonset", "fairway-gateway", "--type", "json", "-p", op)
		c.kubectl(t, "-n", "fairway-system", "rollout", "status", "daemonset/fairway-gateway", "--timeout", "60s")
	}
	args := strings.Fields(c.kubectl(t, "-n", "fairway-system", "get", "daemonset", "fairway-gateway", "-o", "jsonpath={.spec.template.spec.containers[0].args[*]}"))
	patch(`[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--access-log"}]`)
	defer patch(fmt.Sprintf(`[{"op": "remove", "path": "/spec/template/spec/containers/0/args/%d"}]`, len(args)))
	var log string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		for _, host := range []string{"unlogged", "allowed-too"} {
			if r := g.get("http://" + host + ".annotations/told"); r.problem != "" {
				t.Log(r.problem)
			}
		}
		log = c.kubectl(t, "-n", "fairway-system", "logs", "-l", "app.kubernetes.io/component=gateway", "--tail=-1", "--ignore-errors") // a pod may be going
		if strings.Contains(log, "allowed-too.annotations") {
			break
		}
	}
	if !strings.Contains(log, "allowed-too.annotations") || strings.Contains(log, "unlogged.annotations") {
		t.Errorf("the access log is\n%s", log)
	}
}

// gateway asks Ingresses.
type gateway struct {
	address string
	certs   certs
}

func newGateway(t *testing.T) *gateway { return &gateway{certs: makeCerts(t)} }

// reply is what came of a request.
type reply struct {
	status  int
	header  http.Header
	text    string
	tls     *tls.ConnectionState
	problem string // of the connection
	took    time.Duration
}

// pod is the value of a line that the pod wrote of the request.
func (r reply) line(name string) string {
	for line := range strings.Lines(r.text) {
		if v, ok := strings.CutPrefix(line, name+": "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// get asks for a URL. Headers are "NAME: VALUE".
func (g *gateway) get(url string, headers ...string) reply {
	return g.request("GET", url, "", nil, headers...)
}

// request asks on a connection of its own, with the TLS that is given.
func (g *gateway) request(method, url, body string, config *tls.Config, headers ...string) reply {
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return reply{problem: err.Error()}
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	if config == nil {
		config = &tls.Config{}
	}
	config.InsecureSkipVerify = true //nolint:gosec // what the gateway has is its own
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, _ := net.SplitHostPort(addr)
			return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(g.address, port))
		}}
	begun := time.Now()
	resp, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(r)
	if err != nil {
		return reply{problem: err.Error()}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	out := reply{status: resp.StatusCode, header: resp.Header, text: string(b), tls: resp.TLS, took: time.Since(begun)}
	if err != nil {
		out.problem = err.Error()
	}
	return out
}

// at is a URL of the Ingress's host.
func (a *annotated) at(path string) string {
	if strings.HasPrefix(path, "http") {
		return path
	}
	host := a.host
	if host == "" {
		host = a.name + ".annotations"
	}
	return "http://" + host + "/" + strings.TrimPrefix(path, "/")
}

// ask makes the request and returns what is wrong with the response.
func (a *annotated) ask(g *gateway) string {
	var headers []string
	for line := range strings.Lines(a.headers) {
		headers = append(headers, strings.TrimSpace(line))
	}
	method := a.method
	if method == "" {
		method = "GET"
	}
	r := g.request(method, a.at(a.url), strings.Repeat("x", a.body), nil, headers...)
	if r.problem != "" {
		return r.problem
	}
	return a.compare(r)
}

func (a *annotated) compare(r reply) string {
	status := a.status
	if status == 0 {
		status = http.StatusOK
	}
	if r.status != status {
		return fmt.Sprintf("status %d, want %d\n%v\n%s", r.status, status, r.header, r.text)
	}
	for line := range strings.Lines(a.response) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		have, there := r.header[http.CanonicalHeaderKey(name)]
		if value == "" && there || value != "" && !strings.Contains(strings.Join(have, "\n"), value) {
			return fmt.Sprintf("header %s is %q, want %q", name, have, value)
		}
	}
	for line := range strings.Lines(a.text) {
		line = strings.TrimSpace(line)
		if not, ok := strings.CutPrefix(line, "!"); ok && strings.Contains(r.text, not) || !ok && !strings.Contains(r.text, line) {
			return fmt.Sprintf("want %q in:\n%s", line, r.text)
		}
	}
	return ""
}
