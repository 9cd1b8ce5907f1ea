package nginx

import (
	"bytes"
	"net/netip"
	"os"
	"reflect"
	"regexp"
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
		{"proxy-buffering", "on", func(s *Settings) { s.Buffering = true }},
		{"proxy-busy-buffers-size", "8k", func(*Settings) {}},
		{"proxy-request-buffering", "off", func(s *Settings) { s.HoldBody = false }},
		{"client-body-buffer-size", "1m", func(s *Settings) { s.BodyMemory = 1 << 20 }},
		{"upstream-vhost", "in.example:8080", func(s *Settings) { s.UpstreamHost = dialect.Text("in.example:8080") }},
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
		{"proxy-ssl-protocols", "TLSv1.2 TLSv1.3", func(s *Settings) { s.BackendTLS.Min, s.BackendTLS.Max = 0x303, 0x304 }},
		{"auth-cache-duration", "200 202 10m, 401 5s", func(s *Settings) {
			s.Auth.CacheTimes = []CacheTime{{[]int{200, 202}, 10 * time.Minute}, {[]int{401}, 5 * time.Second}}
		}},
		{"proxy-next-upstream", "error http_502 non_idempotent", func(s *Settings) {
			s.NextUpstream = NextUpstream{Error: true, NonIdempotent: true, Statuses: []int{502}}
		}},
		{"upstream-hash-by", "${request_uri}-$http_x_user", func(s *Settings) {
			s.Balance.HashBy = dialect.Template{{Var: dialect.RequestURI}, {Text: "-"}, {Var: "http_x_user"}}
		}},
		{"custom-http-errors", "503, 404", func(s *Settings) { s.Errors.Codes = []int{404, 503} }},
		{"proxy-cookie-path", "/a /b", func(s *Settings) {
			s.Response.CookiePath = Replace{Pattern{Text: dialect.Text("/a")}, dialect.Text("/b")}
		}},
		{"proxy-cookie-domain", "off", func(*Settings) {}},
		{"proxy-cookie-domain", `~*\.internal$ "$host"`, func(s *Settings) {
			s.Response.CookieDomain = Replace{Pattern{Regex: regexp.MustCompile(`(?i)\.internal$`)}, dialect.Template{{Var: dialect.HostName}}}
		}},
		{"proxy-cookie-path", `~^/(.*)/x$ "/$1/y; ${1}"`, func(s *Settings) {
			s.Response.CookiePath = Replace{Pattern{Regex: regexp.MustCompile(`^/(.*)/x$`)}, dialect.Template{{Text: "/"}, {Var: "1"}, {Text: "/y; "}, {Var: "1"}}}
		}},
		{"proxy-redirect-from", "http://$host:8000/", func(s *Settings) {
			s.Response.Redirect.From.Text = dialect.Template{{Text: "http://"}, {Var: dialect.HostName}, {Text: ":8000/"}}
		}},
		{"proxy-redirect-from", "default", func(*Settings) {}},
		{"proxy-redirect-to", "https://$1.example", func(s *Settings) {
			s.Response.Redirect.To = dialect.Template{{Text: "https://"}, {Var: "1"}, {Text: ".example"}}
		}},
		{"server-alias", `~^www\d+\.x$,B.x`, func(s *Settings) { s.Aliases = []string{`~^www\d+\.x$`, "b.x"} }},
		{"limit-rate", "10", func(s *Settings) { s.Limits.Rate = 10 << 10 }},
		{"mirror-request-body", "off", func(s *Settings) { s.Mirror.NoBody = true }},
		{"satisfy", "any", func(s *Settings) { s.SatisfyAny = true }},
		{"enable-modsecurity", "false", func(*Settings) {}},
		{"affinity", "cookie", func(s *Settings) { s.Affinity.Enabled = true }},
	} {
		want := Defaults()
		c.want(&want)
		got, rejected := Parse(ref, map[string]string{Prefix + c.key: c.value, "other.example/key": "x"}, NewOptions())
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
		{"backend-protocol", "UWSGI", "AnnotationInvalid", "write HTTP, HTTPS, AUTO_HTTP, GRPC, GRPCS or FCGI"},
		{"permanent-redirect", "new.example", "AnnotationInvalid", "begin it with https://"},
		{"permanent-redirect", "https://x/$hostname", "AnnotationInvalid", "variable $hostname"},
		{"permanent-redirect", "https://x/;return 200", "AnnotationInvalid", "the character ';'"},
		{"permanent-redirect-code", "200", "AnnotationInvalid", "not the status of a redirect"},
		{"proxy-read-timeout", "1m", "AnnotationInvalid", "not a number of seconds"},
		{"proxy-body-size", "big", "AnnotationInvalid", "not a size"},
		{"proxy-body-size", "99999999999g", "AnnotationInvalid", "not a size"},
		{"whitelist-source-range", "10.0.0.0/8 192.0.2.1", "AnnotationInvalid", "neither a CIDR nor an address"},
		{"whitelist-source-range", "", "AnnotationInvalid", "the list is empty"},
		{"upstream-vhost", "a b", "AnnotationInvalid", "is not a host"},
		{"server-alias", "~^www(", "AnnotationInvalid", "is no regular expression"},
		{"proxy-cookie-path", "~^/(a /b", "AnnotationInvalid", "is no regular expression"},
		{"proxy-cookie-path", "~^/a /$1", "AnnotationInvalid", "no such group"},
		{"proxy-cookie-path", "/a /$1", "AnnotationInvalid", "no such group"},
		{"proxy-cookie-domain", "\"a b", "AnnotationInvalid", "is not two words"},
		{"proxy-redirect-from", "a b", "AnnotationInvalid", "is not one word"},
		{"proxy-redirect-from", "$nonsense", "AnnotationInvalid", "the variable $nonsense"},
		{"cors-allow-origin", "example.com", "AnnotationInvalid", "is not an origin"},
		{"cors-allow-headers", "X-A\r\nX-B: c", "AnnotationInvalid", "is not a token"},
		{"session-cookie-name", "a=b; c", "AnnotationInvalid", "is not a token"},
		{"session-cookie-path", "/; Secure", "AnnotationInvalid", "is not a path"},
		{"affinity", "ip", "AnnotationInvalid", `write "cookie"`},
		{"rewrite-taget", "/", "AnnotationUnknown", "did you mean nginx.ingress.kubernetes.io/rewrite-target?"},
		{"zebra", "/", "AnnotationUnknown", "remove it"},
		{"session-cookie-hash", "md5", "AnnotationUnknown", "any more; remove it"},
		{"secure-backends", "true", "AnnotationUnknown", `write backend-protocol: "HTTPS"`},
		{"configuration-snippet", "more_set_input_headers a:b;", "SnippetRefused", "ask for the option allow-snippet-annotations"},
		{"configuration-snippet", "server_tokens off;", "SnippetRefused", "snippets are off, and the directive is not supported; remove it: the option"},
		{"configuration-snippet", "location /x { deny all; }", "SnippetRefused", "would not make it work"},
		{"configuration-snippet", "deny all;", "SnippetRefused", `line 1, "deny all;": snippets are off`},
		{"enable-modsecurity", "true", "AnnotationUnsupported", "no ModSecurity"},
		{"auth-url", "auth.example", "AnnotationInvalid", "is no URL"},
		{"auth-tls-verify-client", "maybe", "AnnotationInvalid", "optional_no_ca"},
		{"auth-tls-match-cn", "alice", "AnnotationInvalid", "does not begin with CN="},
		{"auth-realm", "a\"b", "AnnotationInvalid", "holds a quote"},
		{"auth-secret", "a/b/c", "AnnotationInvalid", "is not the name of an object"},
		{"auth-cache-duration", "200 x", "AnnotationInvalid", "a list of statuses and a time"},
		{"proxy-ssl-ciphers", "nonsense", "AnnotationInvalid", "has no suite"},
		{"proxy-ssl-protocols", "SSLv3", "AnnotationInvalid", "has no version"},
		{"proxy-next-upstream", "error http_418", "AnnotationInvalid", `"http_418" is not known`},
		{"custom-http-errors", "404,200", "AnnotationInvalid", `"200" is not the status of an error`},
		{"proxy-cookie-path", "/a", "AnnotationInvalid", "is not two words"},
		{"upstream-hash-by", "$nonsense", "AnnotationInvalid", "the variable $nonsense"},
		{"load-balance", "least_conn", "AnnotationInvalid", `write "round_robin" or "ewma"`},
		{"default-backend", "ns/name", "AnnotationInvalid", "names a namespace"},
	} {
		got, rejected := Parse(ref, map[string]string{Prefix + c.key: c.value}, NewOptions())
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
		if a.Text == "" || a.Scope == "" || a.Risk == "" || a.set == nil && a.Risk != dialect.Critical {
			t.Errorf("%s is not fully declared", a.Key)
		}
	}
}

// TestUnguarded: what was to keep somebody out must not just be left out.
func TestUnguarded(t *testing.T) {
	for annotation, want := range map[string]string{
		"auth-url x": "auth-url", "auth-type x": "auth-type", "auth-tls-secret X": "auth-tls-secret",
		"allowlist-source-range x": "allowlist-source-range", "configuration-snippet deny all;": "configuration-snippet",
		"server-snippet location /metrics { deny all; }": "server-snippet", "server-snippet location ~ ^/(a|b) { auth_basic x; return 200; }": "server-snippet",
		"configuration-snippet add_header X deny;": "", "server-snippet location /a { return 301 /deny; }": "", "limit-rps x": "", "ssl-redirect x": "", "auth-uri x": "", "configuration-snippet add_header a b;": "",
	} {
		key, value, _ := strings.Cut(annotation, " ")
		s, rejected := Parse(ref, map[string]string{Prefix + key: value}, NewOptions())
		if s.Unguarded != want || len(rejected) != 1 || strings.Contains(rejected[0].Fix, "503") != (want != "") {
			t.Errorf("%s: unguarded %q, want %q; %v", key, s.Unguarded, want, rejected)
		}
	}
}

// TestUnreadOptions: what was to keep somebody out of all Ingresses must not just be left out.
func TestUnreadOptions(t *testing.T) {
	for _, c := range []struct {
		option, value string
		annotations   map[string]string
		want          string
	}{
		{"global-auth-url", "garbage", nil, "option global-auth-url"},
		{"global-auth-method", "G ET", nil, "option global-auth-method"},
		{"global-auth-url", "garbage", map[string]string{"enable-global-auth": "false"}, ""},
		{"global-auth-url", "garbage", map[string]string{"auth-url": "http://a/"}, ""},
		{"whitelist-source-range", "10.0.0.0/8,x", nil, "option whitelist-source-range"},
		{"whitelist-source-range", "x", map[string]string{"allowlist-source-range": "10.0.0.0/8"}, ""},
		{"denylist-source-range", "x", nil, "option denylist-source-range"},
		{"block-cidrs", "x", map[string]string{"denylist-source-range": "10.0.0.0/8"}, "option block-cidrs"},
		{"global-auth-signin-redirect-param", "a b", nil, ""},
		{"limit-rate", "x", nil, ""},
	} {
		o, rejected := ParseOptions([]model.Ref{ref}, []map[string]string{{c.option: c.value}})
		if len(rejected) != 1 || strings.Contains(rejected[0].Fix, "503") != guardOption(c.option) {
			t.Errorf("%s: %v", c.option, rejected)
		}
		annotations := map[string]string{}
		for key, v := range c.annotations {
			annotations[Prefix+key] = v
		}
		if s, _ := Parse(ref, annotations, o); s.Unguarded != c.want {
			t.Errorf("%s with %v: unguarded %q, want %q", c.option, c.annotations, s.Unguarded, c.want)
		}
	}
	if o, _ := ParseOptions([]model.Ref{ref}, []map[string]string{{"proxy-real-ip-cidr": "10.0.0.0/8,x"}}); o.Trusted == nil || len(o.Trusted) != 0 {
		t.Errorf("trusted: %v", o.Trusted)
	}
}

// TestUpstreamsTable: every annotation of ingress-nginx v1.15's page "Annotations
// Scope and Risk" is declared, with that page's risk.
func TestUpstreamsTable(t *testing.T) {
	b, err := os.ReadFile("testdata/risk.txt")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		key, risk, _ := strings.Cut(strings.TrimSpace(line), " ")
		row := lookUp(key)
		if n++; row == nil {
			t.Errorf("%s is not declared", key)
		} else if string(row.Risk) != risk {
			t.Errorf("%s has risk %s, upstream says %s", key, row.Risk, risk)
		}
	}
	if n != 136 {
		t.Errorf("%d annotations, want 136", n)
	}
}

func TestSnippet(t *testing.T) {
	o := NewOptions()
	o.AllowSnippets = true
	s, rejected := Parse(ref, map[string]string{Prefix + "configuration-snippet": `
# a comment; with { signs
more_set_headers "X-A: b $request_id" 'X-C: d; e';
proxy_set_header X-User $http_x_user;
proxy_read_timeout 300s;
if ($host = "x") { return 403; deny all; }
rewrite_by_lua_block {
  ngx.say("}")
}
deny 192.0.2.0/24;
add_header Content-Length 5;
return 404 "no ${host}";`}, o)
	if len(s.Response.Set) != 2 || s.Response.Set[0].Value.String() != "b $request_id" || s.Response.Set[1].Value.String() != "d; e" {
		t.Errorf("headers %v", s.Response.Set)
	}
	if len(s.SetHeader) != 1 || s.SetHeader[0].Name != "X-User" || s.ReadTimeout != 5*time.Minute || len(s.Deny) != 1 {
		t.Errorf("%+v", s)
	}
	if s.Return.Status != 404 || s.Return.Text.String() != "no $host" {
		t.Errorf("return %+v", s.Return)
	}
	var lines []string
	for _, r := range rejected {
		lines = append(lines, r.Message)
	}
	for _, want := range []string{"line 6, \"if ($host = \\\"x\\\") { return 403; deny all; }\"", "line 7, \"rewrite_by_lua_block {", "line 11, \"add_header Content-Length 5;\": the header Content-Length cannot be set"} {
		if !strings.Contains(strings.Join(lines, "\n"), want) {
			t.Errorf("no line %s in:\n%s", want, strings.Join(lines, "\n"))
		}
	}
	if len(rejected) != 3 {
		t.Errorf("%d lines are refused:\n%s", len(rejected), strings.Join(lines, "\n"))
	}
}

// TestSnippetBuffers: the units are nginx's.
func TestSnippetBuffers(t *testing.T) {
	o := NewOptions()
	o.AllowSnippets = true
	s, rejected := Parse(ref, map[string]string{Prefix + "configuration-snippet": `proxy_buffering on; proxy_buffers 8 16k; proxy_request_buffering off; client_body_buffer_size 1m;
limit_rate 100k; limit_rate_after 500; access_log off; proxy_buffers 8; access_log /x main; limit_rate $x;`}, o)
	if !s.Buffering || s.Buffers != 8 || s.BufferSize != 16<<10 || s.HoldBody || s.BodyMemory != 1<<20 || s.Limits.Rate != 100<<10 || s.Limits.RateAfter != 500 || s.AccessLog {
		t.Errorf("%+v", s)
	}
	if len(rejected) != 3 {
		t.Errorf("rejected: %v", rejected)
	}
}

func TestOptions(t *testing.T) {
	old, ours := model.Ref{Kind: model.KindConfigMap, Name: model.Name{Namespace: "ingress-nginx", Name: "c"}}, model.Ref{Kind: model.KindConfigMap, Name: model.Name{Namespace: "f", Name: "c"}}
	o, rejected := ParseOptions([]model.Ref{old, ours}, []map[string]string{
		{"proxy-body-size": "8m", "ssl-redirect": "false", "use-http2": "true", "hsts-max-age": "10", "server-tokn": "x", "limit-req-status-code": "429"},
		{"proxy-body-size": "2m", "proxy-read-timeout": "soon", "global-auth-url": "http://auth.example/"},
	})
	if o.Base.BodySize != 2<<20 || o.Base.SSLRedirect || o.HSTSAge != "10" || o.RateStatus != 429 || o.Base.ReadTimeout != time.Minute || o.GlobalAuth.URL == nil {
		t.Errorf("%+v", o)
	}
	if len(rejected) != 2 || rejected[0].Reason != "OptionUnknown" || !strings.Contains(rejected[0].Fix, "server-tokens") || rejected[1].Reason != "OptionInvalid" || rejected[1].Ref != ours {
		t.Errorf("rejected %v", rejected)
	}
}

// TestUpstreamsOptions: every option of ingress-nginx v1.15's ConfigMap (the fields of
// its Configuration, and the keys that it reads by hand) is declared.
func TestUpstreamsOptions(t *testing.T) {
	b, err := os.ReadFile("testdata/options.txt")
	if err != nil {
		t.Fatal(err)
	}
	for key := range strings.Lines(string(b)) {
		if r := NewOptions().option(strings.TrimSpace(key), ""); len(r) > 0 && r[0].Reason == "OptionUnknown" {
			t.Errorf("%s is not declared", strings.TrimSpace(key))
		}
	}
	for i, o := range OptionTable() {
		if o.Text == "" || i > 0 && OptionTable()[i-1].Key >= o.Key {
			t.Errorf("%s has no text, or is there twice", o.Key)
		}
	}
}

func TestOptionValues(t *testing.T) {
	none := func(*Options) bool { return true }
	for _, c := range []struct {
		key, value string
		want       func(o *Options) bool
		rejected   string // "": nothing is
	}{
		{"keep-alive", "0", func(o *Options) bool { return o.Clients.Idle == 0 }, ""},
		{"keep-alive", "10", func(o *Options) bool { return o.Clients.Idle == 10*time.Second }, ""},
		{"client-header-timeout", "5", func(o *Options) bool { return o.Clients.Header == 5*time.Second }, ""},
		{"http2-max-concurrent-streams", "0", none, "0 would let nobody in"},
		{"large-client-header-buffers", "4 8k", none, ""},
		{"large-client-header-buffers", "4 64k", none, "more than the 32k"},
		{"large-client-header-buffers", "x", none, "not a number and a size"},
		{"ssl-protocols", "TLSv1.3", func(o *Options) bool { return o.TLSMin == 0x304 && o.TLSMax == 0x304 }, ""},
		{"use-http2", "false", func(o *Options) bool { return o.NoHTTP2 }, ""},
		{"proxy-stream-timeout", "30s", func(o *Options) bool { return o.Streams.Timeout == 30*time.Second }, ""},
		{"proxy-stream-next-upstream", "false", func(o *Options) bool { return o.Streams.Tries == 1 }, ""},
		{"proxy-stream-responses", "1", func(o *Options) bool { return o.Streams.Responses == 1 }, ""},
		{"skip-access-log-urls", "/healthz,~^/static", func(o *Options) bool { return len(o.Unlogged) == 2 }, ""},
		{"upstream-hash-by", "$host", func(o *Options) bool { return len(o.Base.Balance.HashBy) == 1 }, ""},
		{"location-snippet", "more_set_headers \"X-A: b\";", func(o *Options) bool { return len(o.Base.Response.Set) == 1 }, ""},
		{"server-snippet", "lua_x y;", none, `line 1, "lua_x y;": the directive is not supported`},
		{"global-auth-snippet", "proxy_set_header X-A b;", func(o *Options) bool { return len(o.GlobalAuth.Set) == 1 }, ""},
		{"use-gzip", "false", none, ""},
		{"use-gzip", "true", func(o *Options) bool { return o.Compress.Gzip.On && o.Compress.Gzip.Fits("text/plain", 256) }, ""},
		{"gzip-level", "0", none, "write one from 1 to 9"},
		{"gzip-types", "text/css", func(o *Options) bool { return len(o.Compress.Gzip.Types) == 2 }, ""},
		{"gzip-types", "html", none, "no media type"},
		{"gzip-disable", "(?<x", none, "RE2"},
		{"brotli-min-length", "1k", func(o *Options) bool { return o.Compress.Brotli.Least == 1024 }, ""},
		{"log-format-upstream", "$remote_addr $request ${upstream_status}", func(o *Options) bool { return len(o.Log.Line) == 5 && o.Log.Escape == "" }, ""},
		{"log-format-upstream", "$upstream_wisdom", none, "$upstream_status"},
		{"log-format-escape-json", "true", func(o *Options) bool { return o.Log.Escape == EscapeJSON && len(o.Log.Line) > 20 }, ""},
		{"log-format-escape-none", "false", func(o *Options) bool { return o.Log == nil }, ""},
		{"log-format-stream", "$remote_addr", none, "not logged"},
		{"access-log-path", "/var/log/nginx/access.log", none, ""},
		{"access-log-path", "/elsewhere", none, "standard output"},
		{"otlp-collector-host", "otel.svc", func(o *Options) bool { return o.Tracing.Collector() == "http://otel.svc:4318" }, ""},
		{"otlp-collector-port", "4317", none, "that of the collector's http receiver"},
		{"otel-sampler-ratio", "2", none, "a number from 0 to 1"},
		{"enable-opentelemetry", "true", func(o *Options) bool { return *o.Base.Trace.On }, ""},
		{"main-snippet", "env X;", none, "there is no nginx"},
		{"limit-conn-zone-variable", "$binary_remote_addr", none, ""},
		{"limit-conn-zone-variable", "$http_x", none, "limits count addresses"},
		{"forwarded-host-header", "X-Forwarded-Host", none, ""},
	} {
		o, rejected := ParseOptions([]model.Ref{ref}, []map[string]string{{c.key: c.value}})
		if !c.want(o) {
			t.Errorf("%s: %s: %+v", c.key, c.value, o)
		}
		if c.rejected == "" && len(rejected) > 0 || c.rejected != "" && (len(rejected) != 1 || !strings.Contains(rejected[0].String(), c.rejected) || rejected[0].Fix == "") {
			t.Errorf("%s: %s is rejected as %v, want …%s…", c.key, c.value, rejected, c.rejected)
		}
	}
}

// TestPageIsFresh: docs/annotations-nginx.md is what the tables say.
func TestPageIsFresh(t *testing.T) {
	have, err := os.ReadFile("../../../docs/annotations-nginx.md")
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	WritePage(&want)
	if !bytes.Equal(have, want.Bytes()) {
		t.Error("docs/annotations-nginx.md is not what the tables say: run `make generate`")
	}
}
