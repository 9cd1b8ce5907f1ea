package kube

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Files that $KUBECONFIG lists are one configuration; one that is not there is
// no mistake, and one that is named alone is.
func TestConnectAsMergesFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("apiVersion: v1\nkind: Config\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	clusters := file("clusters", "clusters: [{name: c, cluster: {server: \"https://192.0.2.1:6443\"}}, {name: d, cluster: {server: \"https://192.0.2.2:6443\"}}]\n")
	contexts := file("contexts", "current-context: first\ncontexts: [{name: first, context: {cluster: c, user: u}}, {name: second, context: {cluster: d, user: u}}]\nusers: [{name: u, user: {token: secret}}]\n")
	other := file("other", "current-context: second\n")
	missing := filepath.Join(dir, "missing")
	for _, c := range []struct {
		files []string
		host  string
	}{
		{[]string{clusters, contexts}, "https://192.0.2.1:6443"},
		{[]string{missing, contexts, clusters, other}, "https://192.0.2.1:6443"}, // the first to say it counts
		{[]string{other, contexts, clusters}, "https://192.0.2.2:6443"},
	} {
		config, err := ConnectAs(strings.Join(c.files, string(os.PathListSeparator)), "")
		if err != nil || config.Host != c.host || config.BearerToken != "secret" {
			t.Errorf("%v: %v %v, want %s", c.files, config, err, c.host)
		}
	}
	if config, err := ConnectAs(missing, ""); err == nil {
		t.Errorf("a file that is missing: %v", config)
	}
}
