package settings

import (
	"strings"
	"testing"
)

func TestParseKubeDNS(t *testing.T) {
	for _, row := range []struct{ stubs, upstreams, want string }{
		{"", "", ""},
		{"{}", "[]", ""},
		{`{"Acme.Local": ["10.0.0.53"], "corp.example.": ["10.0.1.53", "10.0.2.53:5353"]}`, "",
			"stub acme.local 10.0.0.53:53\nstub corp.example 10.0.1.53:53 10.0.2.53:5353\n"},
		{"", `["192.0.2.53", "2001:db8::53"]`, "upstream 192.0.2.53:53 [2001:db8::53]:53\n"},
	} {
		s, err := ParseKubeDNS(row.stubs, row.upstreams, "cluster.local")
		if err != nil || s.String() != row.want {
			t.Errorf("%q, %q: %v, got %q, want %q", row.stubs, row.upstreams, err, s, row.want)
		}
	}
}

func TestParseKubeDNSNamesTheKey(t *testing.T) {
	for _, row := range []struct{ stubs, upstreams, want string }{
		{"acme.local 10.0.0.53", "", "key stubDomains: invalid character"},
		{`{"a..b": ["10.0.0.53"]}`, "", `key stubDomains: stub "a..b": not a domain name`},
		{`{"acme.local": []}`, "", "key stubDomains: want: stub DOMAIN SERVER"},
		{`{"x.cluster.local": ["10.0.0.53"]}`, "", "the cluster's own zone"},
		{"", "192.0.2.53", "key upstreamNameservers: invalid character"},
		{"", `["dns.example"]`, `key upstreamNameservers: server "dns.example": want ADDRESS`},
	} {
		if _, err := ParseKubeDNS(row.stubs, row.upstreams, "cluster.local"); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%q, %q: %v, want %q", row.stubs, row.upstreams, err, row.want)
		}
	}
}

func TestOver(t *testing.T) {
	parse := func(text string) Settings {
		s, err := Parse(text, "cluster.local")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	got := parse("upstream 192.0.2.1\nstub a.example 10.0.0.1").Over(parse("upstream 192.0.2.2\nstub a.example 10.0.0.2\nstub b.example 10.0.0.2\nttl 7"))
	const want = "upstream 192.0.2.1:53\nstub a.example 10.0.0.1:53\nstub b.example 10.0.0.2:53\nttl 7\n"
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
