package agent

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the expected reports in testdata")

// TestMigrateFiles compares the report about testdata/migrate, for people and for
// machines, with what it was.
func TestMigrateFiles(t *testing.T) {
	r, err := MigrateFiles([]string{"testdata/migrate"}, time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	r.Print(&text)
	golden(t, "testdata/migrate.txt", text.String())
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/migrate.json", string(b)+"\n")
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil || got != string(want) {
		t.Errorf("%s: %v, got\n%s", file, err, got)
	}
}

// TestMigrateNamesTheFile: a manifest that cannot be read is told with its place.
func TestMigrateNamesTheFile(t *testing.T) {
	file := t.TempDir() + "/a.yaml"
	if err := os.WriteFile(file, []byte("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {prots: []}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := MigrateFiles([]string{file}, time.Now()); err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "line 5") || !strings.Contains(err.Error(), "prots") {
		t.Errorf("error %v", err)
	}
}
