package route

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/source/kube"
	"github.com/fairway-net/fairway/internal/state"
	"github.com/fairway-net/fairway/internal/testkit"
)

// now is the time of all tests of the planner.
var now = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// decode turns a YAML document into a model value. The namespace is "default"
// unless given. A Secret may have the annotation "test/cert" with the names that
// a certificate is to be made for, and "test/until" with its last day.
func decode(t testing.TB, doc string) any {
	t.Helper()
	var kind struct{ Kind string }
	if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
		t.Fatalf("%v in:\n%s", err, doc)
	}
	var obj metav1.Object
	switch kind.Kind {
	case "Ingress":
		obj = &networkingv1.Ingress{}
	case "IngressClass":
		obj = &networkingv1.IngressClass{}
	case "Service":
		obj = &corev1.Service{}
	case "EndpointSlice":
		obj = &discoveryv1.EndpointSlice{}
	case "Node":
		obj = &corev1.Node{}
	case "ConfigMap":
		obj = &corev1.ConfigMap{}
	case "Secret":
		obj = &corev1.Secret{}
	default:
		t.Fatalf("no kind in:\n%s", doc)
	}
	if err := yaml.UnmarshalStrict([]byte(doc), obj); err != nil {
		t.Fatalf("%v in:\n%s", err, doc)
	}
	if obj.GetNamespace() == "" && kind.Kind != "IngressClass" && kind.Kind != "Node" {
		obj.SetNamespace("default")
	}
	if s, ok := obj.(*corev1.Secret); ok && s.Annotations["test/cert"] != "" {
		until := now.AddDate(3, 0, 0)
		if day := s.Annotations["test/until"]; day != "" {
			until, _ = time.Parse(time.DateOnly, day)
		}
		s.Type = corev1.SecretTypeTLS
		s.Data = certificate(t, until, strings.Fields(s.Annotations["test/cert"])...)
	}
	_, v := kube.Convert(obj)
	return v
}

// load makes a snapshot of all documents of a YAML stream.
func load(t testing.TB, stream string) *state.Snapshot {
	t.Helper()
	store := state.New()
	store.Update(func(tx *state.Tx) {
		for _, doc := range strings.Split(stream, "\n---\n") {
			if strings.TrimSpace(doc) != "" {
				tx.Set(decode(t, doc))
			}
		}
		for _, k := range Kinds() {
			tx.SetSynced(k)
		}
	})
	return store.Snapshot()
}

// certificate makes a self-signed certificate for names; "CN=x" sets only the
// common name.
func certificate(t testing.TB, until time.Time, names ...string) map[string][]byte {
	t.Helper()
	template := &x509.Certificate{NotBefore: until.AddDate(-5, 0, 0), NotAfter: until}
	for _, n := range names {
		if cn, ok := strings.CutPrefix(n, "CN="); ok {
			template.Subject = pkix.Name{CommonName: cn}
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	crt, key := testkit.PEM(t, (*testkit.Authority)(nil).Issue(t, template))
	return map[string][]byte{"tls.crt": []byte(crt), "tls.key": []byte(key)}
}

// ingress writes an Ingress of class fairway whose paths, "TYPE PATH", each lead
// to Service sN, port 80, N being the number of the path from 0.
func ingress(name string, age int, host string, paths ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "kind: Ingress\nmetadata: {name: %s, creationTimestamp: %q}\nspec:\n  ingressClassName: fairway\n  rules:\n  - host: %q\n    http:\n      paths:\n",
		name, now.Add(-time.Duration(age)*time.Hour).Format(time.RFC3339), host)
	for i, p := range paths {
		kind, path, _ := strings.Cut(p, " ")
		fmt.Fprintf(&b, "      - {path: %q, pathType: %s, backend: {service: {name: s%d, port: {number: 80}}}}\n", path, kind, i)
	}
	return b.String()
}

// ask returns the Service that a request is sent to, "" for a 404.
func ask(p *Plan, host, path string) string {
	canonical, _, err := CanonicalPath(path)
	if err != nil {
		return "400"
	}
	_, r := p.Listener("http").Hosts.Match(&Request{Host: CanonicalHost(host), Path: canonical})
	switch {
	case r == nil:
		return ""
	case r.Respond != nil:
		return fmt.Sprint(r.Respond.Status)
	case r.Redirect != nil:
		return fmt.Sprint(r.Redirect.Status)
	}
	return r.Forward.Targets[0].Backend.Service.Name
}

func backendKey(service string, port uint16) BackendKey {
	return BackendKey{Service: model.Name{Namespace: "default", Name: service}, Port: model.IntOrString{Int: port}}
}
