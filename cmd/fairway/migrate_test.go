package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/migrate"
	"github.com/fairway-net/fairway/internal/testkit"
)

// runWith runs the program as a shell would, and returns its exit status.
func runWith(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	env := &cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &err, Getenv: func(string) string { return "" }}
	status = run(t.Context(), env, args)
	return status, out.String(), err.String()
}

const (
	webService = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n---\n"
	webIngress = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: web\n  annotations: {nginx.ingress.kubernetes.io/%s}\nspec:\n  ingressClassName: nginx\n  defaultBackend: {service: {name: web, port: {number: 80}}}\n"
	webOptions = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: ingress-nginx-controller, namespace: ingress-nginx}\ndata: {%s}\n"
)

// TestMigrateExitStatus: 0 if all is supported, 1 if not, 2 if the question could not be answered.
func TestMigrateExitStatus(t *testing.T) {
	for name, c := range map[string]struct {
		manifest string
		status   int
		text     string // of what is printed, or of the error
	}{
		"works":              {webService + fmt.Sprintf(webIngress, `proxy-read-timeout: "5"`), 0, "1 work as they are"},
		"differs":            {webService + fmt.Sprintf(webIngress, `mirror-request-body: "off"`), 0, "1 differ"},
		"missing":            {fmt.Sprintf(webIngress, `proxy-read-timeout: "5"`), 0, "fine if it is in the cluster"},
		"misspelt":           {webService + fmt.Sprintf(webIngress, `proxy-read-timout: "5"`), 1, "did you mean nginx.ingress.kubernetes.io/proxy-read-timeout?"},
		"invalid":            {webService + fmt.Sprintf(webIngress, `proxy-read-timeout: soon`), 1, "not a number of seconds"},
		"unsupported":        {webService + fmt.Sprintf(webIngress, `enable-modsecurity: "true"`), 1, "no ModSecurity"},
		"option":             {webService + fmt.Sprintf(webIngress, `proxy-read-timeout: "5"`) + fmt.Sprintf(webOptions, `enable-modsecurity: "true"`), 1, "web application firewall"},
		"option that works":  {webService + fmt.Sprintf(webIngress, `proxy-read-timeout: "5"`) + fmt.Sprintf(webOptions, `keep-alive: "10"`), 0, "1 work"},
		"of another class":   {webService + strings.Replace(fmt.Sprintf(webIngress, `enable-modsecurity: "true"`), "nginx\n  default", "traefik\n  default", 1), 0, "1 of other classes"},
		"nothing":            {webService, 0, "0 work as they are"},
		"no manifest at all": {"kind: [", 2, "a.yaml"},
	} {
		file := filepath.Join(t.TempDir(), "a.yaml")
		if err := os.WriteFile(file, []byte(c.manifest), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, given := range []string{file, filepath.Dir(file)} {
			status, out, errs := runWith(t, "migrate", "ingress-nginx", "-f", given)
			if status != c.status || !strings.Contains(out+errs, c.text) || (errs != "") != (status == 2) {
				t.Errorf("%s: status %d, want %d:\n%s%s", name, status, c.status, out, errs)
			}
		}
		status, out, _ := runWith(t, "migrate", "ingress-nginx", "-o", "json", "-f", file)
		var r migrate.Report
		if err := json.Unmarshal([]byte(out), &r); status != c.status || status != 2 && err != nil {
			t.Errorf("%s: as JSON status %d, %v:\n%s", name, status, err, out)
		}
	}
	for _, args := range [][]string{{"-f", "/nowhere"}, {"-o", "yaml", "-f", "."}, {"stray"}, {"--context", "nowhere", "--kubeconfig", "/nowhere"}} {
		if status, _, errs := runWith(t, append([]string{"migrate", "ingress-nginx"}, args...)...); status != 2 || errs == "" {
			t.Errorf("%q: status %d, %s", args, status, errs)
		}
	}
}

// TestMigrateOfACluster: the same questions to an API server, which is only read.
func TestMigrateOfACluster(t *testing.T) {
	api := testkit.NewAPI(t)
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, fmt.Appendf(nil, "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: %q}}]\nusers: [{name: u, user: {}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n", server.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	api.Set("services", testkit.Object{"metadata": testkit.Object{"namespace": "default", "name": "web"}, "spec": testkit.Object{"ports": []any{testkit.Object{"port": 80}}}})
	ingress := func(annotation, value string) {
		api.Set("ingresses", testkit.Object{"metadata": testkit.Object{"namespace": "default", "name": "web", "annotations": testkit.Object{"nginx.ingress.kubernetes.io/" + annotation: value}},
			"spec": testkit.Object{"ingressClassName": "nginx", "defaultBackend": testkit.Object{"service": testkit.Object{"name": "web", "port": testkit.Object{"number": 80}}}}})
	}
	for _, c := range []struct {
		annotation, value string
		status            int
		text              string
	}{{"proxy-read-timeout", "5", 0, "1 work as they are"}, {"proxy-read-timeout", "soon", 1, "not a number of seconds"}, {"ssl-ciphers", "ECDHE-RSA-AES128-GCM-SHA256", 0, "1 differ"}} {
		ingress(c.annotation, c.value)
		for _, more := range [][]string{nil, {"--context", "c"}, {"-o", "json"}} {
			status, out, errs := runWith(t, append([]string{"migrate", "ingress-nginx", "--kubeconfig", kubeconfig}, more...)...)
			if status != c.status || errs != "" || more == nil && !strings.Contains(out, c.text) {
				t.Errorf("%s: %s, %q: status %d, want %d:\n%s%s", c.annotation, c.value, more, status, c.status, out, errs)
			}
		}
	}
	if w := api.Writes(); len(w) > 0 {
		t.Errorf("wrote %v", w)
	}
	server.Close()
	if status, _, errs := runWith(t, "migrate", "ingress-nginx", "--kubeconfig", kubeconfig); status != 2 || !strings.Contains(errs, "give --context or --kubeconfig") {
		t.Errorf("without an answer: status %d\n%s", status, errs)
	}
}
