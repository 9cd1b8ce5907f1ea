package file

import "github.com/fairway-net/fairway/internal/model"

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
	_ = each(paths, func(o *Object) error {
		out = append(out, programs(o)...)
		return nil
	})
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
		p := model.NewProgram(w.Kind, model.Name{Namespace: w.Metadata.Namespace, Name: w.Metadata.Name}, i, c.Image, c.Command, c.Args)
		for j := range p.Words {
			word := &p.Words[j]
			word.File, word.Line = o.File, o.Line(word.Field)
		}
		out = append(out, p)
	}
	return out
}
