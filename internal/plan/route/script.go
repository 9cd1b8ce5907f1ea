package route

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/model"
)

// Script is what a FastCGI application gets to know, beside the usual.
type Script struct {
	Index  string  // is appended to a path that ends in a slash
	Params []Field // in the place of those of the same name
}

// readScript reads the ConfigMap of parameters. Without it an application would run who
// knows what: requests get 503, as in ingress-nginx.
func (f *fragment) readScript(r *reading) {
	s := &f.settings.Script
	if f.settings.BackendProtocol != nginx.FCGI {
		return
	}
	f.script = &Script{Index: s.Index}
	if s.Params == "" {
		return
	}
	const annotation = "fastcgi-params-configmap"
	name, ok := f.object(r, annotation, s.Params)
	if !ok {
		f.settings.Unguarded = annotation
		return
	}
	m := r.configMap(name)
	if m == nil {
		f.close(annotation, "ConfigMapNotFound", fmt.Sprintf("ConfigMap %s does not exist", name), "create it")
		return
	}
	f.script.Params = f.scriptParams(m, annotation)
}

func (f *fragment) scriptParams(m *model.ConfigMap, annotation string) (out []Field) {
	for _, key := range slices.Sorted(maps.Keys(m.Data)) {
		value, err := nginx.ParseScriptParam(key, strings.TrimSpace(m.Data[key]))
		if err != nil {
			f.close(annotation, "ParamInvalid", fmt.Sprintf("ConfigMap %s, %s: %v", m.Name, key, err), "correct it")
			return nil
		}
		out = append(out, Field{key, value})
	}
	return out
}
