package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// api is the little of a Kubernetes client that starting a cluster takes: get
// and patch with the administrator's certificate. The objects are structs of
// the fields that are read.
type api struct {
	server    string
	client    *http.Client
	resources map[string][]resource // by API group and version, as far as asked for
}

func (s *State) newAPI() (*api, error) {
	ca, err := os.ReadFile(s.pki("ca.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	cert, err := tls.LoadX509KeyPair(s.pki("admin.crt"), s.pki("admin.key"))
	if err != nil {
		return nil, err
	}
	return &api{server: s.plan.APIServer(), client: &http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2: true,
		},
	}}, nil
}

// ready reports whether the API server answers and says that it is ready.
func (a *api) ready(ctx context.Context) bool {
	return a.get(ctx, "/readyz", nil) == nil
}

// get reads the object at path into v, which may be nil.
func (a *api) get(ctx context.Context, path string, v any) error {
	return a.do(ctx, http.MethodGet, path, "", nil, v)
}

// merge merges v into the object at path (RFC 7396).
func (a *api) merge(ctx context.Context, path string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return a.do(ctx, http.MethodPatch, path, "application/merge-patch+json", body, nil)
}

func (a *api) do(ctx context.Context, method, path, contentType string, body []byte, v any) error {
	req, err := http.NewRequestWithContext(ctx, method, a.server+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	switch {
	case err != nil:
		return err
	case resp.StatusCode >= 300:
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, firstLine(data))
	case v == nil:
		return nil
	}
	return json.Unmarshal(data, v)
}

func firstLine(data []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(data), []byte("\n"))
	return string(line[:min(len(line), 300)])
}

// object is the part of any object's metadata that we read.
type object struct {
	Metadata struct {
		Name        string            `json:"name"`
		Namespace   string            `json:"namespace"`
		Generation  int64             `json:"generation"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
}

type nodeObject struct {
	object
	Status struct {
		Conditions []condition `json:"conditions"`
		NodeInfo   struct {
			KubeletVersion string `json:"kubeletVersion"`
		} `json:"nodeInfo"`
	} `json:"status"`
}

type condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Message string `json:"message"`
}

// ready returns whether the node is Ready, and otherwise why not.
func (n *nodeObject) ready() (bool, string) {
	for _, c := range n.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True", c.Message
		}
	}
	return false, "it has not reported yet"
}

// nodes returns the Node objects by name.
func (a *api) nodes(ctx context.Context) (map[string]*nodeObject, error) {
	var list struct {
		Items []*nodeObject `json:"items"`
	}
	// The watch cache's answer will do: resourceVersion=0.
	if err := a.get(ctx, "/api/v1/nodes?resourceVersion=0", &list); err != nil {
		return nil, err
	}
	out := map[string]*nodeObject{}
	for _, n := range list.Items {
		out[n.Metadata.Name] = n
	}
	return out, nil
}

// workload is a DaemonSet or a Deployment.
type workload struct {
	object
	Kind string `json:"-"`
	Spec struct {
		Replicas *int   `json:"replicas"`
		Template object `json:"template"`
	} `json:"spec"`
	Status struct {
		ObservedGeneration int64 `json:"observedGeneration"`
		// DaemonSet
		Desired int `json:"desiredNumberScheduled"`
		Ready   int `json:"numberReady"`
		Updated int `json:"updatedNumberScheduled"`
		// Deployment
		ReadyReplicas   int `json:"readyReplicas"`
		UpdatedReplicas int `json:"updatedReplicas"`
	} `json:"status"`
}

// counts returns how many pods are ready and how many should be.
func (w *workload) counts() (ready, want int) {
	if w.Kind == "DaemonSet" {
		return w.Status.Ready, w.Status.Desired
	}
	want = 1
	if w.Spec.Replicas != nil {
		want = *w.Spec.Replicas
	}
	return w.Status.ReadyReplicas, want
}

// done reports whether the controller has seen the workload, and all its pods
// are of its latest version and ready.
func (w *workload) done(nodes int) bool {
	ready, want := w.counts()
	if w.Status.ObservedGeneration < w.Metadata.Generation {
		return false
	}
	if w.Kind == "DaemonSet" && want == 0 && nodes > 0 {
		return false // not counted yet: every node has ours
	}
	return ready >= want && w.Status.Updated+w.Status.UpdatedReplicas >= want
}

// fairway returns Fairway's own workloads.
func (a *api) fairway(ctx context.Context) ([]*workload, error) {
	var out []*workload
	for _, kind := range []struct{ name, path string }{{"DaemonSet", "daemonsets"}, {"Deployment", "deployments"}} {
		var list struct {
			Items []*workload `json:"items"`
		}
		if err := a.get(ctx, "/apis/apps/v1/"+kind.path+"?labelSelector=app.kubernetes.io/name%3Dfairway", &list); err != nil {
			return nil, err
		}
		for _, w := range list.Items {
			w.Kind = kind.name
			out = append(out, w)
		}
	}
	return out, nil
}
