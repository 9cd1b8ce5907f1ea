package fairway

import (
	"strings"
	"testing"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/model"
)

func annotatedIngress(pairs ...string) *model.Ingress {
	return &model.Ingress{Name: model.Name{Namespace: "default", Name: "a"}, Annotations: annotated(pairs...).Annotations}
}

func TestParseIngress(t *testing.T) {
	s, rejected := ParseIngress(annotatedIngress("match-methods", "GET, HEAD,GET", "match-headers", "X-Env=a b, X-Version~^2\\.[0-9]+$,X-Debug", "match-query", "v=2"))
	var got []string
	for _, c := range append(s.Headers, s.Query...) {
		got = append(got, c.String())
	}
	if rejected != nil || s.Unmatched || strings.Join(s.Methods, " ") != "GET HEAD" || strings.Join(got, " | ") != "X-Env=a b | X-Version~^2\\.[0-9]+$ | X-Debug | v=2" {
		t.Errorf("%v, %v, %v", s, got, rejected)
	}
}

// TestMistakenCondition: rules whose condition cannot be read match nothing.
func TestMistakenCondition(t *testing.T) {
	for _, c := range []struct{ key, value, reason, text string }{
		{"match-methods", "get", "AnnotationInvalid", "capitals count"},
		{"match-methods", "", "AnnotationInvalid", "no list of methods"},
		{"match-headers", "", "AnnotationInvalid", "no condition"},
		{"match-headers", "X Env", "AnnotationInvalid", "no condition"},
		{"match-headers", "X-Env=", "AnnotationInvalid", "no condition"},
		{"match-headers", "X-Env=a,x-env=b", "AnnotationInvalid", "is there twice"},
		{"match-headers", "X-Env~(", "AnnotationInvalid", "RE2"},
		{"match-query", "=2", "AnnotationInvalid", "no condition"},
		{"match-header", "X-Env", "AnnotationUnknown", "did you mean fairway.dev/match-headers?"},
		{"connect", "yes", "AnnotationInvalid", "neither true nor false"},
		{"nonsense", "x", "AnnotationUnknown", "remove it"},
	} {
		s, rejected := ParseIngress(annotatedIngress(c.key, c.value))
		if len(rejected) != 1 || rejected[0].Reason != c.reason || !strings.Contains(rejected[0].String(), c.text) || s.Unmatched != strings.HasPrefix(c.key, "match") {
			t.Errorf("%s: %q: %+v %v", c.key, c.value, s, rejected)
		}
	}
	if s, rejected := ParseIngress(annotatedIngress("match-query", "A=1,a=1")); rejected != nil || len(s.Query) != 2 {
		t.Errorf("arguments distinguish capitals: %v", rejected)
	}
}

// FuzzParseIngress: whatever is accepted is read the same way once it is written again.
func FuzzParseIngress(f *testing.F) {
	f.Add("GET", "X-Env=canary,X-Debug", "v~2")
	f.Fuzz(func(t *testing.T, methods, headers, query string) {
		s, _ := ParseIngress(annotatedIngress("match-methods", methods, "match-headers", headers, "match-query", query))
		for _, conditions := range [][]dialect.Condition{s.Headers, s.Query} {
			for _, c := range conditions {
				again, err := parseCondition(c.String())
				if err != nil || again.String() != c.String() || (again.Pattern == nil) != (c.Pattern == nil) {
					t.Errorf("%v is read as %v, %v", c, again, err)
				}
			}
		}
	})
}
