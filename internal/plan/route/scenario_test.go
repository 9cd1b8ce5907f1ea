package route

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

var update = flag.Bool("update", false, "rewrite the expected plans in testdata")

// here is where the gateway of the scenarios runs.
var here = Params{Node: "node-1"}

// TestScenarios runs testdata/*.txtar. A file is a comment and sections that
// begin with "-- NAME --". A section NAME.yaml is applied to the cluster, on top of
// those before ("# delete" in a document removes the object), and the section
// NAME.plan after it is the plan from then on. The plan is made twice: step by
// step by a Planner, and from nothing.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { scenario(t, file) })
	}
}

func scenario(t *testing.T, file string) {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parts := sections(string(b))
	store := state.New()
	watch, planner := store.Watch(), New(here)
	for i := range parts {
		name, isYAML := strings.CutSuffix(parts[i].name, ".yaml")
		if !isYAML {
			continue
		}
		store.Update(func(tx *state.Tx) {
			for _, doc := range strings.Split(parts[i].body, "---\n") {
				applyDoc(t, tx, doc)
			}
		})
		snap, changes := watch.Take()
		got := planner.Update(snap, changes, now).String()
		if fresh := Make(snap, here, now).String(); fresh != got {
			t.Errorf("%s: step by step and from nothing differ:\n%s\n%s", name, got, fresh)
		}
		if i+1 == len(parts) || parts[i+1].name != name+".plan" {
			t.Fatalf("%s.yaml is not followed by %s.plan", name, name)
		}
		if *update {
			parts[i+1].body = got
		} else if want := parts[i+1].body; got != want {
			t.Errorf("%s:\n--- got\n%s--- want\n%s", name, got, want)
		}
	}
	if *update {
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
}

func applyDoc(t *testing.T, tx *state.Tx, doc string) {
	if strings.TrimSpace(doc) == "" {
		return
	}
	v := decode(t, doc)
	if !strings.Contains(doc, "# delete") {
		tx.Set(v)
		return
	}
	switch v := v.(type) {
	case *model.Ingress:
		tx.Delete(model.KindIngress, v.String())
	case *model.IngressClass:
		tx.Delete(model.KindIngressClass, v.Name)
	case *model.Service:
		tx.Delete(model.KindService, v.String())
	case *model.EndpointSlice:
		tx.Delete(model.KindEndpointSlice, v.Key())
	case *model.ConfigMap:
		tx.Delete(model.KindConfigMap, v.String())
	case *model.Node:
		tx.Delete(model.KindNode, v.Name)
	case *model.Secret:
		tx.Delete(model.KindSecret, v.String())
	}
}

type section struct{ name, body string }

// sections splits the txtar format; what precedes the first section has no name.
func sections(text string) []section {
	out := []section{{}}
	for _, line := range strings.SplitAfter(text, "\n") {
		if name, ok := strings.CutPrefix(line, "-- "); ok && strings.HasSuffix(line, " --\n") {
			out = append(out, section{name: strings.TrimSuffix(name, " --\n")})
			continue
		}
		out[len(out)-1].body += line
	}
	return out
}
