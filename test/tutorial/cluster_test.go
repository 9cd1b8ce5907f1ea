package tutorial

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const upLimit = 3 * time.Minute

// cluster is a running cluster and the files to reach it.
type cluster struct {
	name string
	root string // of the repository
	env  []string
}

// startCluster runs `fairway up` under a name of its own and removes the
// cluster when the test ends. FAIRWAY_TEST_CLUSTER names a running cluster to
// use instead, which is left alone.
func startCluster(t *testing.T, name string, flags ...string) *cluster {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to start a cluster")
	}
	running := os.Getenv("FAIRWAY_TEST_CLUSTER")
	if running != "" {
		name = running
	}
	c := newCluster(t, name)
	if running != "" {
		config := c.run(t, time.Minute, "bin/fairway", "kubeconfig", "--name", name)
		if err := os.WriteFile(c.kubeconfig(), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		return c
	}
	t.Cleanup(func() { c.run(t, time.Minute, "bin/fairway", "down", "--name", name) })
	c.run(t, upLimit, "bin/fairway", append([]string{"up", "--name", name}, flags...)...)
	return c
}

func newCluster(t *testing.T, name string) *cluster {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"fairway", "fairway-kube", "kubectl", "echo"} {
		if _, err := os.Stat(filepath.Join(root, "bin", program)); err != nil {
			t.Fatalf("%v: run `make build` first", err)
		}
	}
	c := &cluster{name: name, root: root}
	c.env = []string{
		"CLUSTER=" + name,
		"KUBECONFIG=" + filepath.Join(t.TempDir(), "kubeconfig"),
		"NO_PROXY=*", "no_proxy=*",
		"MAKEFLAGS=", "MAKELEVEL=", // the page's make is not a part of the one that runs this test
	}
	return c
}

func (c *cluster) kubeconfig() string {
	return strings.TrimPrefix(c.env[1], "KUBECONFIG=")
}

// run runs a program in the root of the repository and returns its output.
func (c *cluster) run(t *testing.T, limit time.Duration, program string, args ...string) string {
	t.Helper()
	out, err := c.try(limit, program, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (c *cluster) try(limit time.Duration, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	if strings.Contains(program, "/") {
		cmd.Path = filepath.Join(c.root, program)
	}
	cmd.Dir = c.root
	cmd.Env = append(os.Environ(), c.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func (c *cluster) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return strings.TrimSpace(c.run(t, time.Minute, "bin/kubectl", args...))
}

// apply applies files of examples/tutorial, waits for the named Deployments
// and deletes everything when the test ends.
func (c *cluster) apply(t *testing.T, files []string, deployments ...string) {
	t.Helper()
	var args []string
	for _, f := range files {
		args = append(args, "-f", filepath.Join("examples/tutorial", f))
	}
	t.Cleanup(func() { c.kubectl(t, append([]string{"delete", "--ignore-not-found"}, args...)...) })
	c.kubectl(t, append([]string{"apply"}, args...)...)
	for _, d := range deployments {
		namespace, name, _ := strings.Cut(d, "/")
		c.kubectl(t, "-n", namespace, "rollout", "status", "deployment/"+name, "--timeout", "60s")
	}
}

// applyText applies a manifest, and deletes its objects when the test ends.
func (c *cluster) applyText(t *testing.T, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.kubectl(t, "delete", "--ignore-not-found", "-f", file) })
	c.kubectl(t, "apply", "-f", file)
}

// page runs a page of the documentation in a shell of its own.
func (c *cluster) page(t *testing.T, file string, keep func(Step) bool) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.root, file))
	if err != nil {
		t.Fatal(err)
	}
	all, err := ParsePage(string(text))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	var steps []Step
	for _, s := range all {
		if keep(s) {
			steps = append(steps, s)
		}
	}
	if len(steps) == 0 {
		t.Fatalf("%s has no commands", file)
	}
	sh, err := NewShell(c.root, c.env...)
	if err != nil {
		t.Fatal(err)
	}
	defer sh.Close()
	if err := Run(t.Context(), sh, steps, t.Logf); err != nil {
		t.Errorf("%s: %v\n\nThe cluster:\n%s", file, err, c.state())
	}
}

// state is what helps to understand a failure.
func (c *cluster) state() string {
	var b strings.Builder
	for _, args := range [][]string{
		{"get", "pods,services,ingresses", "--all-namespaces", "-o", "wide"},
		{"get", "events", "--all-namespaces", "--field-selector", "type!=Normal"},
	} {
		out, err := c.try(20*time.Second, "bin/kubectl", args...)
		if err != nil {
			out = err.Error()
		}
		b.WriteString(out + "\n")
	}
	return b.String()
}
