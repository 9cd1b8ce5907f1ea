package cluster

import (
	"testing"

	"github.com/fairway-net/fairway/deploy"
)

// TestManifestTakesSettings: of the manifest that every cluster gets, only
// what names this cluster's addresses changes.
func TestManifestTakesSettings(t *testing.T) {
	plan, err := NewPlan(Networking{DNSDomain: "example.test", Services: []string{"10.96.0.0/16"}}, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	s := &State{plan: plan}
	objects, err := s.manifest(deploy.Manifest, "sha256:1")
	if err != nil {
		t.Fatal(err)
	}
	configs, workloads, dns := 0, 0, ""
	for _, obj := range objects {
		meta := obj["metadata"].(map[string]any)
		switch obj["kind"] {
		case "ConfigMap":
			configs++
			data := obj["data"].(map[string]any)
			for key, want := range map[string]string{
				"apiServer": "https://198.18.1.2:6443", "clusterDomain": "example.test", "dnsIP": "10.96.0.10",
				"lbPools": "198.18.17.0/24", "podCIDRs": "198.18.128.0/17", "serviceCIDRs": "10.96.0.0/16",
			} {
				if data[key] != want {
					t.Errorf("ConfigMap in %v: %s is %v, want %s", meta["namespace"], key, data[key], want)
				}
			}
		case "DaemonSet", "Deployment":
			workloads++
			template := obj["spec"].(map[string]any)["template"].(map[string]any)
			if got := template["metadata"].(map[string]any)["annotations"].(map[string]any)[imageAnnotation]; got != "sha256:1" {
				t.Errorf("%v %v: image annotation %v", obj["kind"], meta["name"], got)
			}
		case "Service":
			if meta["namespace"] == "kube-system" {
				dns, _ = obj["spec"].(map[string]any)["clusterIP"].(string)
			}
		}
	}
	if configs == 0 || workloads == 0 {
		t.Errorf("the manifest has %d ConfigMaps fairway-config, %d workloads", configs, workloads)
	}
	if dns != "10.96.0.10" {
		t.Errorf("the DNS Service has cluster address %q, want 10.96.0.10", dns)
	}
	if _, err := fairwayImage(deploy.Manifest); err != nil {
		t.Error(err)
	}
}

func TestManifestRejectsNothing(t *testing.T) {
	if _, err := new(State).manifest([]byte("# nothing\n"), ""); err == nil {
		t.Error("an empty manifest is installed without a word")
	}
}
