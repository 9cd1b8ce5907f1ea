package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/fairway-net/fairway/deploy"
	"sigs.k8s.io/yaml"
)

// imageAnnotation on a workload's pods says which build of Fairway they are to
// run. The image's name stays the same from build to build; by this an `up`
// with a new build replaces the pods.
const imageAnnotation = registry + "image"

// install applies Fairway's manifest, the same as on any cluster, with the
// values of this one in its ConfigMap.
func (s *State) install(ctx context.Context, client *api, digest string) error {
	objects, err := s.manifest(deploy.Manifest, digest)
	if err != nil {
		return err
	}
	for _, obj := range objects {
		if err := client.apply(ctx, obj); err != nil {
			return err
		}
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

// manifest returns the manifest's objects, with this cluster's values in them:
// the data of each "fairway-config", the address of the DNS Service, and the
// digest of the image.
func (s *State) manifest(in []byte, digest string) ([]map[string]any, error) {
	var out []map[string]any
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
		if obj["kind"] == "DaemonSet" || obj["kind"] == "Deployment" {
			annotate(obj, digest)
		}
		out = append(out, obj)
	}
	if len(out) == 0 {
		return nil, errors.New("deploy/fairway.yaml holds no object")
	}
	return out, nil
}

// annotate sets the imageAnnotation of a workload's pods.
func annotate(workload map[string]any, digest string) {
	at := workload
	for _, key := range []string{"spec", "template", "metadata", "annotations"} {
		next, ok := at[key].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[key] = next
		}
		at = next
	}
	at[imageAnnotation] = digest
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
