package service

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes/scheme"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/source/kube"
	"github.com/fairway-net/fairway/internal/state"
)

var update = flag.Bool("update", false, "rewrite the expected plans in testdata")

// TestScenarios runs testdata/*.txtar, as seen by the node "here". A section
// NAME.yaml is applied on top of those before ("# delete" in a document removes
// the object); the section NAME.plan after it is all plans from then on. They
// are made twice: only for the keys of each change, and from nothing.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { scenario(t, file) })
	}
}

var here = Params{Node: "here"}

func scenario(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parts := sections(string(text))
	store := state.New()
	watch := store.Watch()
	plans := map[Key]string{}
	var was *model.Node
	for i := range parts {
		name, isYAML := strings.CutSuffix(parts[i].name, ".yaml")
		if !isYAML {
			continue
		}
		store.Update(func(tx *state.Tx) {
			for doc := range strings.SplitSeq(parts[i].body, "---\n") {
				applyDoc(t, tx, doc)
			}
		})
		snap, changes := watch.Take()
		for _, k := range Affected(snap, changes, was, here) {
			p := For(snap, here, k)
			if plans[k] = p.String(); len(p.Ports) == 0 {
				delete(plans, k)
			}
		}
		was = snap.Node(here.Node)
		var got strings.Builder
		keys := All(snap, here)
		for _, k := range keys {
			p := For(snap, here, k)
			got.WriteString(p.String())
			if p.String() != plans[k] {
				t.Errorf("%s: %v step by step and from nothing differ:\n%s\n%s", name, k, plans[k], &p)
			}
		}
		if len(plans) != len(keys) {
			t.Errorf("%s: %d plans step by step, %d from nothing", name, len(plans), len(keys))
		}
		if i+1 == len(parts) || parts[i+1].name != name+".plan" {
			t.Fatalf("%s.yaml is not followed by %s.plan", name, name)
		}
		if *update {
			parts[i+1].body = got.String()
		} else if want := parts[i+1].body; got.String() != want {
			t.Errorf("%s:\n--- got\n%s--- want\n%s", name, got.String(), want)
		}
	}
	if *update {
		rewrite(t, file, parts)
	}
}

func rewrite(t *testing.T, file string, parts []section) {
	var out strings.Builder
	for _, p := range parts {
		if p.name != "" {
			fmt.Fprintf(&out, "-- %s --\n", p.name)
		}
		out.WriteString(p.body)
	}
	if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func applyDoc(t *testing.T, tx *state.Tx, doc string) {
	t.Helper()
	if strings.TrimSpace(doc) == "" {
		return
	}
	obj, gvk, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(doc), nil, nil)
	if err != nil {
		t.Fatalf("decode %q: %v", doc, err)
	}
	key, v := kube.Convert(obj)
	if !strings.Contains(doc, "# delete") {
		tx.Set(v)
		return
	}
	for k := range model.Kind(model.NumKinds) {
		if k.String() == gvk.Kind {
			tx.Delete(k, key)
		}
	}
}

type section struct{ name, body string }

// sections splits the txtar format; what precedes the first section has no name.
func sections(text string) []section {
	out := []section{{}}
	for line := range strings.SplitAfterSeq(text, "\n") {
		if name, ok := strings.CutPrefix(line, "-- "); ok && strings.HasSuffix(line, " --\n") {
			out = append(out, section{name: strings.TrimSuffix(name, " --\n")})
			continue
		}
		out[len(out)-1].body += line
	}
	return out
}
