package settings

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	const text = "# ours\nupstream 192.0.2.53   tls://192.0.2.54#dns.example # two\n\n stub Corp.Example. 10.0.0.53 10.0.1.53:5353\nstub deep.corp.example 10.0.2.53\nttl 30\npods verified\nsearch-completion a b-1 # two\nlog 1000\n"
	const canonical = "upstream 192.0.2.53:53 tls://192.0.2.54:853#dns.example\nstub corp.example 10.0.0.53:53 10.0.1.53:5353\nstub deep.corp.example 10.0.2.53:53\nttl 30\npods verified\nsearch-completion a b-1\nlog 1000\n"
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
		{"pods all", "line 1: want: pods insecure, pods verified or pods disabled"},
		{"search-completion", "line 1: want: search-completion NAMESPACE"},
		{"search-completion *\nsearch-completion a", "line 2: search-completion: given in line 1 already"},
		{"search-completion a a", "line 1: search-completion a: given twice"},
		{"search-completion a.b", "line 1: search-completion \"a.b\": not the name of a namespace"},
		{"log", "line 1: want: log N"},
		{"log 0", "line 1: want: log N"},
		{"ttl x\nstub corp.example", "line 2: want: stub"},
	} {
		if _, err := Parse(row.text, "cluster.local"); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%q: %v, want %q", row.text, err, row.want)
		}
	}
}

// TestParseKeepsWhatIsRight: names whose servers are in doubt have none, so that
// nobody is asked who should not be.
func TestParseKeepsWhatIsRight(t *testing.T) {
	s, err := Parse("upstream dns.example\nstub corp.example x\nstub a.example 10.0.0.1\nttl 7\npods none\n", "cluster.local")
	if err == nil || strings.Count(err.Error(), "line ") != 3 {
		t.Errorf("mistakes: %v", err)
	}
	if s.Upstreams == nil || len(s.Upstreams) != 0 {
		t.Errorf("upstream: %v", s.Upstreams)
	}
	if got := s.String(); got != "stub corp.example\nstub a.example 10.0.0.1:53\nttl 7\n" {
		t.Errorf("the rest: %s", got)
	}
}
