package mirror

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// store is an image store and its content, made by hand.
type store map[string]Descriptor

func (s store) Get(_ context.Context, name string) (Descriptor, error) {
	if name == "broken.test/x:latest" {
		return Descriptor{}, errors.New("no answer")
	}
	d, ok := s[name]
	if !ok {
		return Descriptor{}, ErrNotFound
	}
	return d, nil
}

func digestOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

const (
	manifest = `{"schemaVersion":2,"config":{},"layers":[]}`
	index    = `{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":[]}`
	layer    = "a layer"

	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	dockerList  = "application/vnd.docker.distribution.manifest.list.v2+json"
)

func newServer(t *testing.T) *Server {
	t.Helper()
	content := t.TempDir()
	dir := filepath.Join(content, "blobs", "sha256")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{manifest, index, layer} {
		if err := os.WriteFile(filepath.Join(dir, strings.TrimPrefix(digestOf(text), "sha256:")), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(content, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &Server{
		Content: content, Cluster: "test", Builtin: "own.test/", Log: slog.New(slog.DiscardHandler),
		Images: store{
			"docker.io/library/nginx:latest": {MediaType: ociManifest, Digest: digestOf(manifest)},
			"own.test/a/b:1.0":               {MediaType: dockerList, Digest: digestOf(index)},
			"reg.test:5000/gone:latest":      {MediaType: ociManifest, Digest: digestOf("gone")},
			"reg.test:5000/evil:latest":      {MediaType: ociManifest, Digest: "sha256:../../secret"},
		},
	}
}

// TestServe asks for everything by GET and by HEAD.
func TestServe(t *testing.T) {
	server := httptest.NewServer(newServer(t))
	defer server.Close()
	for _, test := range []struct {
		path, query string
		status      int
		mediaType   string
		body        string // "": an error of the spec's form
	}{
		{"/v2/library/nginx/manifests/latest", "ns=docker.io", 200, ociManifest, manifest},
		{"/v2/docker.io/library/nginx/manifests/latest", "", 200, ociManifest, manifest},
		{"/v2/a/b/manifests/1.0", "ns=own.test", 200, dockerList, index},
		{"/v2/any/manifests/" + digestOf(index), "ns=own.test", 200, dockerList, index},
		{"/v2/any/manifests/" + digestOf(manifest), "ns=own.test", 200, ociManifest, manifest},
		{"/v2/any/blobs/" + digestOf(layer), "ns=own.test", 200, "application/octet-stream", layer},
		// What it does not have.
		{"/v2/any/manifests/" + digestOf(layer), "", 404, "", ""}, // a layer is no manifest
		{"/v2/any/blobs/" + digestOf("other"), "", 404, "", ""},
		{"/v2/library/nginx/manifests/1.27", "ns=docker.io", 404, "", ""},
		{"/v2/library/nginx/manifests/latest", "ns=quay.io", 404, "", ""},
		{"/v2/library/nginx/manifests/latest", "", 404, "", ""},
		{"/v2/gone/manifests/latest", "ns=reg.test:5000", 404, "", ""},
		{"/v2/x/manifests/latest", "ns=broken.test", 503, "", ""},
		// What is no question.
		{"/v2/evil/manifests/latest", "ns=reg.test:5000", 404, "", ""},
		{"/v2/any/blobs/latest", "", 404, "", ""},
		{"/v2/any/blobs/sha256:..%2f..%2fsecret", "", 404, "", ""},
		{"/v2/any/blobs/../../../secret", "", 404, "", ""},
		{"/v2/../secret", "", 404, "", ""},
		{"/v2/Upper/manifests/latest", "ns=docker.io", 404, "", ""},
		{"/v2/nginx/manifests/latest", "ns=docker.io/library", 404, "", ""},
		{"/v2/nginx/tags/list", "ns=docker.io", 404, "", ""},
		{"/secret", "", 404, "", ""},
		{"/", "", 404, "", ""},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			resp, body := ask(t, method, server.URL+test.path+"?"+test.query)
			if resp.StatusCode != test.status {
				t.Errorf("%s %s?%s: status %d, want %d", method, test.path, test.query, resp.StatusCode, test.status)
				continue
			}
			switch {
			case test.status != 200:
				if method == http.MethodGet && !strings.HasPrefix(body, `{"errors":[{"code":"`) {
					t.Errorf("%s %s?%s: %q is no error of the spec", method, test.path, test.query, body)
				}
				continue
			case method == http.MethodGet && body != test.body:
				t.Errorf("%s %s: %q, want %q", method, test.path, body, test.body)
			}
			if got := resp.Header.Get("Content-Type"); got != test.mediaType {
				t.Errorf("%s %s: type %q, want %q", method, test.path, got, test.mediaType)
			}
			if got, want := resp.Header.Get("Docker-Content-Digest"), digestOf(test.body); got != want {
				t.Errorf("%s %s: digest %s, want %s", method, test.path, got, want)
			}
			if resp.ContentLength != int64(len(test.body)) {
				t.Errorf("%s %s: length %d, want %d", method, test.path, resp.ContentLength, len(test.body))
			}
		}
	}
}

func ask(t *testing.T, method, url string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// TestAPI: the base of the API answers, and nothing can be written.
func TestAPI(t *testing.T) {
	server := httptest.NewServer(newServer(t))
	defer server.Close()
	for _, path := range []string{"/v2/", Refusal + "/v2/"} {
		if resp, _ := ask(t, http.MethodGet, server.URL+path); resp.StatusCode != http.StatusOK {
			t.Errorf("GET %s: %s", path, resp.Status)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if resp, _ := ask(t, method, server.URL+"/v2/library/nginx/manifests/latest?ns=docker.io"); resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %s", method, resp.Status)
		}
	}
}

// TestLoaded: among real registries only what was loaded is served by name.
func TestLoaded(t *testing.T) {
	s := newServer(t)
	s.Loaded = t.TempDir()
	server := httptest.NewServer(s)
	defer server.Close()
	status := func(path string) int {
		resp, _ := ask(t, http.MethodHead, server.URL+path)
		return resp.StatusCode
	}
	const nginx = "/v2/library/nginx/manifests/latest?ns=docker.io"
	if got := status(nginx); got != http.StatusNotFound {
		t.Errorf("not loaded: %d", got)
	}
	if got := status("/v2/a/b/manifests/1.0?ns=own.test"); got != http.StatusOK {
		t.Errorf("builtin: %d", got)
	}
	if got := status("/v2/library/nginx/manifests/" + digestOf(manifest) + "?ns=docker.io"); got != http.StatusOK {
		t.Errorf("by digest: %d", got)
	}
	file, err := LoadedFile(s.Loaded, digestOf(manifest))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := status(nginx); got != http.StatusOK {
		t.Errorf("loaded: %d", got)
	}
	if file, err := LoadedFile(s.Loaded, "sha256:../x"); err == nil {
		t.Errorf("a digest that is none leads to %s", file)
	}
}

// TestRefusal: the reason of the answer is the advice, for that is what
// containerd shows.
func TestRefusal(t *testing.T) {
	server := httptest.NewServer(newServer(t))
	defer server.Close()
	// Even for what there is: it stands for a registry that cannot be reached.
	url := server.URL + Refusal + "/v2/library/nginx/manifests/latest?ns=docker.io"
	const want = `403 not loaded: run "fairway image load --name test FILE.tar"`
	if resp, _ := ask(t, http.MethodHead, url); resp.Status != want {
		t.Errorf("HEAD: %q, want %q", resp.Status, want)
	}
	resp, body := ask(t, http.MethodGet, url)
	if resp.Status != want || !strings.Contains(body, "docker.io/library/nginx:latest") || resp.ContentLength != int64(len(body)) {
		t.Errorf("GET: %q, %q", resp.Status, body)
	}
}
