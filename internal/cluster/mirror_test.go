package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fairway-net/fairway/internal/image"
)

// checkImages: a pod whose image Kubernetes insists to pull runs if it was
// loaded, and says what to do if not.
func checkImages(m *machine, name string) {
	const loaded = "tool" // docker.io/library/tool:latest: the rules of short names apply
	file := filepath.Join(m.TempDir(), "tool.tar")
	f, err := os.Create(file)
	if err != nil {
		m.Fatal(err)
	}
	defer f.Close()
	if _, err := image.Write(f, image.Image{
		Name: "docker.io/library/tool:latest", Entrypoint: []string{"/tool"},
		Files: []image.File{{Path: "/tool", Source: filepath.Join(m.tools, "echo")}},
	}); err != nil {
		m.Fatal(err)
	}
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
