package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/fairway-net/fairway/deploy"
	"sigs.k8s.io/yaml"
)

// install applies Fairway's manifest, the same as on any cluster, with the
// values of this one in its ConfigMap.
func (s *State) install(ctx context.Context, tools string) error {
	manifest, err := s.manifest(deploy.Manifest)
	if err != nil {
		return err
	}
	return s.kubectl(ctx, tools, manifest, "apply", "--server-side", "--force-conflicts", "--field-manager=fairway-up", "-f", "-")
}

// kubectl runs upstream's kubectl as the administrator.
func (s *State) kubectl(ctx context.Context, tools string, stdin []byte, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(tools, kubeTool), append([]string{"kubectl", "--kubeconfig", s.kubeconfig()}, args...)...)
	cmd.Stdin = bytes.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run kubectl %s: %w: %s", args[0], err, bytes.TrimSpace(out))
	}
	return nil
}

// settings are the values of the ConfigMap "fairway-config".
func (s *State) settings() map[string]any {
	return map[string]any{
		"apiServer":     s.plan.APIServer(),
		"podCIDRs":      joinPrefixes(s.plan.Pods),
		"serviceCIDRs":  joinPrefixes(s.plan.Services),
		"lbPools":       joinPrefixes(s.plan.LoadBalancers),
		"clusterDomain": s.plan.Domain,
		"dnsIP":         s.plan.DNS().String(),
	}
}

// manifest puts this cluster's values into the manifest: the data of each
// "fairway-config", and the address of the DNS Service.
func (s *State) manifest(in []byte) ([]byte, error) {
	if len(bytes.TrimSpace(in)) == 0 {
		return nil, errors.New("deploy/fairway.yaml is empty")
	}
	var out bytes.Buffer
	for i, doc := range bytes.Split(in, []byte("\n---")) {
		var obj map[string]any
		if err := yaml.Unmarshal(doc, &obj); err != nil {
			return nil, fmt.Errorf("read deploy/fairway.yaml, document %d: %w", i, err)
		}
		meta, _ := obj["metadata"].(map[string]any)
		switch {
		case meta == nil:
			continue // comments only
		case obj["kind"] == "ConfigMap" && meta["name"] == "fairway-config":
			obj["data"] = s.settings()
		case obj["kind"] == "Service" && meta["namespace"] == "kube-system":
			if spec, ok := obj["spec"].(map[string]any); ok && spec["clusterIP"] != nil {
				spec["clusterIP"] = s.plan.DNS().String()
			}
		}
		data, err := yaml.Marshal(obj)
		if err != nil {
			return nil, err
		}
		out.WriteString("---\n")
		out.Write(data)
	}
	return out.Bytes(), nil
}

// fairwayImage is the name under which the manifest asks for our image.
func fairwayImage(manifest []byte) (string, error) {
	for line := range strings.Lines(string(manifest)) {
		_, name, ok := strings.Cut(line, "image:")
		if name = strings.Trim(strings.TrimSpace(name), `"'`); ok && strings.HasPrefix(name, registry+"fairway:") {
			return name, nil
		}
	}
	return "", fmt.Errorf("deploy/fairway.yaml names no image %sfairway", registry)
}
