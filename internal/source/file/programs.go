package file

import (
	"fmt"
	"os"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-net/fairway/internal/model"
)

// workload is what a Deployment or DaemonSet says of its containers.
type workload struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Spec     struct {
		Template struct {
			Spec struct {
				Containers []struct {
					Image         string
					Command, Args []string
				}
			}
		}
	}
}

// Programs returns what the containers of Deployments and DaemonSets are started with. What
// cannot be read is passed over: Objects tells it.
func Programs(paths []string) (out []model.Program) {
	files, err := (&Source{o: Options{Paths: paths}}).list()
	if err != nil {
		return nil
	}
	for _, name := range sortedKeys(files) {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for _, text := range split(b) {
			var doc yaml.Node
			if yaml.Unmarshal(text, &doc) != nil || len(doc.Content) == 0 {
				continue
			}
			for _, node := range items(doc.Content[0]) {
				out = append(out, programs(&Object{File: name, node: node})...)
			}
		}
	}
	return out
}

func programs(o *Object) (out []model.Program) {
	var w workload
	if o.node.Decode(&w) != nil || w.Kind != "Deployment" && w.Kind != "DaemonSet" {
		return nil
	}
	if w.Metadata.Namespace == "" {
		w.Metadata.Namespace = "default"
	}
	for i, c := range w.Spec.Template.Spec.Containers {
		p := model.Program{Kind: w.Kind, Name: model.Name{Namespace: w.Metadata.Namespace, Name: w.Metadata.Name}, Image: c.Image}
		add := func(list string, words []string) {
			for j, text := range words {
				field := fmt.Sprintf("spec.template.spec.containers[%d].%s[%d]", i, list, j)
				p.Words = append(p.Words, model.Word{Text: text, Field: field, File: o.File, Line: o.Line(field)})
			}
		}
		add("command", c.Command)
		add("args", c.Args)
		out = append(out, p)
	}
	return out
}
