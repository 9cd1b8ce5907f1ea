package nginx

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/model"
)

var ref = model.Ref{Kind: model.KindIngress, Name: model.Name{Namespace: "default", Name: "shop"}}

func TestParse(t *testing.T) {
	yes := true
	for _, c := range []struct {
		key, value string
		want       func(s *Settings)
	}{
		{"rewrite-target", "/$2", func(s *Settings) { s.RewriteTarget = "/$2" }},
		{"rewrite-target", "$1", func(s *Settings) { s.RewriteTarget = "$1" }},
		{"use-regex", "true", func(s *Settings) { s.UseRegex = true }},
		{"app-root", "/login", func(s *Settings) { s.AppRoot = "/login" }},
		{"ssl-redirect", "false", func(s *Settings) { s.SSLRedirect = false }},
		{"ssl-redirect", "0", func(s *Settings) { s.SSLRedirect = false }},
		{"force-ssl-redirect", "True", func(s *Settings) { s.ForceSSLRedirect = true }},
		{"permanent-redirect", "https://new.example$request_uri", func(s *Settings) {
			s.Redirect = dialect.Template{{Text: "https://new.example"}, {Var: dialect.RequestURI}}
		}},
		{"temporal-redirect", "$scheme://www.$host/x?y=z", func(s *Settings) {
			s.Temporal = dialect.Template{{Var: dialect.Scheme}, {Text: "://www."}, {Var: dialect.HostName}, {Text: "/x?y=z"}}
		}},
		{"permanent-redirect-code", "308", func(s *Settings) { s.RedirectCode = 308 }},
		{"server-alias", "a.example, *.B.example", func(s *Settings) { s.Aliases = []string{"a.example", "*.b.example"} }},
		{"backend-protocol", "grpc", func(s *Settings) { s.BackendProtocol = GRPC }},
		{"proxy-read-timeout", "3600", func(s *Settings) { s.ReadTimeout = time.Hour }},
		{"proxy-send-timeout", "30s", func(s *Settings) { s.SendTimeout = 30 * time.Second }},
		{"proxy-connect-timeout", "1", func(s *Settings) { s.ConnectTimeout = time.Second }},
		{"proxy-next-upstream-tries", "0", func(s *Settings) { s.Tries = 0 }},
		{"proxy-body-size", "8m", func(s *Settings) { s.BodySize = 8 << 20 }},
		{"proxy-body-size", "1G", func(s *Settings) { s.BodySize = 1 << 30 }},
		{"proxy-body-size", "10", func(s *Settings) { s.BodySize = 10 }},
		{"proxy-buffering", "on", func(*Settings) {}},
		{"upstream-vhost", "in.example:8080", func(s *Settings) { s.UpstreamHost = "in.example:8080" }},
		{"whitelist-source-range", "10.1.2.3/8,2001:db8::1", func(s *Settings) {
			s.Allow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::1/128")}
		}},
		{"denylist-source-range", "192.0.2.7", func(s *Settings) { s.Deny = []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32")} }},
		{"cors-allow-origin", "https://a.example, http://*.b.example:8080", func(s *Settings) {
			s.CORS.Origins = []string{"https://a.example", "http://*.b.example:8080"}
		}},
		{"cors-allow-methods", "GET, PUT", func(s *Settings) { s.CORS.Methods = "GET, PUT" }},
		{"session-cookie-secure", "true", func(s *Settings) { s.Affinity.Secure = &yes }},
		{"session-cookie-samesite", "lax", func(s *Settings) { s.Affinity.SameSite = "Lax" }},
		{"limit-rps", "10", func(s *Settings) { s.Limits.PerSecond = 10 }},
		{"limit-allowlist", "10.0.0.0/8", func(s *Settings) { s.Limits.Exempt = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }},
		{"affinity", "cookie", func(s *Settings) { s.Affinity.Enabled = true }},
	} {
		want := Defaults()
		c.want(&want)
		got, rejected := Parse(ref, map[string]string{Prefix + c.key: c.value, "other.example/key": "x"})
		if !reflect.DeepEqual(got, want) || rejected != nil {
			t.Errorf("%s: %s = %+v, %v, want %+v", c.key, c.value, got, rejected, want)
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
		{"permanent-redirect", "new.example", "AnnotationInvalid", "begin it with https://"},
		{"permanent-redirect", "https://x/$args", "AnnotationInvalid", "variable $args"},
		{"permanent-redirect", "https://x/;return 200", "AnnotationInvalid", "the character ';'"},
		{"permanent-redirect-code", "200", "AnnotationInvalid", "not the status of a redirect"},
		{"proxy-read-timeout", "1m", "AnnotationInvalid", "not a number of seconds"},
		{"proxy-body-size", "big", "AnnotationInvalid", "not a size"},
		{"proxy-body-size", "99999999999g", "AnnotationInvalid", "not a size"},
		{"whitelist-source-range", "10.0.0.0/8 192.0.2.1", "AnnotationInvalid", "neither a CIDR nor an address"},
		{"whitelist-source-range", "", "AnnotationInvalid", "the list is empty"},
		{"upstream-vhost", "a b", "AnnotationInvalid", "is not a host"},
		{"server-alias", "~^www\\d+$", "AnnotationInvalid", "regular expressions"},
		{"cors-allow-origin", "example.com", "AnnotationInvalid", "is not an origin"},
		{"cors-allow-headers", "X-A\r\nX-B: c", "AnnotationInvalid", "is not a token"},
		{"session-cookie-name", "a=b; c", "AnnotationInvalid", "is not a token"},
		{"session-cookie-path", "/; Secure", "AnnotationInvalid", "is not a path"},
		{"affinity", "ip", "AnnotationInvalid", `write "cookie"`},
		{"rewrite-taget", "/", "AnnotationUnknown", "did you mean nginx.ingress.kubernetes.io/rewrite-target?"},
		{"zebra", "/", "AnnotationUnknown", "remove it"},
		{"configuration-snippet", "deny all;", "AnnotationUnsupported", "does not implement it"},
	} {
		got, rejected := Parse(ref, map[string]string{Prefix + c.key: c.value})
		got.Unguarded = ""
		if !reflect.DeepEqual(got, Defaults()) {
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

// TestUnguarded: what was to keep somebody out must not just be left out.
func TestUnguarded(t *testing.T) {
	for key, want := range map[string]string{
		"auth-url": "auth-url", "auth-type": "auth-type", "auth-tls-secret": "auth-tls-secret",
		"allowlist-source-range": "allowlist-source-range", // with an invalid value
		"limit-rps":              "", "ssl-redirect": "", "auth-uri": "",
	} {
		s, rejected := Parse(ref, map[string]string{Prefix + key: "x"})
		if s.Unguarded != want || len(rejected) != 1 || strings.Contains(rejected[0].Fix, "503") != (want != "") {
			t.Errorf("%s: unguarded %q, want %q; %v", key, s.Unguarded, want, rejected)
		}
	}
}
