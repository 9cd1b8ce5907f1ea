package fairway

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/model"
)

// Prefix is the prefix of all annotations of this dialect.
const Prefix = "fairway.dev/"

const annotationsField = "metadata.annotations["

// annotation is one row of the table of a kind of object, whose settings are S.
type annotation[S any] struct {
	dialect.Doc
	set func(s *S, value string) error
}

func row[S any](key, def, text string, set func(*S, string) error) annotation[S] {
	return annotation[S]{dialect.Doc{Key: key, Default: def, Text: text}, set}
}

// read puts into s what the annotations of the object ref say. What cannot be used is
// rejected and leaves s as it was, as do the keys in elsewhere, which others read.
func read[S any](s *S, ref model.Ref, annotations map[string]string, rows []annotation[S], elsewhere []string) (rejected []model.Rejected) {
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		name, ours := strings.CutPrefix(key, Prefix)
		if !ours || slices.Contains(elsewhere, name) {
			continue
		}
		r := model.Rejected{Ref: ref, Field: annotationsField + key + "]", Reason: "AnnotationInvalid"}
		i := slices.IndexFunc(rows, func(a annotation[S]) bool { return a.Key == name })
		if i < 0 {
			r.Reason, r.Message, r.Fix = "AnnotationUnknown", fmt.Sprintf("Fairway has no annotation %s for %s objects", name, ref.Kind), "remove it: it has no effect"
			if near, ok := dialect.Nearest(name, append(keys(rows), elsewhere...)); ok {
				r.Fix = fmt.Sprintf("did you mean %s%s?", Prefix, near)
			}
			rejected = append(rejected, r)
			continue
		}
		before := *s
		if err := rows[i].set(s, annotations[key]); err != nil {
			*s = before
			r.Message, r.Fix = dialect.Explain(err)
			rejected = append(rejected, r)
		}
	}
	return rejected
}

func keys[S any](rows []annotation[S]) (out []string) {
	for _, a := range rows {
		out = append(out, a.Key)
	}
	return out
}
