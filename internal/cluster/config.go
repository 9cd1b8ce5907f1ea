package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/fairway-net/fairway/internal/cli"
	"sigs.k8s.io/yaml"
)

const (
	apiVersion = "fairway.dev/v1alpha1"
	kind       = "Cluster"

	roleControlPlane = "control-plane"
	roleWorker       = "worker"

	// maxNodes is a sanity limit: each node is a kubelet and a containerd.
	maxNodes = 20
)

// Config is what a person can choose, as the file of `fairway up --config` has
// it. The zero value of every field means its default.
type Config struct {
	APIVersion string            `json:"apiVersion,omitempty"`
	Kind       string            `json:"kind,omitempty"`
	Name       string            `json:"name,omitempty"`
	Nodes      []NodeConfig      `json:"nodes,omitempty"`
	Networking Networking        `json:"networking,omitempty"`
	Egress     Egress            `json:"egress,omitempty"`
	Features   map[string]bool   `json:"featureGates,omitempty"`
	APIs       map[string]string `json:"runtimeConfig,omitempty"`
}

// NodeConfig is one node. The first has the role control-plane, all others
// are workers; pods run on all of them.
type NodeConfig struct {
	Name   string            `json:"name,omitempty"`
	Role   string            `json:"role,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
}

// Networking holds the cluster's ranges. Of a family that the cluster has and a
// list does not mention, it is the default range.
type Networking struct {
	IPFamily      IPFamily `json:"ipFamily,omitempty"`
	Underlay      List     `json:"underlay,omitempty"`
	PodSubnets    []string `json:"podSubnets,omitempty"`
	Services      []string `json:"serviceSubnets,omitempty"`
	LoadBalancers []string `json:"loadBalancerPools,omitempty"`
	DNSDomain     string   `json:"dnsDomain,omitempty"`
}

// Egress says whether the cluster may reach what the machine reaches.
type Egress string

const (
	EgressNone Egress = "none"
	EgressNAT  Egress = "nat"
)

// ReadConfig reads a --config file.
func ReadConfig(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	c, err := ParseConfig(data)
	if err != nil {
		return nil, fmt.Errorf("read config %s: %w", path, err)
	}
	return c, nil
}

// ParseConfig parses a configuration; it accepts no unknown field.
func ParseConfig(data []byte) (*Config, error) {
	c := new(Config)
	if err := yaml.UnmarshalStrict(data, c); err != nil {
		return nil, cli.Hint(errors.New(strings.TrimPrefix(err.Error(), "error unmarshaling JSON: ")),
			"known fields: name, nodes[name, role, labels], networking[ipFamily, underlay, podSubnets, serviceSubnets, loadBalancerPools, dnsDomain], egress, featureGates, runtimeConfig")
	}
	if c.APIVersion != "" && c.APIVersion != apiVersion || c.Kind != "" && c.Kind != kind {
		return nil, cli.Hint(fmt.Errorf("apiVersion %q, kind %q: not known", c.APIVersion, c.Kind),
			fmt.Sprintf("write apiVersion: %s and kind: %s", apiVersion, kind))
	}
	return c, nil
}

// dnsLabel is RFC 1123's label: what Kubernetes takes for a node's name, short
// enough for us to build longer names from.
var dnsLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$`)

// CheckName says what is wrong with a cluster's or node's name.
func CheckName(what, name string) error {
	if !dnsLabel.MatchString(name) {
		return cli.Hint(fmt.Errorf("%s name %q is not valid", what, name),
			"use lower case letters, digits and '-', at most 40, beginning and ending with a letter or digit")
	}
	return nil
}

// Complete returns the configuration with every default filled in that does
// not depend on the machine, or says what is wrong with it.
func (c Config) Complete() (Config, error) {
	if c.Name == "" {
		c.Name = "default"
	}
	if err := CheckName("cluster", c.Name); err != nil {
		return c, err
	}
	if c.Egress == "" {
		c.Egress = EgressNone
	}
	if c.Egress != EgressNone && c.Egress != EgressNAT {
		return c, cli.Hint(fmt.Errorf("egress %q is not known", c.Egress), "use none or nat")
	}
	if len(c.Nodes) == 0 {
		c.Nodes = Nodes(2)
	}
	if len(c.Nodes) > maxNodes {
		return c, cli.Hint(fmt.Errorf("%d nodes are too many", len(c.Nodes)), fmt.Sprintf("use at most %d", maxNodes))
	}
	if c.Networking.DNSDomain == "" {
		c.Networking.DNSDomain = "cluster.local"
	}
	if _, err := c.Networking.families(); err != nil {
		return c, err
	}
	var err error
	c.Nodes, err = completeNodes(c.Nodes)
	return c, err
}

func completeNodes(in []NodeConfig) ([]NodeConfig, error) {
	// The control plane comes first: its address is the API server's.
	nodes := slices.Clone(in)
	sort.SliceStable(nodes, func(i, j int) bool {
		return nodes[i].Role == roleControlPlane && nodes[j].Role != roleControlPlane
	})
	seen := map[string]bool{}
	for i := range nodes {
		n := &nodes[i]
		want := roleWorker
		if i == 0 {
			want = roleControlPlane
		}
		switch {
		case n.Role == "":
			n.Role = want
		case n.Role == roleControlPlane && i > 0:
			return nil, cli.Hint(fmt.Errorf("nodes[%d]: a second control plane", i), "give one node the role control-plane and the others worker")
		case n.Role != want && i > 0, n.Role != roleControlPlane && n.Role != roleWorker:
			return nil, cli.Hint(fmt.Errorf("nodes[%d]: role %q is not known", i, n.Role), "use control-plane or worker")
		case n.Role != want:
			n.Role = want // workers only: the first one also runs the control plane
		}
		if n.Name == "" {
			n.Name = fmt.Sprintf("node%d", i+1)
		}
		if err := CheckName("node", n.Name); err != nil {
			return nil, err
		}
		if seen[n.Name] {
			return nil, cli.Hint(fmt.Errorf("two nodes are called %q", n.Name), "give each node a name of its own")
		}
		seen[n.Name] = true
	}
	return nodes, nil
}

// Nodes returns n nodes with default names and roles.
func Nodes(n int) []NodeConfig {
	return make([]NodeConfig, n)
}

// prefixes parses a list of ranges; the field is for the message.
func prefixes(field string, list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for i, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil || p != p.Masked() {
			return nil, cli.Hint(fmt.Errorf("networking.%s[%d]: %q is not a network", field, i, s), "write it as 198.18.128.0/17 or 2001:2:0:8000::/56, with the host bits zero")
		}
		out = append(out, p)
	}
	return out, nil
}
