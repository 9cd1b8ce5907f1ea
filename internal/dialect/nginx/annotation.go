package nginx

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/model"
)

// Prefix is the prefix of all annotations of this dialect.
const Prefix = "nginx.ingress.kubernetes.io/"

// Settings is what the annotations of one Ingress say.
type Settings struct {
	RewriteTarget    string // "": the path stays as it is
	UseRegex         bool
	SSLRedirect      bool
	ForceSSLRedirect bool
	BackendProtocol  Protocol // "": as the Service says
}

// Protocol is a value of backend-protocol.
type Protocol string

// The protocols that are understood.
const (
	HTTP  Protocol = "HTTP"
	HTTPS Protocol = "HTTPS"
	GRPC  Protocol = "GRPC"
	GRPCS Protocol = "GRPCS"
)

// Annotation is one row of the table.
type Annotation struct {
	dialect.Doc
	set func(s *Settings, value string) error
}

// Annotations returns the table of what is understood, in the order of the keys.
func Annotations() []Annotation {
	return []Annotation{
		{dialect.Doc{Key: "backend-protocol", Default: "HTTP", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Protocol spoken with the pods: HTTP, HTTPS (certificate not verified), GRPC or GRPCS"},
			func(s *Settings, v string) error { return set(&s.BackendProtocol, v, parseProtocol) }},
		{dialect.Doc{Key: "force-ssl-redirect", Default: "false", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Answer plain HTTP with a redirect to HTTPS (308) even where no certificate covers the host"},
			func(s *Settings, v string) error { return set(&s.ForceSSLRedirect, v, parseBool) }},
		{dialect.Doc{Key: "rewrite-target", Scope: dialect.Host, Risk: dialect.Medium,
			Text: "Path sent to the pods instead of the request's; $1 to $9 are the groups of the path, which becomes a regular expression"},
			func(s *Settings, v string) error { return set(&s.RewriteTarget, v, parseTarget) }},
		{dialect.Doc{Key: "ssl-redirect", Default: "true", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Answer plain HTTP with a redirect to HTTPS (308) where a certificate covers the host"},
			func(s *Settings, v string) error { return set(&s.SSLRedirect, v, parseBool) }},
		{dialect.Doc{Key: "use-regex", Default: "false", Scope: dialect.Host, Risk: dialect.Low,
			Text: "The paths of the host, of all its Ingresses, are regular expressions: not case-sensitive, anchored at the start"},
			func(s *Settings, v string) error { return set(&s.UseRegex, v, parseBool) }},
	}
}

// set stores what parse makes of value, or leaves dst as it is.
func set[T any](dst *T, value string, parse func(string) (T, error)) error {
	v, err := parse(value)
	if err == nil {
		*dst = v
	}
	return err
}

// Defaults is what an Ingress without annotations says.
func Defaults() Settings { return Settings{SSLRedirect: true} }

// Parse reads the annotations of the object ref. What cannot be used is
// rejected and leaves its default; annotations of other prefixes are not looked at.
func Parse(ref model.Ref, annotations map[string]string) (Settings, []model.Rejected) {
	s := Defaults()
	var rejected []model.Rejected
	var table []Annotation
	for key, value := range annotations {
		name, ours := strings.CutPrefix(key, Prefix)
		if !ours {
			continue
		}
		if table == nil {
			table = Annotations()
		}
		i, known := slices.BinarySearchFunc(table, name, func(a Annotation, k string) int { return cmp.Compare(a.Key, k) })
		if !known {
			rejected = append(rejected, unknown(ref, key, name, table))
			continue
		}
		if err := table[i].set(&s, value); err != nil {
			rejected = append(rejected, invalid(ref, key, err))
		}
	}
	slices.SortFunc(rejected, model.Rejected.Compare)
	return s, rejected
}

// Field is the path of an annotation in its object.
func Field(key string) string { return fmt.Sprintf("metadata.annotations[%s]", key) }

func invalid(ref model.Ref, key string, err error) model.Rejected {
	r := model.Rejected{Ref: ref, Field: Field(key), Reason: "AnnotationInvalid", Message: err.Error()}
	if v := (*dialect.ValueError)(nil); errors.As(err, &v) {
		r.Message, r.Fix = v.Problem, v.Fix
	}
	return r
}

func unknown(ref model.Ref, key, name string, table []Annotation) model.Rejected {
	r := model.Rejected{Ref: ref, Field: Field(key)}
	if slices.Contains(unsupported(), name) {
		r.Reason = "AnnotationUnsupported"
		r.Message = fmt.Sprintf("ingress-nginx knows %s, Fairway does not implement it", name)
		r.Fix = "the Ingress is served without it; remove the annotation if that is what you want"
		return r
	}
	r.Reason = "AnnotationUnknown"
	r.Message = fmt.Sprintf("ingress-nginx has no annotation %s", name)
	names := unsupported()
	for _, a := range table {
		names = append(names, a.Key)
	}
	if near, ok := dialect.Nearest(name, names); ok {
		r.Fix = fmt.Sprintf("did you mean %s%s?", Prefix, near)
	} else {
		r.Fix = "remove it: it has no effect"
	}
	return r
}
