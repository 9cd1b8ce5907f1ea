package kubeconfig

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sigs.k8s.io/yaml"
)

func access(name string) Access {
	return Access{Context: name, Server: "https://198.18.0.2:6443", CA: []byte("ca"), Cert: []byte("cert"), Key: []byte("key")}
}

// names returns the names in a list of the file.
func names(t *testing.T, path, list string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range file[list].([]any) {
		out = append(out, e.(map[string]any)["name"].(string))
	}
	return strings.Join(out, " ")
}

const existing = `apiVersion: v1
kind: Config
current-context: prod
preferences: {colors: true}
clusters:
- name: prod
  cluster: {server: "https://prod", tls-server-name: odd}
contexts:
- name: prod
  context: {cluster: prod, user: me, namespace: team}
users:
- name: me
  user: {exec: {command: login}}
`

func TestMergeKeepsWhatIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(existing), 0o640); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it replaces its own
		if err := Merge(path, access("fairway-a"), -1, -1); err != nil {
			t.Fatal(err)
		}
	}
	for list, want := range map[string]string{"clusters": "prod fairway-a", "contexts": "prod fairway-a", "users": "me fairway-a"} {
		if got := names(t, path, list); got != want {
			t.Errorf("%s: %s, want %s", list, got, want)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"current-context: fairway-a", "tls-server-name: odd", "command: login", "colors: true", "namespace: team"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%q is missing in\n%s", want, data)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, want that of before: 0640 (%v)", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*.lock")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestRemove(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(existing), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Merge(path, access("fairway-a"), -1, -1); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		if got, err := Remove(path, "fairway-a"); err != nil || got != want {
			t.Errorf("Remove: %v, %v, want %v", got, err, want)
		}
	}
	if got := names(t, path, "contexts"); got != "prod" {
		t.Errorf("contexts: %s", got)
	}
	if got, err := Remove(filepath.Join(t.TempDir(), "none"), "x"); got || err != nil {
		t.Errorf("Remove from no file: %v, %v", got, err)
	}
}

func TestMergeMakesFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".kube", "config")
	if err := Merge(path, access("fairway-a"), -1, -1); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600 (%v)", info.Mode(), err)
	}
}

// TestMergeThroughLink: the file is replaced, not the link to it.
func TestMergeThroughLink(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "real"), filepath.Join(dir, "config")
	if err := os.WriteFile(path, []byte(existing), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := Merge(link, access("fairway-a"), -1, -1); err != nil {
		t.Fatal(err)
	}
	if target, err := os.Readlink(link); err != nil || target != path {
		t.Errorf("the link is gone: %q, %v", target, err)
	}
	if got := names(t, path, "contexts"); got != "prod fairway-a" {
		t.Errorf("contexts: %s", got)
	}
}

// TestMergeTogether: of several at the same time none is lost.
func TestMergeTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		wg.Go(func() {
			if err := Merge(path, access(name), -1, -1); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := strings.Fields(names(t, path, "contexts")); len(got) != 6 {
		t.Errorf("contexts: %v, want 6", got)
	}
}

func TestMergeRefusesWhatItCannotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	const odd = "clusters: none\n"
	if err := os.WriteFile(path, []byte(odd), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Merge(path, access("a"), -1, -1); err == nil {
		t.Error("no error")
	}
	if data, _ := os.ReadFile(path); string(data) != odd {
		t.Errorf("the file was changed to %q", data)
	}
}

func TestLocate(t *testing.T) {
	env := func(m map[string]string) func(string) string { return func(k string) string { return m[k] } }
	for _, c := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"HOME": "/home/a"}, "/home/a/.kube/config"},
		{map[string]string{"HOME": "/home/a", "KUBECONFIG": "/x:/y"}, "/x"},
		{map[string]string{"HOME": "/root", "SUDO_USER": "root"}, "/root/.kube/config"},
	} {
		got, err := Locate(env(c.env))
		if err != nil || got.Path != c.want {
			t.Errorf("%v: %q, %v, want %q", c.env, got.Path, err, c.want)
		}
	}
	if _, err := Locate(env(nil)); err == nil {
		t.Error("no error without HOME")
	}
}
