package file

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

const manifests = `# a comment
apiVersion: v1
kind: Namespace
metadata: {name: ns}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: ns}
spec:
  clusterIP: 10.96.0.1
  ports: [{name: http, port: 80}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: passed-over}
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: db}
  spec: {clusterIP: None}
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: db-1, labels: {kubernetes.io/service-name: db}}
  addressType: IPv4
  endpoints: [{addresses: [10.244.0.1]}]
---
apiVersion: v1
kind: Secret
metadata: {name: users}
data: {a: Zm9v, b: Zm9v}
stringData: {b: bar, c: baz}
`

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), manifests)
	write(t, filepath.Join(dir, "notes.txt"), "not: [a manifest")
	store := state.New()
	s := New(Options{Paths: []string{dir}, Log: slog.New(slog.DiscardHandler)}, store)
	if err := s.Load(); err != nil {
		t.Fatal(err)
	}
	snap := store.Snapshot()
	web, db := snap.Service(model.ParseName("ns/web")), snap.Service(model.ParseName("default/db"))
	if web == nil || web.ClusterIPs[0].String() != "10.96.0.1" || web.Ports[0].Protocol != model.TCP {
		t.Errorf("web: %+v", web)
	}
	if db == nil || !db.Headless {
		t.Errorf("db: %+v", db)
	}
	if slice, ok := snap.Slices.Get("default/db/db-1"); !ok || !slice.Endpoints[0].Ready {
		t.Errorf("slice: %+v", slice)
	}
	secret, _ := snap.Secrets.Get("default/users")
	if secret == nil || string(secret.Data["a"]) != "foo" || string(secret.Data["b"]) != "bar" || string(secret.Data["c"]) != "baz" {
		t.Errorf("secret: %+v", secret)
	}
	if snap.Namespace("ns") == nil || !snap.Synced(model.KindService, model.KindEndpointSlice, model.KindNamespace) {
		t.Error("namespace missing or not synced")
	}

	// The same again is no change; a removed document is a removed object.
	if s.Load(); store.Snapshot() != snap {
		t.Error("loading the same files made a new snapshot")
	}
	first, _, _ := strings.Cut(manifests, "---")
	write(t, filepath.Join(dir, "a.yaml"), first)
	if s.Load(); store.Snapshot() != snap {
		t.Error("a file that is being written was read")
	}
	long := time.Now().Add(-time.Second)
	os.Chtimes(filepath.Join(dir, "a.yaml"), long, long)
	if err := s.Load(); err != nil {
		t.Fatal(err)
	}
	if now := store.Snapshot(); now.Services.Len() != 0 || now.Namespaces.Len() != 1 {
		t.Errorf("%d Services, %d Namespaces", now.Services.Len(), now.Namespaces.Len())
	}
}

// A mistake is told with its place, and what was there stays.
func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {port: 80}\n": `document 2: Service web: error unmarshaling JSON: while decoding JSON: json: unknown field "port"`,
		"apiVersion: v1\nkind: Service\n": "document 1: Service without metadata.name",
		"a: b: c\n":                       "document 1: ",
		strings.Repeat("apiVersion: v1\nkind: Service\nmetadata: {name: web}\n---\n", 2): "Service default/web is there twice",
	} {
		path := filepath.Join(t.TempDir(), "a.yaml")
		write(t, path, manifests)
		store := state.New()
		s := New(Options{Paths: []string{path}, Log: slog.New(slog.DiscardHandler)}, store)
		if err := s.Load(); err != nil {
			t.Fatal(err)
		}
		snap := store.Snapshot()
		write(t, path, text)
		os.Chtimes(path, time.Now(), time.Now().Add(time.Minute))
		if err := s.Load(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("error %v, want %s", err, want)
		}
		if store.Snapshot() != snap {
			t.Error("a file with a mistake changed the state")
		}
	}
	if err := New(Options{Paths: []string{"/nonexistent/a.yaml"}}, state.New()).Load(); err == nil {
		t.Error("no error for a file that is not there")
	}
}

// TestObjects: each object has its line, and each document its own mistake.
func TestObjects(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.yaml")
	write(t, path, manifests+"---\na: b: c\n--- # next\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: bad}\n  spec: {port: 80}\n"+
		"- apiVersion: v1\n  kind: Service\n  metadata:\n    name: good\n")
	objects, errs := Objects([]string{path})
	lines := map[string]int{}
	for _, o := range objects {
		lines[state.ChangeOf(o.Value).Key] = o.Line("metadata.name")
	}
	last := strings.Count(manifests, "\n")
	for key, want := range map[string]int{"ns": 4, "ns/web": 8, "default/db": 22, "default/db/db-1": 26, "default/users": 32, "default/good": last + 13} {
		if lines[key] != want {
			t.Errorf("%s: line %d, want %d", key, lines[key], want)
		}
	}
	if len(errs) != 2 || !strings.Contains(errs[0].Error(), fmt.Sprintf("a.yaml: yaml: line %d: ", last+2)) ||
		!strings.Contains(errs[1].Error(), fmt.Sprintf(`a.yaml: line %d: Service bad: `, last+6)) {
		t.Errorf("%v", errs)
	}
}
