package settings

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	const text = "# ours\nupstream 192.0.2.53   tls://192.0.2.54#dns.example # two\n\n stub Corp.Example. 10.0.0.53 10.0.1.53:5353\nstub deep.corp.example 10.0.2.53\nttl 30\n"
	const canonical = "upstream 192.0.2.53:53 tls://192.0.2.54:853#dns.example\nstub corp.example 10.0.0.53:53 10.0.1.53:5353\nstub deep.corp.example 10.0.2.53:53\nttl 30\n"
	for _, in := range []string{text, canonical} {
		s, err := Parse(in, "cluster.local")
		if err != nil || s.String() != canonical {
			t.Errorf("%q: %v, got\n%s", in, err, s)
		}
	}
	if s, err := Parse("ttl 0", "cluster.local"); err != nil || s.TTL == nil || *s.TTL != 0 {
		t.Errorf("ttl 0: %v %v", s, err)
	}
	if s, err := Parse("", "cluster.local"); err != nil || s.String() != "" {
		t.Errorf("nothing: %q %v", s, err)
	}
}

func TestParseNamesTheLine(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"ttl 5\nupstream", "line 2: no server"},
		{"upstream dns.example", "line 1: server \"dns.example\": want ADDRESS"},
		{"upstream 10.0.0.1 10.0.0.1", "line 1: server 10.0.0.1:53: given twice"},
		{"upstream 10.0.0.1\nupstream 10.0.0.2", "line 2: upstream: given in line 1 already"},
		{"stub corp.example", "line 1: want: stub DOMAIN SERVER"},
		{"stub a..b 10.0.0.1", "line 1: stub \"a..b\": not a domain name"},
		{"stub . 10.0.0.1", "line 1: stub \"\": not a domain name"},
		{"stub x.Cluster.Local. 10.0.0.1", "line 1: stub x.cluster.local: it is in the cluster's own zone"},
		{"stub a.example 10.0.0.1\n\nstub A.example. 10.0.0.2", "line 3: stub a.example: given in line 1 already"},
		{"ttl -1", "line 1: ttl \"-1\": want a number of seconds"},
		{"ttl 3601", "line 1: ttl \"3601\""},
		{"forward . 10.0.0.1", "line 1: unknown statement \"forward\""},
		{"ttl x\nstub corp.example", "line 2: want: stub"},
	} {
		if _, err := Parse(row.text, "cluster.local"); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%q: %v, want %q", row.text, err, row.want)
		}
	}
}
