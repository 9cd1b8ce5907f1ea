package nginx

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/model"
)

// Prefix is the prefix of all annotations of this dialect.
const Prefix = "nginx.ingress.kubernetes.io/"

// Annotation is one row of the table.
type Annotation struct {
	dialect.Doc
	set func(s *Settings, value string) error // nil for snippets: see directiveOf
}

// Annotations returns the table of all annotations of ingress-nginx, in the order
// of the keys. Its rows are declared in the files of their groups. It must not be changed.
func Annotations() []Annotation { return table() }

var table = sync.OnceValue(func() []Annotation {
	var all []Annotation
	for _, g := range groupTable() {
		for _, a := range g.rows {
			a.Group = g.name
			all = append(all, a)
		}
	}
	slices.SortFunc(all, func(a, b Annotation) int { return cmp.Compare(a.Key, b.Key) })
	return all
})

type group struct {
	name string // a heading of the documentation
	rows []Annotation
}

func groupTable() []group {
	return []group{
		{"Redirects and rewriting", rewriteTable()},
		{"Pods", proxyTable()},
		{"Choice of the pod", slices.Concat(balanceTable(), affinityTable())},
		{"Addresses", accessTable()},
		{"External authentication", authTable()},
		{"Passwords", basicTable()},
		{"Client certificates", clientCertTable()},
		{"CORS", corsTable()},
		{"Canary", canaryTable()},
		{"Limits", limitTable()},
		{"Responses, errors, mirrors", responseTable()},
		{"Traces", traceTable()},
		{"FastCGI", scriptTable()},
		{"Snippets", snippetTable()},
		{"No effect needed", silentTable()},
		{"Refused", refusedTable()},
	}
}

// lookUp returns the row of a key, or nil.
func lookUp(key string) *Annotation {
	i, ok := slices.BinarySearchFunc(table(), key, func(a Annotation, k string) int { return cmp.Compare(a.Key, k) })
	if !ok {
		return nil
	}
	return &table()[i]
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
func Parse(ref model.Ref, annotations map[string]string, o *Options) (Settings, []model.Rejected) {
	s := o.Base.clone()
	var rejected []model.Rejected
	for _, key := range slices.Sorted(maps.Keys(annotations)) { // of two names for one thing the later wins
		name, ours := strings.CutPrefix(key, Prefix)
		if !ours {
			continue
		}
		row := lookUp(name)
		if row == nil {
			rejected = append(rejected, unknown(ref, key, name))
			continue
		}
		for _, r := range row.apply(&s, annotations[key], o) {
			r.Ref, r.Field = ref, Field(key)
			if guards(name) || row.set == nil && guarded(annotations[key]) {
				s.Unguarded = name
				r.Fix += "; until then requests get 503, for without it everybody could come in"
			}
			rejected = append(rejected, r)
		}
	}
	if s.Unguarded == "" {
		s.Unguarded = o.unguarded(&s, annotations)
	}
	slices.SortFunc(rejected, model.Rejected.Compare)
	return s, rejected
}

// apply reads one annotation. Ref and Field of what it rejects are still empty.
func (a *Annotation) apply(s *Settings, value string, o *Options) []model.Rejected {
	switch {
	case a.set == nil:
		return a.applySnippet(s, value, o)
	case a.Risk.Above(o.Risk):
		return []model.Rejected{{Reason: "AnnotationRisk", Message: fmt.Sprintf("the risk of %s is %s, and no more than %s is accepted here", a.Key, a.Risk, o.Risk),
			Fix: "remove it, or ask for the option annotations-risk-level to be raised"}}
	}
	err := a.set(s, value)
	if err == nil {
		return nil
	}
	r := model.Rejected{Reason: "AnnotationInvalid"}
	if a.Effect == dialect.Refused {
		r.Reason = "AnnotationUnsupported"
	}
	r.Message, r.Fix = dialect.Explain(err)
	return []model.Rejected{r}
}

// applySnippet reads a snippet statement by statement, and quotes those that it refuses.
func (a *Annotation) applySnippet(s *Settings, value string, o *Options) (rejected []model.Rejected) {
	for _, d := range parseDirectives(value) {
		to := s
		if !o.AllowSnippets {
			scratch := s.clone()
			to = &scratch
		}
		err := directiveOf(a.Key)(to, d)
		if !o.AllowSnippets {
			err = snippetsOff(d, err)
		}
		if err == nil {
			continue
		}
		problem, fix := dialect.Explain(err)
		rejected = append(rejected, model.Rejected{Reason: "SnippetRefused", Message: fmt.Sprintf("line %d, %q: %s", d.line, clip(d.text), problem), Fix: fix})
	}
	return rejected
}

func clip(s string) string {
	if len(s) > 120 {
		return strings.ToValidUTF8(s[:120], "") + "…"
	}
	return s
}

// snippetsOff says what to do about a statement that is not read because no snippet is; err is
// what would become of it otherwise.
func snippetsOff(d directive, err error) error {
	off := &dialect.ValueError{Problem: "snippets are off", Fix: "remove it, or ask for the option allow-snippet-annotations"}
	if by := instead(d); by != "" {
		off.Fix = "the annotation " + by + " does it"
	} else if err != nil {
		problem, _ := dialect.Explain(err)
		off.Problem += ", and " + problem
		off.Fix = "remove it: the option allow-snippet-annotations would not make it work"
	}
	return off
}

// instead names the annotation that does the same without a snippet; "" if there is none.
func instead(d directive) string {
	return map[string]string{
		"more_set_headers": "custom-headers", "add_header": "custom-headers or enable-cors", "proxy_read_timeout": "proxy-read-timeout",
		"proxy_send_timeout": "proxy-send-timeout", "proxy_connect_timeout": "proxy-connect-timeout", "client_max_body_size": "proxy-body-size",
		"allow": "allowlist-source-range", "deny": "denylist-source-range", "return": "permanent-redirect", "rewrite": "rewrite-target",
		"satisfy": "satisfy", "proxy_next_upstream": "proxy-next-upstream", "proxy_cookie_path": "proxy-cookie-path", "proxy_cookie_domain": "proxy-cookie-domain",
		"proxy_redirect": "proxy-redirect-from", "limit_rate": "limit-rate", "error_page": "custom-http-errors", "auth_request": "auth-url", "auth_basic": "auth-type",
	}[d.name]
}

// Field is the path of an annotation in its object.
func Field(key string) string { return fmt.Sprintf("metadata.annotations[%s]", key) }

// guards reports whether an annotation keeps clients out, so that to leave it out
// would be worse than not to serve. ingress-nginx, too, answers 503 where a
// location's restrictions cannot be read.
func guards(name string) bool {
	return strings.HasSuffix(name, "-source-range") || name == "satisfy" ||
		slices.Contains([]string{"auth-url", "auth-method", "auth-response-headers", "auth-type", "auth-secret", "auth-secret-type", "auth-tls-secret", "auth-tls-match-cn", "auth-tls-verify-client", "enable-global-auth"}, name)
}

// guarded says that a snippet has a directive that keeps clients out, inside of a block, too.
func guarded(snippet string) bool {
	keepsOut := func(word string) bool {
		return word == "deny" || strings.HasPrefix(word, "auth_") || strings.HasPrefix(word, "access_by_lua") || strings.HasPrefix(word, "ssl_verify")
	}
	return slices.ContainsFunc(parseDirectives(snippet), func(d directive) bool {
		return keepsOut(d.name) || strings.HasSuffix(d.text, "}") && slices.ContainsFunc(d.args, keepsOut)
	})
}

func unknown(ref model.Ref, key, name string) model.Rejected {
	r := model.Rejected{Ref: ref, Field: Field(key), Reason: "AnnotationUnknown", Message: fmt.Sprintf("ingress-nginx has no annotation %s", name)}
	if by, was := dropped[name]; was {
		r.Message, r.Fix = fmt.Sprintf("ingress-nginx has no annotation %s any more", name), by
		return r
	}
	names := make([]string, 0, len(table()))
	for _, a := range table() {
		names = append(names, a.Key)
	}
	if near, ok := dialect.Nearest(name, names); ok {
		r.Fix = fmt.Sprintf("did you mean %s%s?", Prefix, near)
	} else {
		r.Fix = "remove it: it has no effect"
	}
	return r
}
