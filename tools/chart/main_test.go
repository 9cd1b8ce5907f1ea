package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const dir = "../../charts/fairway"

// object is what the tests look at.
type object struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Rules    []struct{ Resources, Verbs []string }
	Spec     struct {
		ClusterIP string
		Template  struct{ Spec podSpec }
	}
}

type podSpec struct {
	HostNetwork, HostPID bool
	SecurityContext      struct{ RunAsNonRoot bool }
	Containers           []struct {
		Name, Image     string
		Args            []string
		ReadinessProbe  any
		LivenessProbe   any
		SecurityContext struct {
			Privileged               bool
			AllowPrivilegeEscalation *bool
			Capabilities             struct{ Add, Drop []string }
		}
	}
}

func (o object) String() string { return o.Kind + " " + o.Metadata.Namespace + "/" + o.Metadata.Name }

func objects(t *testing.T, values map[string]any) []object {
	t.Helper()
	text, err := render(dir, values)
	if err != nil {
		t.Fatal(err)
	}
	var out []object
	for doc := range bytes.SplitSeq(text, []byte("\n---\n")) {
		var o object
		if err := yaml.Unmarshal(doc, &o); err != nil {
			t.Fatalf("%v\n%s", err, doc)
		}
		if o.Kind != "" {
			out = append(out, o)
		}
	}
	return out
}

func names(objects []object) string {
	var list []string
	for _, o := range objects {
		list = append(list, o.String())
	}
	slices.Sort(list)
	return strings.Join(list, "\n")
}

// TestOnlyTheAgentIsPrivileged: whoever parses bytes of strangers has no rights.
func TestOnlyTheAgentIsPrivileged(t *testing.T) {
	workloads := 0
	for _, o := range objects(t, nil) {
		pod := o.Spec.Template.Spec
		if len(pod.Containers) == 0 {
			continue
		}
		workloads++
		c := pod.Containers[0]
		if c.ReadinessProbe == nil || c.LivenessProbe == nil {
			t.Errorf("%v has not both probes", o)
		}
		if c.Name == "agent" {
			continue
		}
		sec := c.SecurityContext
		if pod.HostNetwork || pod.HostPID || sec.Privileged || !pod.SecurityContext.RunAsNonRoot || len(sec.Capabilities.Add) > 0 ||
			!slices.Equal(sec.Capabilities.Drop, []string{"ALL"}) || sec.AllowPrivilegeEscalation == nil || *sec.AllowPrivilegeEscalation {
			t.Errorf("%v has privileges: %+v", o, pod)
		}
	}
	if workloads != 4 {
		t.Errorf("%d workloads, want one per role", workloads)
	}
}

// TestRights: nobody may do everything, and only the controller writes status.
func TestRights(t *testing.T) {
	for _, o := range objects(t, nil) {
		for _, rule := range o.Rules {
			for _, r := range append(rule.Resources, rule.Verbs...) {
				if r == "*" {
					t.Errorf("%v allows everything: %v", o, rule)
				}
			}
			for _, r := range rule.Resources {
				if strings.HasSuffix(r, "/status") && o.Metadata.Name != "fairway-controller" {
					t.Errorf("%v may write %s", o, r)
				}
				if r == "secrets" && o.Metadata.Name != "fairway-controller" && o.Metadata.Name != "fairway-gateway" {
					t.Errorf("%v may read secrets", o)
				}
			}
		}
	}
}

func TestValues(t *testing.T) {
	all := objects(t, nil)
	for name, tt := range map[string]struct {
		values  map[string]any
		without string // no object of this kind or name is left
	}{
		"no namespace":   {map[string]any{"createNamespace": false}, "Namespace /fairway-system"},
		"no DNS":         {map[string]any{"dns": map[string]any{"enabled": false}}, "kube-system/"},
		"no nginx class": {map[string]any{"ingressClasses": map[string]any{"nginx": map[string]any{"enabled": false}}}, "IngressClass /nginx"},
	} {
		some := objects(t, tt.values)
		if len(some) >= len(all) || !strings.Contains(names(all), tt.without) || strings.Contains(names(some), tt.without) {
			t.Errorf("%s: got\n%s", name, names(some))
		}
	}
	for _, o := range objects(t, map[string]any{
		"image":  map[string]any{"repository": "registry.example/fairway", "tag": "v1"},
		"config": map[string]any{"dnsIP": "10.96.0.10"},
		"agent":  map[string]any{"args": []any{"--log=debug"}, "env": map[string]any{"GOGC": "50"}},
	}) {
		for _, c := range o.Spec.Template.Spec.Containers {
			if c.Image != "registry.example/fairway:v1" {
				t.Errorf("%v: image %s", o, c.Image)
			}
			if c.Name == "agent" && !slices.Equal(c.Args, []string{"agent", "--log=debug"}) {
				t.Errorf("%v: args %v", o, c.Args)
			}
		}
		if o.Metadata.Name == "kube-dns" && o.Spec.ClusterIP != "10.96.0.10" {
			t.Errorf("%v: address %s", o, o.Spec.ClusterIP)
		}
	}
}

// TestSchema: a wrong value is an error that names it.
func TestSchema(t *testing.T) {
	for want, values := range map[string]map[string]any{
		"enabeld":               {"dns": map[string]any{"enabeld": true}},
		"pullPolicy":            {"image": map[string]any{"pullPolicy": "Sometimes"}},
		"serviceCIDRs":          {"config": map[string]any{"serviceCIDRs": "10.96.0.0"}},
		"replicas":              {"controller": map[string]any{"replicas": 0}},
		"GOGC":                  {"agent": map[string]any{"env": map[string]any{"GOGC": 50}}},
		"externalTrafficPolicy": {"gateway": map[string]any{"service": map[string]any{"externalTrafficPolicy": "local"}}},
	} {
		if _, err := render(dir, values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

// TestHTTP3: off by default; on, the gateway is told, and its Service has the port.
func TestHTTP3(t *testing.T) {
	for on, want := range map[bool]int{false: 0, true: 1} {
		text, err := render(dir, map[string]any{"gateway": map[string]any{"http3": on}})
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"- \"--http3\"", "{name: http3, port: 443, targetPort: http3, protocol: UDP}", "{name: http3, containerPort: 8443, protocol: UDP}"} {
			if n := strings.Count(string(text), line); n != want {
				t.Errorf("http3 %v: %d times %q, want %d", on, n, line, want)
			}
		}
	}
}
