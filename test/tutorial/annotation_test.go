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

// annotated is one Ingress, for host NAME.annotations, and what becomes of a
// request for it. Its path / of type Prefix leads to Service blue unless said otherwise.
type annotated struct {
	name        string
	annotations string // KEY VALUE, one a line
	path, kind  string // of the rule
	service     string

	url     string // "https://host/…" or the path, for plain HTTP
	method  string
	headers string // NAME: VALUE, one a line
	body    int    // octets

	status   int
	response string // NAME: VALUE that the response must have, one a line; "NAME:" must not be there
	text     string // that its body must hold, one a line; "!TEXT" that it must not
}

// authURL asks pod green, which answers with the status of the path.
const authURL = "auth-url http://green.default.svc.cluster.local/status/"

// annotationCases have every annotation that has an effect.
var annotationCases = []annotated{
	{name: "rewrite", annotations: "rewrite-target /$2\nx-forwarded-prefix /api", path: "/api(/|$)(.*)", kind: "ImplementationSpecific", url: "/api/cart?x=y", text: "path: /cart\nquery: x=y\nheader X-Forwarded-Prefix: /api"},
	{name: "regex", annotations: "use-regex true", path: "/v[0-9]+", kind: "ImplementationSpecific", url: "/V12/x", text: "path: /V12/x"},
	{name: "app-root", annotations: "app-root /login", status: 302, response: "Location: http://app-root.annotations/login"},
	{name: "tls-off", annotations: "ssl-redirect false", text: "pod: blue"},
	{name: "tls-forced", annotations: "force-ssl-redirect true\npreserve-trailing-slash true", url: "/x/", status: 308, response: "Location: https://tls-forced.annotations/x/"},
	{name: "tls-port", annotations: "force-ssl-redirect true\nuse-port-in-redirects true", url: "/x", status: 308, response: "Location: https://tls-port.annotations:443/x"},
	{name: "permanent", annotations: "permanent-redirect https://new.example$request_uri\npermanent-redirect-code 308", url: "/a?b", status: 308, response: "Location: https://new.example/a?b"},
	{name: "temporal", annotations: "temporal-redirect https://new.example/\ntemporal-redirect-code 307", status: 307, response: "Location: https://new.example/"},
	{name: "relative", annotations: "relative-redirects true", path: "/docs/", kind: "ImplementationSpecific", url: "/docs", status: 301, response: "Location: /docs/"},
	{name: "short", annotations: "from-to-www-redirect true", url: "http://www.short.annotations/x", status: 308, response: "Location: http://short.annotations/x"},
	{name: "alias", annotations: "server-alias other.alias.annotations", url: "http://other.alias.annotations/", text: "pod: blue"},
	{name: "protocol", annotations: "backend-protocol HTTP\nproxy-connect-timeout 2\nproxy-send-timeout 5\nproxy-read-timeout 1\nproxy-next-upstream-tries 1\nproxy-next-upstream error\nproxy-next-upstream-timeout 5", url: "/sleep?d=3s", status: 504},
	{name: "body", annotations: "proxy-body-size 1k", method: "POST", body: 1025, status: 413},
	{name: "vhost", annotations: "upstream-vhost $service_name.internal", text: "host: blue.internal"},
	{name: "unlogged", annotations: "enable-access-log false\nservice-upstream true\nload-balance ewma", text: "pod: blue"},
	{name: "hash", annotations: "upstream-hash-by $request_uri\nupstream-hash-by-subset true\nupstream-hash-by-subset-size 2", text: "pod: blue"},
	{name: "sticky", annotations: "affinity cookie\naffinity-mode persistent\nsession-cookie-name route\nsession-cookie-path /x\nsession-cookie-max-age 60\nsession-cookie-expires 60\nsession-cookie-samesite Lax\n" +
		"session-cookie-secure true\nsession-cookie-domain sticky.annotations\nsession-cookie-change-on-failure true\nsession-cookie-conditional-samesite-none true\naffinity-canary-behavior legacy",
		response: "Set-Cookie: Path=/x; Domain=sticky.annotations; Expires="},
	{name: "allowed", annotations: "whitelist-source-range 192.0.2.0/24", status: 403},
	{name: "allowed-too", annotations: "allowlist-source-range 0.0.0.0/0", text: "pod: blue"},
	{name: "denied", annotations: "denylist-source-range 0.0.0.0/0", status: 403},
	{name: "auth", annotations: authURL + "200\nauth-method POST\nauth-response-headers X-Echo-Pod\nauth-always-set-cookie true\nauth-cache-key $http_x_key\nauth-cache-duration 200 1m\nauth-request-redirect /x", headers: "X-Echo-Pod: mallory", text: "pod: blue\nheader X-Echo-Pod: green\n!mallory"},
	{name: "auth-no", annotations: authURL + "403", status: 403},
	{name: "auth-sign", annotations: authURL + "401\nauth-signin https://$host/start\nauth-signin-redirect-param next\nauth-proxy-set-headers annotation-headers", url: "/x", status: 302, response: "Location: https://auth-sign.annotations/start?next=http://auth-sign.annotations%2Fx"},
	{name: "auth-open", annotations: "enable-global-auth false", text: "pod: blue"},
	{name: "password", annotations: "auth-type basic\nauth-secret annotation-users\nauth-secret-type auth-map\nauth-realm Staff", status: 401, response: `WWW-Authenticate: Basic realm="Staff"`},
	{name: "password-yes", annotations: "auth-type basic\nauth-secret annotation-users\nauth-secret-type auth-map", headers: "Authorization: Basic YWxpY2U6c2VjcmV0", text: "pod: blue\n!Authorization"},
	{name: "any", annotations: "satisfy any\nauth-type basic\nauth-secret annotation-users\nauth-secret-type auth-map\nallowlist-source-range 0.0.0.0/0", text: "pod: blue"},
	{name: "cors", annotations: "enable-cors true\ncors-allow-origin https://*.cors.example\ncors-allow-methods GET\ncors-allow-headers X-A\ncors-expose-headers X-B\ncors-allow-credentials false\ncors-max-age 5", method: "OPTIONS", headers: "Origin: https://a.cors.example",
		status: 204, response: "Access-Control-Allow-Origin: https://a.cors.example\nAccess-Control-Allow-Methods: GET\nAccess-Control-Allow-Headers: X-A\nAccess-Control-Expose-Headers: X-B\nAccess-Control-Max-Age: 5\nAccess-Control-Allow-Credentials:"},
	{name: "canary", text: "pod: blue"},
	{name: "canary-of", annotations: "canary true\ncanary-by-header X-Canary\ncanary-by-header-value beta\ncanary-by-header-pattern be.*\ncanary-by-cookie canary\ncanary-weight 0\ncanary-weight-total 1000", service: "green", url: "http://canary.annotations/", headers: "X-Canary: beta", text: "pod: green"},
	{name: "limited", annotations: "limit-rps 100\nlimit-rpm 1000\nlimit-connections 10\nlimit-burst-multiplier 2\nlimit-whitelist 0.0.0.0/0\nlimit-allowlist 0.0.0.0/0\nlimit-rate 1000\nlimit-rate-after 1000", text: "pod: blue"},
	{name: "headers", annotations: "custom-headers default/annotation-headers", response: "X-Custom:"}, // no option allows it
	{name: "errors", annotations: "custom-http-errors 418\ndefault-backend green", url: "/status/418", status: 200, text: "pod: green\nheader X-Code: 418\nheader X-Ingress-Name: errors"},
	{name: "errors-own", annotations: "custom-http-errors 418\ndefault-backend green\ndisable-proxy-intercept-errors true", url: "/status/418", status: 418, text: "pod: blue"},
	{name: "mirror", annotations: "mirror-target http://green.default.svc.cluster.local$request_uri\nmirror-host copy\nmirror-request-body off", text: "pod: blue"},
	{name: "revised", annotations: "proxy-cookie-domain a b\nproxy-cookie-path /a /b\nproxy-redirect-from http://a/\nproxy-redirect-to http://b/", text: "pod: blue"},
	{name: "backend-tls", annotations: "proxy-ssl-verify off\nproxy-ssl-verify-depth 2\nproxy-ssl-name blue\nproxy-ssl-server-name on\nproxy-ssl-protocols TLSv1.3\nproxy-ssl-ciphers ECDHE-ECDSA-AES128-GCM-SHA256\nproxy-ssl-secret annotation-users\nbackend-protocol HTTPS", status: 502},
	{name: "client-cert", annotations: "auth-tls-secret annotation-ca\nauth-tls-verify-client on\nauth-tls-verify-depth 2\nauth-tls-pass-certificate-to-upstream true\nauth-tls-match-cn CN=x", url: "https://client-cert.annotations/", status: 400},
	{name: "client-page", annotations: "auth-tls-secret annotation-ca\nauth-tls-error-page https://help.example/", url: "https://client-page.annotations/", status: 302, response: "Location: https://help.example/"},
	{name: "ciphers", annotations: "ssl-ciphers ECDHE-ECDSA-AES128-GCM-SHA256", url: "https://ciphers.annotations/", text: "pod: blue"},
	{name: "passthrough", annotations: "ssl-passthrough true", text: "pod: blue"},
	{name: "snippet", annotations: "configuration-snippet more_set_headers \"X-A: b\";\nserver-snippet return 404;\nauth-snippet proxy_set_header a b;", response: "X-A:", text: "pod: blue"},
}

// TestAnnotationCases: every annotation that has an effect is in one of the cases.
func TestAnnotationCases(t *testing.T) {
	covered := map[string]bool{}
	for _, c := range annotationCases {
		for line := range strings.Lines(c.annotations) {
			key, _, _ := strings.Cut(line, " ")
			covered[key] = true
		}
	}
	for _, a := range nginx.Annotations() {
		if (a.Effect == dialect.Full || a.Effect == dialect.Partly) && !covered[a.Key] {
			t.Errorf("no case has the annotation %s", a.Key)
		}
	}
}

// testAnnotations asks for all of them on the cluster, with one manifest.
func (c *cluster) testAnnotations(t *testing.T) {
	file := filepath.Join(t.TempDir(), "annotations.yaml")
	if err := os.WriteFile(file, []byte(annotationManifest()), 0o600); err != nil {
		t.Fatal(err)
	}
	apps := filepath.Join("examples", "ingress", "apps.yaml")
	t.Cleanup(func() { c.kubectl(t, "delete", "--ignore-not-found", "-f", file, "-f", apps) })
	c.kubectl(t, "apply", "-f", apps, "-f", file)
	c.kubectl(t, "rollout", "status", "deployment/blue", "deployment/green", "--timeout", "60s")
	address := c.kubectl(t, "-n", "fairway-system", "get", "service", "fairway-gateway", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
	for i := range annotationCases {
		a := &annotationCases[i]
		var problem string
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) { // the gateway has just heard of it
			if problem = a.ask(address); problem == "" || time.Now().After(deadline) {
				break
			}
		}
		if problem != "" {
			t.Errorf("%s: %s", a.name, problem)
		}
	}
}

func annotationManifest() string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: Secret\nmetadata: {name: annotation-users}\nstringData: {alice: '{PLAIN}secret'}\n---\n" +
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: annotation-headers}\ndata: {X-Custom: 'yes'}\n---\n" +
		"apiVersion: v1\nkind: Secret\nmetadata: {name: annotation-ca}\nstringData:\n  ca.crt: |\n")
	for line := range strings.Lines(testCA) {
		b.WriteString("    " + line)
	}
	for _, c := range annotationCases {
		fmt.Fprintf(&b, "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: %s\n  annotations:\n    a: b\n", c.name)
		for line := range strings.Lines(c.annotations) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			fmt.Fprintf(&b, "    %s%s: %q\n", nginx.Prefix, key, value)
		}
		path, kind, service, host := c.path, c.kind, c.service, c.name
		if path == "" {
			path, kind = "/", "Prefix"
		}
		if service == "" {
			service = "blue"
		}
		if host == "canary-of" {
			host = "canary"
		}
		fmt.Fprintf(&b, "spec:\n  ingressClassName: fairway\n  rules:\n  - host: %s.annotations\n    http:\n      paths:\n      - {path: %q, pathType: %s, backend: {service: {name: %s, port: {number: 80}}}}\n", host, path, kind, service)
	}
	return b.String()
}

// ask makes the request and returns what is wrong with the response.
func (a *annotated) ask(address string) string {
	url := a.url
	if !strings.Contains(url, "://") {
		url = "http://" + a.name + ".annotations/" + strings.TrimPrefix(url, "/")
	}
	method := a.method
	if method == "" {
		method = "GET"
	}
	r, err := http.NewRequest(method, url, strings.NewReader(strings.Repeat("x", a.body)))
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(a.headers) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		r.Header.Set(name, value)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true, //nolint:gosec
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, _ := net.SplitHostPort(addr)
			return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(address, port))
		}}
	resp, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(r)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return a.compare(resp, string(b))
}

func (a *annotated) compare(resp *http.Response, body string) string {
	status := a.status
	if status == 0 {
		status = http.StatusOK
	}
	if resp.StatusCode != status {
		return fmt.Sprintf("status %d, want %d\n%v\n%s", resp.StatusCode, status, resp.Header, body)
	}
	for line := range strings.Lines(a.response) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		have, there := resp.Header[http.CanonicalHeaderKey(name)]
		if value == "" && there || value != "" && !strings.Contains(strings.Join(have, "\n"), value) {
			return fmt.Sprintf("header %s is %q, want %q", name, have, value)
		}
	}
	for line := range strings.Lines(a.text) {
		line = strings.TrimSpace(line)
		if not, ok := strings.CutPrefix(line, "!"); ok && strings.Contains(body, not) || !ok && !strings.Contains(body, line) {
			return fmt.Sprintf("want %q in:\n%s", line, body)
		}
	}
	return ""
}
