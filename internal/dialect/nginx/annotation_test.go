package nginx

import (
	"slices"
	"strings"
	"testing"

	"github.com/fairway-net/fairway/internal/model"
)

var ref = model.Ref{Kind: model.KindIngress, Name: model.Name{Namespace: "default", Name: "shop"}}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		key, value string
		want       Settings
	}{
		{"rewrite-target", "/$2", Settings{RewriteTarget: "/$2", SSLRedirect: true}},
		{"rewrite-target", "$1", Settings{RewriteTarget: "$1", SSLRedirect: true}},
		{"use-regex", "true", Settings{UseRegex: true, SSLRedirect: true}},
		{"ssl-redirect", "false", Settings{}},
		{"ssl-redirect", "0", Settings{}},
		{"force-ssl-redirect", "True", Settings{ForceSSLRedirect: true, SSLRedirect: true}},
		{"backend-protocol", "grpc", Settings{BackendProtocol: GRPC, SSLRedirect: true}},
	} {
		got, rejected := Parse(ref, map[string]string{Prefix + c.key: c.value, "other.example/key": "x"})
		if got != c.want || rejected != nil {
			t.Errorf("%s: %s = %+v, %v, want %+v", c.key, c.value, got, rejected, c.want)
		}
	}
}

func TestParseRejects(t *testing.T) {
	for _, c := range []struct{ key, value, reason, text string }{
		{"ssl-redirect", "maybe", "AnnotationInvalid", `"maybe" is not a boolean; write "true" or "false"`},
		{"rewrite-target", "/$uri", "AnnotationInvalid", "variable other than $1 to $9"},
		{"rewrite-target", "/a;b", "AnnotationInvalid", `the character ';'`},
		{"rewrite-target", "https://example.com/", "AnnotationInvalid", "is a URL"},
		{"backend-protocol", "FCGI", "AnnotationInvalid", "write HTTP, HTTPS, GRPC or GRPCS"},
		{"rewrite-taget", "/", "AnnotationUnknown", "did you mean nginx.ingress.kubernetes.io/rewrite-target?"},
		{"zebra", "/", "AnnotationUnknown", "remove it"},
		{"configuration-snippet", "deny all;", "AnnotationUnsupported", "does not implement it"},
	} {
		got, rejected := Parse(ref, map[string]string{Prefix + c.key: c.value})
		if got != Defaults() {
			t.Errorf("%s: %s changed a setting: %+v", c.key, c.value, got)
		}
		if len(rejected) != 1 || rejected[0].Reason != c.reason || !strings.Contains(rejected[0].String(), c.text) ||
			rejected[0].Field != "metadata.annotations["+Prefix+c.key+"]" {
			t.Errorf("%s: %s rejected as %v, want %s: …%s…", c.key, c.value, rejected, c.reason, c.text)
		}
	}
}

func TestTableIsSortedAndComplete(t *testing.T) {
	table := Annotations()
	for i, a := range table {
		if i > 0 && table[i-1].Key >= a.Key {
			t.Errorf("%s is out of order", a.Key)
		}
		if a.Text == "" || a.Scope == "" || a.Risk == "" || a.set == nil {
			t.Errorf("%s is not fully declared", a.Key)
		}
		if slices.Contains(unsupported(), a.Key) {
			t.Errorf("%s is both supported and not", a.Key)
		}
	}
}
