package route

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/model"
)

// HeaderEdit is what is changed in the head of a response.
type HeaderEdit struct {
	Set          []Field // on every response; an empty value removes the field
	Add          []Field // beside what is there, on successes and redirects
	Hide         []string
	CookieDomain nginx.Replace
	CookiePath   nginx.Replace
	Redirect     nginx.Replace // of Location and Refresh
}

// Errors replaces errors by the answers of the first of Backends that has an endpoint. If
// none has, they are answered by 404, as by what stands in for a default backend in
// ingress-nginx.
type Errors struct {
	Codes    []int        // sorted
	Backends []BackendKey // that of the annotation default-backend, that of the option default-backend-service
	OwnOnly  bool         // those of endpoints are passed on
}

// Replaces reports whether an error is replaced.
func (e *Errors) Replaces(status int) bool {
	_, found := slices.BinarySearch(e.Codes, status)
	return found
}

// Bandwidth bounds how fast one response goes to its client, in bytes.
type Bandwidth struct {
	PerSecond int64
	After     int64 // that go before
}

// Mirror sends copies of requests to another URL.
type Mirror struct {
	Target dialect.Template
	Host   string // "": that of Target
	NoBody bool
}

func fields(in []nginx.Header) (out []Field) {
	for _, h := range in {
		out = append(out, Field{h.Name, h.Value})
	}
	return out
}

// edit collects what the settings, and ConfigMaps that they name, change.
func (f *fragment) readEdit(r *reading) {
	s := &f.settings.Response
	e := HeaderEdit{Set: fields(s.Set), Add: fields(s.Add), Hide: s.Hide, CookieDomain: s.CookieDomain, CookiePath: s.CookiePath}
	if !s.Redirect.From.IsZero() {
		if to := s.Redirect.To.String(); to == "" || to == "off" {
			f.reject("proxy-redirect-from", "AnnotationInvalid", "proxy-redirect-to is not set", "set both")
		} else if problem := s.Redirect.Check(); problem != nil {
			f.reject("proxy-redirect-to", "AnnotationInvalid", problem.Problem, problem.Fix)
		} else {
			e.Redirect = s.Redirect
		}
	}
	if name := r.options.AddHeaders; name.Name != "" {
		if m := r.configMap(name); m != nil {
			e.Set = append(e.Set, f.headersOf(m, "")...)
		}
	}
	if s.Headers.Name != "" {
		f.readCustomHeaders(r, &e)
	}
	if len(e.Set)+len(e.Add)+len(e.Hide) > 0 || !e.CookieDomain.From.IsZero() || !e.CookiePath.From.IsZero() || !e.Redirect.From.IsZero() {
		f.edit = &e
	}
}

func (f *fragment) readCustomHeaders(r *reading, e *HeaderEdit) {
	name := f.settings.Response.Headers
	if name.Namespace == "" {
		name.Namespace = f.ing.Namespace
	}
	m := r.configMap(name)
	if m == nil {
		f.reject("custom-headers", "ConfigMapNotFound", fmt.Sprintf("ConfigMap %s does not exist", name), "create it with a header in each key")
		return
	}
	for _, h := range f.headersOf(m, "custom-headers") {
		if !slices.Contains(r.options.AllowedHeader, strings.ToLower(h.Name)) {
			f.reject("custom-headers", "HeaderNotAllowed", fmt.Sprintf("header %s of ConfigMap %s is not allowed", h.Name, name), "ask for it to be added to the option global-allowed-response-headers")
			continue
		}
		e.Set = append(e.Set, h)
	}
}

// headersOf reads a ConfigMap of headers. Values are text: a dollar sign is one.
func (f *fragment) headersOf(m *model.ConfigMap, annotation string) (out []Field) {
	for _, name := range slices.Sorted(maps.Keys(m.Data)) {
		value := strings.TrimSpace(m.Data[name])
		if !nginx.ValidHeader(name, value) {
			if annotation != "" {
				f.reject(annotation, "HeaderInvalid", fmt.Sprintf("%q of ConfigMap %s is no header that can be set", name, m.Name), "correct the key or the value")
			}
			continue
		}
		out = append(out, Field{name, dialect.Text(value)})
	}
	return out
}

// readBackends resolves default-backend to the first port of its Service.
func (f *fragment) readBackends(r *reading) {
	e := &f.settings.Errors
	backend := func(name model.Name, annotation string) BackendKey {
		key := BackendKey{Service: name, Port: firstPort(r.service(name))}
		f.backends = append(f.backends, backendRef{key, nginx.Field(nginx.Prefix + annotation)})
		return key
	}
	var all []BackendKey
	if e.Backend != "" {
		all = append(all, backend(model.Name{Namespace: f.ing.Namespace, Name: e.Backend}, "default-backend"))
		f.defaultBackend = &all[0]
	}
	if len(e.Codes) == 0 {
		return
	}
	if r.options.DefaultBackend.Name != "" {
		all = append(all, backend(r.options.DefaultBackend, "custom-http-errors"))
	}
	if len(all) == 0 {
		f.reject("custom-http-errors", "NoDefaultBackend", "default-backend is not set, so that there is nobody to ask for error pages", "name a Service in the annotation default-backend, or for all Ingresses in the option default-backend-service; until then these errors become 404, as in ingress-nginx")
	}
	f.errors = &Errors{Codes: e.Codes, Backends: all, OwnOnly: e.Off}
}
