package route

import (
	"strings"
	"testing"
)

// annotated adds annotations of ingress-nginx to an Ingress made by ingress.
func annotated(doc string, pairs ...string) string {
	var b strings.Builder
	b.WriteString("{annotations: {")
	for i := 0; i < len(pairs); i += 2 {
		b.WriteString("nginx.ingress.kubernetes.io/" + pairs[i] + ": '" + pairs[i+1] + "', ")
	}
	b.WriteString("}, ")
	return strings.Replace(doc, "metadata: {", "metadata: "+b.String(), 1)
}

func TestRewrite(t *testing.T) {
	for _, c := range []struct{ target, path, request, query, want string }{ // want: path?query that the backend sees, "" for 404
		{"/$2", "/api(/|$)(.*)", "/api/v1/x", "", "/v1/x?"},
		{"/$2", "/api(/|$)(.*)", "/api", "a=1", "/?a=1"},
		{"/$2", "/api(/|$)(.*)", "/API/v1", "", "/v1?"}, // not case-sensitive
		{"/$2", "/api(/|$)(.*)", "/apix", "", ""},
		{"/$2", "/api(/|$)(.*)", "/x/api/", "", ""},
		{"$1", "/api(/.*)", "/api/x", "", "/x?"},
		{"/", "/api", "/api/v1", "", "/?"},  // the whole path is replaced
		{"/", "/api", "/apis/v1", "", "/?"}, // a regular expression has no elements
		{"/$1", "/api/(.*)", "/api/a%20b", "", "/a%20b?"},
		{"/$1", "/api/(.*)", "/api/a%2Fb%3Fc", "", "/a%2Fb%3Fc?"},
		{"/$1/$2", "/([a-z]+)/([0-9]+)", "/ab/12/rest", "", "/ab/12?"},
		{"/s?q=$1", "/api/(.*)", "/api/x", "y=2", "/s?q=x&y=2"},
		{"/s?", "/api/(.*)", "/api/x", "y=2", "/s?"},
		{"/$9", "/api/(.*)", "/api/x", "", "/?"},
		{"/api", "/api", "/api/x", "y=2", "/api/x?y=2"}, // target equal to path: neither rewrite nor regex
		{"/api", "/api", "/API", "", ""},
	} {
		p := Make(load(t, annotated(ingress("i", 1, "", "ImplementationSpecific "+c.path), "rewrite-target", c.target)), Params{}, now)
		if len(p.Rejected) != 1 || p.Rejected[0].Reason != "ServiceNotFound" {
			t.Fatalf("rejected: %v", p.Rejected)
		}
		match, forward, err := CanonicalPath(c.request)
		if err != nil {
			t.Fatal(err)
		}
		_, r := p.Listener("http").Hosts.Match(&Request{Path: match})
		got := ""
		if r != nil {
			path, query := forward, c.query
			if r.Rewrite != nil {
				path, query = r.Rewrite.Apply(match, c.query)
			}
			got = path + "?" + query
		}
		if got != c.want {
			t.Errorf("path %s, target %s, request %s?%s: got %q, want %q", c.path, c.target, c.request, c.query, got, c.want)
		}
	}
}

// TestRegexTakesTheWholeHost is the side effect that the project ingress-nginx
// describes in "Before You Migrate: Five Surprising Ingress-NGINX Behaviors".
func TestRegexTakesTheWholeHost(t *testing.T) {
	p := Make(load(t, ingress("plain", 2, "a.com", "Exact /foo", "Prefix /bar")+"---\n"+
		annotated(ingress("regex", 1, "a.com", "Prefix /unused", "Prefix /unused2", "ImplementationSpecific /[a-z]+/x", "Prefix /fo"), "use-regex", "true")+"---\n"+
		ingress("other", 1, "b.com", "Exact /foo")), Params{}, now)
	for _, c := range []struct{ host, path, want string }{
		{"a.com", "/FOO/bar", "s0"}, // Exact no more
		{"a.com", "/barbara", "s1"},
		{"a.com", "/foo/x", "s2"}, // the longest expression is tried first
		{"a.com", "/fo", "s3"},
		{"a.com", "/x/fo", ""},
		{"b.com", "/FOO", ""},
		{"b.com", "/foo", "s0"},
	} {
		if got := ask(p, c.host, c.path); got != c.want {
			t.Errorf("host %s, path %s: got %q, want %q", c.host, c.path, got, c.want)
		}
	}
}

func TestRegexThatCannotBe(t *testing.T) {
	p := Make(load(t, annotated(ingress("i", 1, "a.com", "ImplementationSpecific /a(?!b)", "Prefix /ok"), "use-regex", "true")), Params{}, now)
	if got := ask(p, "a.com", "/ok"); got != "s1" {
		t.Errorf("the other path goes to %q", got)
	}
	for _, r := range p.Rejected {
		if r.Reason == "RegexInvalid" {
			if want := "spec.rules[0].http.paths[0].path: path \"/a(?!b)\" is no regular expression: invalid or unsupported Perl syntax: `(?!`"; !strings.HasPrefix(r.String(), want) {
				t.Errorf("got  %v\nwant %v…", r, want)
			}
			return
		}
	}
	t.Errorf("no rejection of the expression: %v", p.Rejected)
}
