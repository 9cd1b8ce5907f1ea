package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/fairway-net/fairway/internal/model"
)

// The 25 scenarios of kubernetes-sigs/ingress-controller-conformance (path_rules: 16,
// host_rules: 6, and one each of default_backend, with six examples, load_balancing and
// ingress_class) restated: who asks
// what gets which Service. The status of the Ingress, which they wait for, is
// tested with the controller.

// typed is an Ingress whose rules are "HOST TYPE PATH SERVICE", with port 80.
func typed(name string, rules ...string) *model.Ingress {
	ing := &model.Ingress{Name: named(name), ClassName: "fairway", Annotations: map[string]string{}}
	for _, r := range rules {
		f := strings.Fields(r)
		kind := map[string]model.PathType{"Exact": model.Exact, "Prefix": model.Prefix, "Specific": model.ImplementationSpecific}[f[1]]
		ing.Rules = append(ing.Rules, model.IngressRule{Host: f[0], Paths: []model.IngressPath{{Path: f[2], Type: kind,
			Backend: model.IngressBackend{Service: f[3], Port: model.IntOrString{Int: 80}}}}})
	}
	return ing
}

func (w *world) serve(services ...string) {
	for _, s := range services {
		w.set(service(s), slice(s, addrOf(w.backend(s))))
	}
}

func TestConformancePathRules(t *testing.T) {
	w := newWorld(t)
	w.serve("foo-exact", "foo-prefix", "aaa-slash-bbb-prefix", "aaa-prefix", "aaa-slash-bbb-slash-prefix", "foo-slash-exact")
	w.set(typed("path-rules",
		"exact-path-rules Exact /foo foo-exact",
		"prefix-path-rules Prefix /foo foo-prefix", "prefix-path-rules Prefix /aaa/bbb aaa-slash-bbb-prefix", "prefix-path-rules Prefix /aaa aaa-prefix",
		"mixed-path-rules Prefix /foo foo-prefix", "mixed-path-rules Exact /foo foo-exact",
		"trailing-slash-path-rules Prefix /aaa/bbb/ aaa-slash-bbb-slash-prefix", "trailing-slash-path-rules Exact /foo/ foo-slash-exact"))
	for _, c := range []struct{ name, url, want string }{ // "": 404
		{"exact /foo matches request /foo", "http://exact-path-rules/foo", "foo-exact"},
		{"exact /foo does not match request /foo/", "http://exact-path-rules/foo/", ""},
		{"exact /foo does not match request /FOO", "http://exact-path-rules/FOO", ""},
		{"exact /foo does not match request /bar", "http://exact-path-rules/bar", ""},
		{"prefix /foo matches request /foo", "http://prefix-path-rules/foo", "foo-prefix"},
		{"prefix /foo matches request /foo/", "http://prefix-path-rules/foo/", "foo-prefix"},
		{"prefix /foo does not match request /FOO", "http://prefix-path-rules/FOO", ""},
		{"prefix /aaa/bbb matches request /aaa/bbb", "http://prefix-path-rules/aaa/bbb", "aaa-slash-bbb-prefix"},
		{"prefix /aaa/bbb matches request /aaa/bbb/ccc", "http://prefix-path-rules/aaa/bbb/ccc", "aaa-slash-bbb-prefix"},
		{"prefix /aaa matches request /aaa/ccc", "http://prefix-path-rules/aaa/ccc", "aaa-prefix"},
		{"prefix /aaa does not match request /aaaccc", "http://prefix-path-rules/aaaccc", ""},
		{"prefix /foo matches request /foo/, once more", "http://prefix-path-rules/foo/", "foo-prefix"}, // it is there twice
		{"exact /foo matches request /foo before prefix /foo", "http://mixed-path-rules/foo", "foo-exact"},
		{"prefix /aaa/bbb/ matches request /aaa/bbb", "http://trailing-slash-path-rules/aaa/bbb", "aaa-slash-bbb-slash-prefix"},
		{"prefix /aaa/bbb/ matches request /aaa/bbb/", "http://trailing-slash-path-rules/aaa/bbb/", "aaa-slash-bbb-slash-prefix"},
		{"exact /foo/ does not match request /foo", "http://trailing-slash-path-rules/foo", ""},
	} {
		t.Run(c.name, func(t *testing.T) { w.wants(t, c.url, c.want) })
	}
}

// wants asks for a URL: a Service's name means 200 and its answer, to which host and path
// have come as they were sent; "" a 404.
func (w *world) wants(t *testing.T, url, service string) {
	t.Helper()
	resp, text := w.get(url)
	status := http.StatusOK
	if service == "" {
		status = http.StatusNotFound
	}
	if got := resp.Header.Get("X-Backend"); resp.StatusCode != status || got != service {
		t.Errorf("%s: %d by %q, want %d by %q", url, resp.StatusCode, got, status, service)
	}
	if u := resp.Request.URL; service != "" && !strings.Contains(text, fmt.Sprintf(" %s host=%s ", u.Path, u.Host)) {
		t.Errorf("%s: the Service saw %q", url, text)
	}
}

func TestConformanceHostRules(t *testing.T) {
	w := newWorld(t)
	w.serve("wildcard-foo-com", "foo-bar-com")
	ing := typed("host-rules", "*.foo.com Prefix / wildcard-foo-com", "foo.bar.com Prefix / foo-bar-com")
	ing.Rules[1].Paths[0].Backend.Port = model.IntOrString{Str: "web"}
	ing.TLS = []model.IngressTLS{{Hosts: []string{"foo.bar.com"}, Secret: "conformance-tls"}}
	ing.Annotations["nginx.ingress.kubernetes.io/ssl-redirect"] = "false" // the suite asks the TLS host over plain HTTP as well
	w.set(ing, secret(t, "conformance-tls", "foo.bar.com"))
	t.Run("host foo.bar.com matches TLS request foo.bar.com", func(t *testing.T) {
		resp, text := w.get("https://foo.bar.com/")
		if err := resp.TLS.PeerCertificates[0].VerifyHostname("foo.bar.com"); err != nil || resp.StatusCode != 200 || !strings.Contains(text, "host=foo.bar.com") {
			t.Errorf("https://foo.bar.com/: %d %s, %v", resp.StatusCode, text, err)
		}
	})
	for _, c := range []struct{ name, url, want string }{
		{"host foo.bar.com matches request foo.bar.com", "http://foo.bar.com/", "foo-bar-com"},
		{"host foo.bar.com does not match request subdomain.bar.com", "http://subdomain.bar.com/", ""},
		{"wildcard matches by the shared suffix", "http://bar.foo.com/", "wildcard-foo-com"},
		{"wildcard covers no more than one label", "http://baz.bar.foo.com/", ""},
		{"wildcard covers no less than one label", "http://foo.com/", ""},
	} {
		t.Run(c.name, func(t *testing.T) { w.wants(t, c.url, c.want) })
	}
}

func TestConformanceDefaultBackend(t *testing.T) {
	w := newWorld(t)
	var got http.Request
	echo := handled(t, func(rw http.ResponseWriter, r *http.Request) {
		got = *r
		fmt.Fprint(rw, "echo")
	})
	ing := &model.Ingress{Name: named("default-backend"), ClassName: "fairway", Default: &model.IngressBackend{Service: "echo-service", Port: model.IntOrString{Int: 80}}}
	w.set(service("echo-service"), slice("echo-service", addrOf(echo)), ing)
	for _, c := range []struct{ method, host, path string }{{"GET", "my-host", ""}, {"GET", "my-host", "sub-path"}, {"POST", "some-host", ""},
		{"PUT", "127.0.0.1", "resource"}, {"DELETE", "some-host", "resource"}, {"PATCH", "my-host", "resource"}} {
		resp, text := w.request(c.method, "http://"+c.host+"/"+c.path, nil)
		if resp.StatusCode != 200 || text != "echo" || resp.Proto != "HTTP/1.1" {
			t.Errorf("%+v: %d %s %q", c, resp.StatusCode, resp.Proto, text)
		}
		for _, name := range []string{"Content-Length", "Content-Type", "Date", "Server"} {
			if resp.Header.Get(name) == "" {
				t.Errorf("%+v: no %s", c, name)
			}
		}
		if got.Method != c.method || got.URL.Path != "/"+c.path || got.Proto != "HTTP/1.1" || got.UserAgent() != "Go-http-client/1.1" {
			t.Errorf("%+v: the Service sees %s %s %s %q", c, got.Method, got.URL, got.Proto, got.UserAgent())
		}
	}
}

func TestConformanceLoadBalancing(t *testing.T) {
	w := newWorld(t)
	objects := []any{service("echo-service"), &model.Ingress{Name: named("load-balancing"), ClassName: "fairway", Default: &model.IngressBackend{Service: "echo-service", Port: model.IntOrString{Int: 80}}}}
	for i := range 10 {
		pod := fmt.Sprint("pod-", i)
		objects = append(objects, sliceNamed(pod, "echo-service", addrOf(w.backend(pod))))
	}
	w.set(objects...)
	pods := map[string]int{}
	for range 100 {
		resp, _ := w.get("http://load-balancing/")
		if resp.StatusCode != 200 {
			t.Fatalf("%d", resp.StatusCode)
		}
		pods[resp.Header.Get("X-Backend")]++
	}
	if len(pods) != 10 {
		t.Errorf("%d pods answered: %v", len(pods), pods)
	}
}

func TestConformanceIngressClass(t *testing.T) {
	w := newWorld(t)
	w.serve("ingress-class-prefix")
	ing := typed("test-ingress-class", "ingress-class Prefix / ingress-class-prefix")
	ing.ClassName = "some-invalid-class-name"
	w.set(ing)
	w.wants(t, "http://ingress-class/", "")
	if plan := w.server.live.Load().plan; len(plan.Claimed) != 0 {
		t.Errorf("claimed %v: its status would show an address", plan.Claimed)
	}
}
