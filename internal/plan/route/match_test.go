package route

import (
	"testing"
)

// TestPaths is the table of the Kubernetes documentation on path types, and
// what it leaves open.
func TestPaths(t *testing.T) {
	for _, c := range []struct {
		paths []string
		path  string
		want  string // the Service: s and the number of the path; "" is none
	}{
		{[]string{"Prefix /"}, "/anything/at/all", "s0"},
		{[]string{"Prefix /"}, "/", "s0"},
		{[]string{"Exact /foo"}, "/foo", "s0"},
		{[]string{"Exact /foo"}, "/bar", ""},
		{[]string{"Exact /foo"}, "/foo/", ""},
		{[]string{"Exact /foo/"}, "/foo", ""},
		{[]string{"Exact /foo/"}, "/foo/", "s0"},
		{[]string{"Exact /foo"}, "/FOO", ""},
		{[]string{"Prefix /foo"}, "/foo", "s0"},
		{[]string{"Prefix /foo"}, "/foo/", "s0"},
		{[]string{"Prefix /foo/"}, "/foo", "s0"},
		{[]string{"Prefix /foo/"}, "/foo/", "s0"},
		{[]string{"Prefix /foo/", "Prefix /foo"}, "/foo/", "s0"},
		{[]string{"Prefix /foo/", "Prefix /foo"}, "/foo", "s1"},
		{[]string{"Prefix /foo/", "Prefix /foo"}, "/foo/x", "s0"},
		{[]string{"Prefix /foo"}, "/FOO", ""},
		{[]string{"Prefix /aaa/bb"}, "/aaa/bbb", ""},
		{[]string{"Prefix /aaa/bbb"}, "/aaa/bbb", "s0"},
		{[]string{"Prefix /aaa/bbb/"}, "/aaa/bbb", "s0"},
		{[]string{"Prefix /aaa/bbb"}, "/aaa/bbb/", "s0"},
		{[]string{"Prefix /aaa/bbb"}, "/aaa/bbb/ccc", "s0"},
		{[]string{"Prefix /aaa/bbb"}, "/aaa/bbbxyz", ""},
		{[]string{"Prefix /aaa"}, "/aaaccc", ""},
		{[]string{"Prefix /", "Prefix /aaa"}, "/aaa/ccc", "s1"},
		{[]string{"Prefix /", "Prefix /aaa"}, "/aaaccc", "s0"},
		{[]string{"Prefix /", "Prefix /aaa"}, "/ccc", "s0"},
		{[]string{"Prefix /", "Prefix /aaa", "Prefix /aaa/bbb"}, "/aaa/bbb", "s2"},
		{[]string{"Prefix /", "Prefix /aaa", "Prefix /aaa/bbb"}, "/aaa/bbbb", "s1"},
		{[]string{"Prefix /aaa"}, "/ccc", ""},
		{[]string{"Prefix /foo", "Exact /foo"}, "/foo", "s1"},
		{[]string{"Prefix /foo", "Exact /foo"}, "/foo/", "s0"},
		{[]string{"Exact /foo/bar", "Prefix /foo/bar/"}, "/foo/bar", "s0"},
		{[]string{"Prefix /foo/bar", "Exact /foo"}, "/foo/bar/baz", "s0"},
		{[]string{"Prefix "}, "/x", "s0"},

		// ImplementationSpecific is a location of nginx: letter by letter.
		{[]string{"ImplementationSpecific /foo"}, "/foobar", "s0"},
		{[]string{"ImplementationSpecific /foo"}, "/fo", ""},
		{[]string{"ImplementationSpecific /foo", "Prefix /foo"}, "/foo/bar", "s1"},
		{[]string{"ImplementationSpecific /foo", "Prefix /foo"}, "/foobar", "s0"},
		{[]string{"ImplementationSpecific /foo/", "Prefix /"}, "/foo", "301"}, // nginx adds the slash

		// Both sides are brought into one form before they are compared.
		{[]string{"Prefix /foo"}, "//foo//bar", "s0"},
		{[]string{"Prefix /foo"}, "/%66oo", "s0"},
		{[]string{"Prefix /foo"}, "/bar/../foo", "s0"},
		{[]string{"Prefix /foo"}, "/foo/../bar", ""},
		{[]string{"Prefix /foo"}, "/foo/..", ""},
		{[]string{"Prefix /foo"}, "/foo%2Fbar", ""},
		{[]string{"Prefix /foo"}, "/bar/%2e%2e/foo", "400"},
		{[]string{"Prefix /foo"}, "/../foo", "400"},
		{[]string{"Prefix /café"}, "/caf%C3%A9/x", "s0"},
		{[]string{"Prefix /a b"}, "/a%20b", "s0"},
	} {
		p := Make(load(t, ingress("i", 1, "", c.paths...)), Params{}, now)
		if got := ask(p, "example.com", c.path); got != c.want {
			t.Errorf("rules %q, request %s: got %q, want %q", c.paths, c.path, got, c.want)
		}
	}
}

func TestHosts(t *testing.T) {
	p := Make(load(t, ingress("any", 1, "", "Prefix /any")+"---\n"+
		ingress("wild", 2, "*.foo.com", "Prefix /w", "Prefix /wild")+"---\n"+
		ingress("exact", 3, "Bar.Foo.com", "Prefix /x", "Prefix /y", "Prefix /exact")), Params{}, now)
	for _, c := range []struct{ host, path, want string }{
		{"bar.foo.com", "/exact", "s2"},
		{"BAR.foo.COM", "/exact", "s2"},
		{"bar.foo.com:8080", "/exact", "s2"},
		{"bar.foo.com.", "/exact", "s2"},
		{"bar.foo.com", "/wild", ""}, // an exact host takes all of its requests
		{"bar.foo.com", "/any", ""},
		{"qux.foo.com", "/wild", "s1"},
		{"a.bar.foo.com", "/wild", ""}, // one label only
		{"foo.com", "/wild", ""},
		{".foo.com", "/wild", ""},
		{"other.org", "/any", "s0"},
		{"a.bar.foo.com", "/any", "s0"},
		{"192.0.2.1", "/any", "s0"},
		{"[2001:db8::1]:80", "/any", "s0"},
		{"", "/any", "s0"},
		{"other.org", "/exact", ""},
	} {
		if got := ask(p, c.host, c.path); got != c.want {
			t.Errorf("host %q, path %s: got %q, want %q", c.host, c.path, got, c.want)
		}
	}
}

func TestCanonicalPath(t *testing.T) {
	for _, c := range []struct{ raw, match, forward string }{ // match "": refused
		{"/", "/", "/"},
		{"/a/b", "/a/b", "/a/b"},
		{"/a/b/", "/a/b/", "/a/b/"},
		{"/.well-known/x", "/.well-known/x", "/.well-known/x"},
		{"/a//b", "/a/b", "/a//b"},
		{"//a", "/a", "//a"},
		{"/a//", "/a/", "/a//"},
		{"/a/./b", "/a/b", "/a/b"},
		{"/a/.", "/a/", "/a/"},
		{"/a/b/../c", "/a/c", "/a/c"},
		{"/a/b/..", "/a/", "/a/"},
		{"/a/..", "/", "/"},
		{"/a/../", "/", "/"},
		{"/a//../b", "/b", "/b"},
		{"/a/...", "/a/...", "/a/..."},
		{"/%61%2f%5c%25", "/a%2F%5C%25", "/%61%2f%5c%25"},
		{"/a%3Fb", "/a?b", "/a%3Fb"},
		{"/http://x", "/http:/x", "/http://x"},
		{"/..", "", ""},
		{"/a/../../b", "", ""},
		{"/%2e%2e/x", "", ""},
		{"/%2E/x", "", ""},
		{"/a/..%2fb", "", ""},
		{"/a/..%5Cb", "", ""},
		{`/a/..\b`, "", ""},
		{"/a/..;x=1/b", "", ""},
		{"/a/b%2f..", "", ""},
		{"/a%00", "", ""},
		{"/a\x00", "", ""},
		{"/a%", "", ""},
		{"/a%g1", "", ""},
		{"a", "", ""},
		{"*", "", ""},
		{"", "", ""},
	} {
		match, forward, err := CanonicalPath(c.raw)
		if match != c.match || forward != c.forward || (err != nil) != (c.match == "") {
			t.Errorf("CanonicalPath(%q) = %q, %q, %v, want %q, %q", c.raw, match, forward, err, c.match, c.forward)
		}
	}
}
