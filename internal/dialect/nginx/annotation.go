package nginx

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/model"
)

// Prefix is the prefix of all annotations of this dialect.
const Prefix = "nginx.ingress.kubernetes.io/"

// Annotation is one row of the table.
type Annotation struct {
	dialect.Doc
	set func(s *Settings, value string) error
}

// Annotations returns the table of what is understood, in the order of the
// keys. Its rows are declared in the files of their groups.
func Annotations() []Annotation {
	all := slices.Concat(rewriteTable(), proxyTable(), accessTable(), corsTable(), affinityTable(), canaryTable(), limitTable(), silentTable())
	slices.SortFunc(all, func(a, b Annotation) int { return cmp.Compare(a.Key, b.Key) })
	return all
}

// set stores what parse makes of value, or leaves dst as it is.
func set[T any](dst *T, value string, parse func(string) (T, error)) error {
	v, err := parse(value)
	if err == nil {
		*dst = v
	}
	return err
}

// Parse reads the annotations of the object ref. What cannot be used is
// rejected and leaves its default; annotations of other prefixes are not looked at.
func Parse(ref model.Ref, annotations map[string]string) (Settings, []model.Rejected) {
	s := Defaults()
	var rejected []model.Rejected
	var table []Annotation
	for _, key := range slices.Sorted(maps.Keys(annotations)) { // of two names for one thing the later wins
		name, ours := strings.CutPrefix(key, Prefix)
		if !ours {
			continue
		}
		if table == nil {
			table = Annotations()
		}
		i, known := slices.BinarySearchFunc(table, name, func(a Annotation, k string) int { return cmp.Compare(a.Key, k) })
		var r *model.Rejected
		if !known {
			r = unknown(ref, key, name, table)
		} else if err := table[i].set(&s, annotations[key]); err != nil {
			r = invalid(ref, key, err)
		}
		if r == nil {
			continue
		}
		if r.Reason != "AnnotationUnknown" && guards(name) {
			s.Unguarded = name
			r.Fix += "; until then requests get 503, for without it everybody could come in"
		}
		rejected = append(rejected, *r)
	}
	slices.SortFunc(rejected, model.Rejected.Compare)
	return s, rejected
}

// Field is the path of an annotation in its object.
func Field(key string) string { return fmt.Sprintf("metadata.annotations[%s]", key) }

// guards reports whether an annotation keeps clients out, so that to leave it out
// would be worse than not to serve. ingress-nginx, too, answers 503 where a
// location's restrictions cannot be read.
func guards(name string) bool {
	return strings.HasSuffix(name, "-source-range") || name == "satisfy" ||
		slices.Contains([]string{"auth-url", "auth-type", "auth-secret", "auth-tls-secret", "auth-tls-match-cn", "auth-tls-verify-client", "enable-global-auth"}, name)
}

func invalid(ref model.Ref, key string, err error) *model.Rejected {
	r := &model.Rejected{Ref: ref, Field: Field(key), Reason: "AnnotationInvalid", Message: err.Error()}
	if v := (*dialect.ValueError)(nil); errors.As(err, &v) {
		r.Message, r.Fix = v.Problem, v.Fix
	}
	return r
}

func unknown(ref model.Ref, key, name string, table []Annotation) *model.Rejected {
	r := &model.Rejected{Ref: ref, Field: Field(key)}
	if slices.Contains(unsupported(), name) {
		r.Reason = "AnnotationUnsupported"
		r.Message = fmt.Sprintf("ingress-nginx knows %s, Fairway does not implement it", name)
		r.Fix = "remove it if the Ingress is to be served without"
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
