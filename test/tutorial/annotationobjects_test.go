package tutorial

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"strings"
	"testing"

	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/testkit"
)

// certs are of one authority: that of the hosts and of the pods, one for a client, and
// one for a client that an authority in between has issued. stranger is of another authority.
type certs struct {
	ca                             string // PEM
	server, client, deep, stranger pair
}

type pair struct{ crt, key string } // PEM; crt with what is between it and the authority

func (p pair) tls() []tls.Certificate {
	c, err := tls.X509KeyPair([]byte(p.crt), []byte(p.key))
	if err != nil {
		panic(err)
	}
	return []tls.Certificate{c}
}

func makeCerts(t *testing.T) certs {
	root := (*testkit.Authority)(nil)
	ca := root.Authority(t, "annotations")
	return certs{ca: ca.PEM(), server: issue(t, ca, "server", "*.annotations", "pods.internal"), client: issue(t, ca, "alice"),
		deep: issue(t, ca.Authority(t, "between"), "deep"), stranger: issue(t, root.Authority(t, "annotations"), "alice")}
}

func issue(t *testing.T, by *testkit.Authority, name string, hosts ...string) (p pair) {
	p.crt, p.key = testkit.PEM(t, by.Issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: hosts, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}))
	return p
}

// indent makes a block scalar of YAML.
func indent(text string) string {
	return "|\n      " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n      ")
}

// annotationManifest is all that the cases need. Deployment many has pods that serve
// TLS, too, and no probe, so that /readyz can say what it likes; late answers late;
// shut gets no packet. Service half has an address that refuses connections.
func annotationManifest(all []annotated, c certs) string {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: v1
kind: Secret
metadata: {name: annotation-users}
stringData: {alice: '{PLAIN}secret'}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: annotation-headers}
data: {X-Custom: 'yes'}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: annotation-params}
data: {HTTP_X_GIVEN: 'yes', SCRIPT_FILENAME: '/srv$fastcgi_script_name'}
---
apiVersion: v1
kind: Secret
metadata: {name: annotation-ca}
stringData:
    ca.crt: %s
---
apiVersion: v1
kind: Secret
metadata: {name: annotation-server}
type: kubernetes.io/tls
stringData:
    tls.crt: %s
    tls.key: %s
---
apiVersion: v1
kind: Secret
metadata: {name: annotation-client}
stringData:
    tls.crt: %s
    tls.key: %s
    ca.crt: %s
`, indent(c.ca), indent(c.server.crt), indent(c.server.key), indent(c.client.crt), indent(c.client.key), indent(c.ca))
	b.WriteString(annotationPods)
	for _, c := range all {
		c.write(&b)
	}
	return b.String()
}

func (c *annotated) write(b *strings.Builder) {
	fmt.Fprintf(b, "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: %s\n  annotations:\n    a: b\n", c.name)
	for line := range strings.Lines(c.annotations) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		fmt.Fprintf(b, "    %s%s: %q\n", nginx.Prefix, key, value)
	}
	path, kind, host := c.path, c.kind, c.host
	if path == "" {
		path, kind = "/", "Prefix"
	}
	if host == "" {
		host = c.name + ".annotations"
	}
	service, port, _ := strings.Cut(c.service, ":")
	if service == "" {
		service = "blue"
	}
	if port == "" {
		port = "80"
	}
	fmt.Fprintf(b, "spec:\n  ingressClassName: fairway\n")
	if c.tls {
		fmt.Fprintf(b, "  tls:\n  - {hosts: [%s], secretName: annotation-server}\n", host)
	}
	fmt.Fprintf(b, "  rules:\n  - host: %s\n    http:\n      paths:\n      - {path: %q, pathType: %s, backend: {service: {name: %s, port: {number: %s}}}}\n", host, path, kind, service, port)
}

// optionsManifest is in effect for the second part.
const optionsManifest = `apiVersion: v1
kind: ConfigMap
metadata: {name: ingress-nginx-controller, namespace: fairway-system}
data:
  allow-snippet-annotations: "true"
  annotations-risk-level: Critical
  global-allowed-response-headers: X-Custom
  global-auth-url: http://green.default.svc.cluster.local/status/403
  default-backend-service: default/green
  otlp-collector-host: green.default.svc.cluster.local
  otlp-collector-port: "80"
  use-gzip: "true"
`

var annotationPods = `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: many}
spec:
  replicas: 3
  selector: {matchLabels: {app: many, late: "no"}}
  template:
    metadata: {labels: {app: many, late: "no"}}
    spec:
      containers:
      - name: echo
        image: fairway.dev/echo:latest
        imagePullPolicy: IfNotPresent
        env: [{name: TLS_PORT, value: "8443"}, {name: TLS_DIR, value: /tls}, {name: FCGI_PORT, value: "9000"}]
        volumeMounts: [{name: tls, mountPath: /tls}]
      volumes:
      - {name: tls, secret: {secretName: annotation-server}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: late}
spec:
  selector: {matchLabels: {app: many, late: "yes"}}
  template:
    metadata: {labels: {app: many, late: "yes"}}
    spec:
      containers:
      - {name: echo, image: "fairway.dev/echo:latest", imagePullPolicy: IfNotPresent, env: [{name: DELAY, value: 50ms}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shut}
spec:
  selector: {matchLabels: {app: shut}}
  template:
    metadata: {labels: {app: shut}}
    spec:
      containers:
      - {name: echo, image: "fairway.dev/echo:latest", imagePullPolicy: IfNotPresent}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: shut}
spec: {podSelector: {matchLabels: {app: shut}}, policyTypes: [Ingress]}
` + annotationService("many", "selector: {app: many, late: \"no\"}", 8080) + annotationService("script", "selector: {app: many, late: \"no\"}", 9000) + annotationService("secure", "selector: {app: many, late: \"no\"}", 8443) +
	annotationService("mixed", "selector: {app: many}", 8080) + annotationService("shut", "selector: {app: shut}", 8080) +
	annotationService("nobody", "selector: {app: nobody}", 8080) + annotationService("half-keep", "", 8080) + annotationService("half-change", "", 8080) + annotationService("half-shut", "", 8080)

func annotationService(name, selector string, target int) string {
	if selector != "" {
		selector += ", "
	}
	return fmt.Sprintf("---\napiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {%sports: [{port: 80, targetPort: %d}]}\n", name, selector, target)
}

// makeHalf gives the Services half-… two endpoints each: pod blue, and one that takes no
// connection: blue's port 1, or pod shut.
func (c *cluster) makeHalf(t *testing.T) {
	ip := func(app string) string {
		return c.kubectl(t, "get", "pods", "-l", "app="+app, "-o", "jsonpath={.items[0].status.podIP}")
	}
	blue, shut := ip("blue"), ip("shut")
	var b strings.Builder
	for i, s := range []struct {
		service, addr string
		port          int
	}{{"half-keep", blue, 8080}, {"half-keep", blue, 1}, {"half-change", blue, 8080}, {"half-change", blue, 1}, {"half-shut", blue, 8080}, {"half-shut", shut, 8080}} {
		fmt.Fprintf(&b, "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: half-%d, labels: {kubernetes.io/service-name: %s}}\naddressType: IPv4\nports: [{port: %d, protocol: TCP}]\nendpoints: [{addresses: [%s], conditions: {ready: true}}]\n",
			i, s.service, s.port, s.addr)
	}
	c.applyText(t, b.String())
}
