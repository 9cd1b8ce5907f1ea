package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// apply makes the object be as given, as `kubectl apply --server-side` does
// (https://kubernetes.io/docs/reference/using-api/server-side-apply/). It asks
// for an object's path once per API group: kubectl, which asks for all of them
// and more, takes a second of the processors just when all else starts.
func (a *api) apply(ctx context.Context, obj map[string]any) error {
	version, _ := obj["apiVersion"].(string)
	kind, _ := obj["kind"].(string)
	meta, _ := obj["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	namespace, _ := meta["namespace"].(string)
	path, err := a.pathOf(ctx, version, kind, namespace)
	if err != nil {
		return fmt.Errorf("apply %s %s: %w", kind, name, err)
	}
	body, err := json.Marshal(obj) // JSON is YAML
	if err != nil {
		return err
	}
	query := url.Values{"fieldManager": {"fairway-up"}, "force": {"true"}}
	err = a.do(ctx, http.MethodPatch, path+"/"+name+"?"+query.Encode(), "application/apply-patch+yaml", body, nil)
	if err != nil {
		return fmt.Errorf("apply %s %s: %w", kind, name, err)
	}
	return nil
}

// resource is what discovery tells of a kind.
type resource struct {
	Name       string `json:"name"` // plural, in the path
	Kind       string `json:"kind"`
	Namespaced bool   `json:"namespaced"`
}

// pathOf returns the path under which objects of a kind are found.
func (a *api) pathOf(ctx context.Context, version, kind, namespace string) (string, error) {
	base := "/apis/" + version
	if !strings.Contains(version, "/") {
		base = "/api/" + version // the core group
	}
	if a.resources[version] == nil {
		var list struct {
			Resources []resource `json:"resources"`
		}
		if err := a.get(ctx, base, &list); err != nil {
			return "", err
		}
		if a.resources == nil {
			a.resources = map[string][]resource{}
		}
		a.resources[version] = list.Resources
	}
	for _, r := range a.resources[version] {
		switch {
		case r.Kind != kind || strings.Contains(r.Name, "/"): // a subresource
			continue
		case !r.Namespaced:
			return base + "/" + r.Name, nil
		case namespace == "":
			namespace = "default"
		}
		return base + "/namespaces/" + namespace + "/" + r.Name, nil
	}
	return "", fmt.Errorf("%s has no kind %s", version, kind)
}
