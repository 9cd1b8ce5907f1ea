package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// cluster is one that `fairway up` made.
type cluster struct {
	name, bin, kubeconfig string
}

func (c cluster) up(ctx context.Context, p phase) error {
	args := []string{"up", "--name", c.name, "--nodes", strconv.Itoa(p.nodes), "--timeout", "5m"}
	if p.family != "" {
		args = append(args, "--ip-family", p.family)
	}
	_, err := c.fairway(ctx, args...)
	return err
}

// down is called after an interrupt, too.
func (c cluster) down() {
	if _, err := c.fairway(context.Background(), "down", "--name", c.name); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
	}
}

//go:embed world.yaml
var worldManifest string

// world starts the name server that stands for the world's, and lets the
// cluster's DNS ask it.
func (c cluster) world(ctx context.Context) error {
	manifest := c.kubeconfig + ".world.yaml"
	if err := os.WriteFile(manifest, []byte(worldManifest), 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"apply", "-f", manifest},
		{"wait", "-n", "world", "pod/world", "--for=condition=Ready", "--timeout=2m"},
	} {
		if _, err := c.kubectl(ctx, args...); err != nil {
			return err
		}
	}
	ip, err := c.kubectl(ctx, "get", "pod", "-n", "world", "world", "-o", "jsonpath={.status.podIP}")
	if err != nil {
		return err
	}
	patch := fmt.Sprintf(`[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--upstream=%s"}]`, ip)
	if _, err := c.kubectl(ctx, "patch", "-n", "kube-system", "daemonset/fairway-dns", "--type=json", "-p", patch); err != nil {
		return err
	}
	_, err = c.kubectl(ctx, "rollout", "status", "-n", "kube-system", "daemonset/fairway-dns", "--timeout=3m")
	return err
}

// prepare brings the suite's images, and says of each node in which of three
// zones it is, as a cloud would, and of none that it is the control plane's: on
// all of them run pods, and Kubernetes gives no hints to those of such a node.
func (c cluster) prepare(ctx context.Context, images string) error {
	config, err := c.fairway(ctx, "kubeconfig", "--name", c.name)
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.kubeconfig, config, 0o600); err != nil {
		return err
	}
	if _, err := c.fairway(ctx, "image", "load", "--name", c.name, images); err != nil {
		return err
	}
	if _, err := c.kubectl(ctx, "annotate", "ingressclasses", "--all", "ingressclass.kubernetes.io/is-default-class-"); err != nil {
		return err
	}
	nodes, err := c.kubectl(ctx, "get", "nodes", "-o", "name")
	if err != nil {
		return err
	}
	for i, node := range strings.Fields(string(nodes)) {
		if _, err := c.kubectl(ctx, "label", node, "--overwrite", "topology.kubernetes.io/zone=zone"+strconv.Itoa(i%3+1), "node-role.kubernetes.io/control-plane-"); err != nil {
			return err
		}
	}
	return nil
}

func (c cluster) fairway(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "fairway"), args...)
	// The cluster is nobody's but ours: no entry in the user's kubeconfig.
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig+".own")
	return output(cmd)
}

func (c cluster) kubectl(ctx context.Context, args ...string) ([]byte, error) {
	return output(exec.CommandContext(ctx, filepath.Join(c.bin, "kubectl"), append([]string{"--kubeconfig", c.kubeconfig}, args...)...))
}

func output(cmd *exec.Cmd) ([]byte, error) {
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, stderr.String())
	}
	return out, nil
}
