package cluster

import (
	"reflect"
	"strings"
	"testing"

	"github.com/fairway-net/fairway/internal/cli"
)

func TestParseConfig(t *testing.T) {
	c, err := ParseConfig([]byte(`
apiVersion: fairway.dev/v1alpha1
kind: Cluster
name: dev
nodes:
- role: worker
  labels: {zone: a}
- role: control-plane
  name: head
networking:
  podSubnets: [10.1.0.0/16]
egress: nat
featureGates: {SomeGate: true}
`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Complete()
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		APIVersion: "fairway.dev/v1alpha1", Kind: "Cluster", Name: "dev", Egress: EgressNAT,
		Nodes: []NodeConfig{
			{Name: "head", Role: "control-plane"},
			{Name: "node2", Role: "worker", Labels: map[string]string{"zone": "a"}},
		},
		Networking: Networking{PodSubnets: []string{"10.1.0.0/16"}, DNSDomain: "cluster.local"},
		Features:   map[string]bool{"SomeGate": true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestCompleteTwice: what `up` stores is what it compares the next `up` with.
func TestCompleteTwice(t *testing.T) {
	once, err := Config{}.Complete()
	if err != nil {
		t.Fatal(err)
	}
	twice, err := once.Complete()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(once, twice) {
		t.Errorf("completed again, %+v becomes %+v", once, twice)
	}
	if len(once.Nodes) != 2 || once.Nodes[0].Role != roleControlPlane || once.Nodes[1].Name != "node2" {
		t.Errorf("defaults: %+v", once)
	}
}

func TestConfigRejects(t *testing.T) {
	for _, c := range []struct{ name, yaml, want, hint string }{
		{"unknown field", "nodez: []", `unknown field "nodez"`, "known fields"},
		{"other kind", "kind: Pod", `kind "Pod"`, "fairway.dev/v1alpha1"},
		{"bad name", "name: My_Cluster", `cluster name "My_Cluster" is not valid`, "lower case"},
		{"bad node name", "nodes: [{name: a.b}]", `node name "a.b" is not valid`, "lower case"},
		{"same name", "nodes: [{name: a}, {name: a}]", `two nodes are called "a"`, "own"},
		{"two heads", "nodes: [{role: control-plane}, {role: control-plane}]", "nodes[1]: a second control plane", "worker"},
		{"bad role", "nodes: [{}, {role: master}]", `role "master" is not known`, "control-plane or worker"},
		{"bad family", "networking: {ipFamily: IPv6}", `ipFamily "IPv6" is not known`, "ipv4, ipv6 or dual"},
		{"bad egress", "egress: all", `egress "all" is not known`, "none or nat"},
		{"not YAML", "a: b: c", "mapping values", ""},
	} {
		parsed, err := ParseConfig([]byte(c.yaml))
		if err == nil {
			_, err = parsed.Complete()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
			continue
		}
		if hint := cli.HintOf(err); !strings.Contains(hint, c.hint) {
			t.Errorf("%s: hint %q, want one with %q", c.name, hint, c.hint)
		}
	}
}
