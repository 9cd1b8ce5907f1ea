package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fairway-net/fairway/internal/cluster/node"
	"github.com/fairway-net/fairway/internal/image"
)

// checkImages: a pod whose image Kubernetes insists to pull runs if it was
// loaded, and says what to do if not.
func checkImages(m *machine, name string) {
	const loaded = "tool" // docker.io/library/tool:latest: the rules of short names apply
	file := m.archive("docker.io/library/tool:latest")
	pod := func(pod, image string) string {
		return fmt.Sprintf(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": %q}, "spec": {"hostNetwork": true, "nodeName": "node2",
			"tolerations": [{"operator": "Exists"}], "containers": [{"name": "c", "image": %q, "env": [{"name": "PORT", "value": "8097"}]}]}}`, pod, image)
	}
	list := fmt.Sprintf(`{"apiVersion": "v1", "kind": "List", "items": [%s, %s]}`, pod("absent", "absent:latest"), pod("loaded", loaded))
	pods := filepath.Join(m.TempDir(), "pods.json")
	if err := os.WriteFile(pods, []byte(list), 0o600); err != nil {
		m.Fatal(err)
	}
	if out := m.run("fairway", "image", "load", "--name", name, file); out != "docker.io/library/tool:latest\n" {
		m.Errorf("image load: %q", out)
	}
	m.kubectl(name, "create", "-f", pods)
	m.eventually("a pod with a loaded image runs", func() bool {
		return m.kubectl(name, "get", "pod", "loaded", "-o", "jsonpath={.spec.containers[0].imagePullPolicy} {.status.phase}") == "Always Running"
	})
	m.eventually("a pod without its image is told what to do", func() bool {
		out := m.kubectl(name, "get", "events", "--field-selector", "involvedObject.name=absent,reason=Failed")
		return strings.Contains(out, fmt.Sprintf(`run "fairway image load --name %s FILE.tar"`, name))
	})
	m.kubectl(name, "delete", "pod", "absent", "loaded", "--now")
}

// archive writes an image of our own under another name into a file.
func (m *machine) archive(name string) (file string) {
	m.Helper()
	file = filepath.Join(m.TempDir(), "image.tar")
	f, err := os.Create(file)
	if err != nil {
		m.Fatal(err)
	}
	defer f.Close()
	if _, err := image.Write(f, image.Image{
		Name: name, Entrypoint: []string{"/tool"},
		Files: []image.File{{Path: "/tool", Source: filepath.Join(m.tools, "echo")}},
	}); err != nil {
		m.Fatal(err)
	}
	return file
}

// checkMirror: on a cluster that reaches real registries, the mirror has what was
// loaded, and leaves to them what came from there.
func checkMirror(m *machine, name string) {
	manifest := func(path string) bool {
		url := mirrorURL + "/v2/" + path
		out, _ := m.try("fairway", "node", "exec", "--name", name, "node1", "--", node.ToolDir+"/echo", "get", url)
		found := strings.Contains(out, `"schemaVersion":2`)
		if !found && !strings.Contains(out, "MANIFEST_UNKNOWN") {
			m.Errorf("get %s: %s", url, out)
		}
		return found
	}
	if !manifest("echo/manifests/latest?ns=fairway.dev") {
		m.Error("no builtin image")
	}
	// As a pull leaves it: the image is there, and nobody loaded it.
	m.run("fairway", "node", "exec", "--name", name, "node1", "--", node.ToolDir+"/"+kubeTool, "ctr", "--namespace", "k8s.io", "images", "tag", echoImage, "docker.io/library/pulled:latest")
	if manifest("library/pulled/manifests/latest?ns=docker.io") {
		m.Error("what was pulled is never pulled again")
	}
	const tool = "library/tool/manifests/latest?ns=docker.io"
	if manifest(tool) {
		m.Error("an image before it was loaded")
	}
	m.run("fairway", "image", "load", "--name", name, m.archive("docker.io/library/tool:latest"))
	if !manifest(tool) {
		m.Error("no loaded image")
	}
}
