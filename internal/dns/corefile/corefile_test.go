package corefile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fairway-net/fairway/internal/dns/settings"
)

// kubeadm is what kubeadm 1.36 installs.
const kubeadm = `.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
`

func lost(notes []Note) string {
	var b strings.Builder
	for _, n := range notes {
		if !n.Kept {
			fmt.Fprintf(&b, "%d %s: %s\n", n.Line, n.Text, n.Why)
		}
	}
	return b.String()
}

func TestConvert(t *testing.T) {
	for _, row := range []struct{ name, in, settings, lost string }{
		{"kubeadm", kubeadm, "ttl 30\n", ""},
		{"stub domains and servers over TLS", kubeadm[:strings.Index(kubeadm, "    forward")] + `    forward . tls://192.0.2.1 tls://192.0.2.2:8853 { # two
        tls_servername dns.example
        policy sequential
    }
}
corp.example:53 Lab.example. {
    errors
    forward . 10.0.0.53 10.0.1.53:5353
}
`, "upstream tls://192.0.2.1:853#dns.example tls://192.0.2.2:8853#dns.example\nstub corp.example 10.0.0.53:53 10.0.1.53:5353\nstub lab.example 10.0.0.53:53 10.0.1.53:5353\nttl 30\n", ""},
		{"what there is not", `. {
    kubernetes cluster.local {
        pods verified
        namespaces a b
    }
    rewrite name a.example b.example
    hosts {
        10.0.0.1 a.example
    }
    forward . dns.example
}
tls://.:853 {
    forward . 10.0.0.1
}
`, "pods verified\n", `4 namespaces a b: option namespaces has no counterpart
6 rewrite name a.example b.example: plugin rewrite has no counterpart
7 hosts: plugin hosts has no counterpart
10 forward . dns.example: dns.example: servers are given by address
12 tls://.:853: it is not served over plain DNS on port 53
`},
		{"what our settings refuse", ".:53 {\nforward a..b 10.0.0.1\nforward \"a b\" 10.0.0.1\nforward c 10.0.0.1 10.0.0.1\nforward d 10.0.0.1\nforward D. 10.0.0.2\nforward svc.cluster.local 10.0.0.1\n}\n", "stub d 10.0.0.1:53\n", `2 forward a..b 10.0.0.1: stub "a..b": not a domain name; all other names are "upstream"
3 forward a b 10.0.0.1: server "b": want ADDRESS, ADDRESS:PORT or tls://ADDRESS#NAME
4 forward c 10.0.0.1 10.0.0.1: server 10.0.0.1:53: given twice
6 forward D. 10.0.0.2: stub d: given in line 1 already
7 forward svc.cluster.local 10.0.0.1: it is in the cluster's own zone, which is answered here
`},
		{"another zone", ".:53 {\n kubernetes k8s.example\n}\n", "", "2 kubernetes k8s.example: the cluster's zone is cluster.local here, not k8s.example: set clusterDomain\n"},
		{"of autopath and log", ". {\n autopath @kubernetes\n log\n kubernetes cluster.local {\n  pods disabled\n }\n}\n", "pods disabled\nsearch-completion *\nlog 1\n", ""},
		{"a log of its own", ". {\n log . {combined} {\n class error\n }\n}\n", "log 1\n", "2 log . {combined}: all queries are logged, in the log's own format: log N samples them\n"},
		{"without braces", ".:53\nerrors\nforward corp.example 10.0.0.1\n", "stub corp.example 10.0.0.1:53\n", ""},
	} {
		blocks, err := Parse(row.in)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		s, notes := Convert(blocks, "cluster.local")
		if s.String() != row.settings || lost(notes) != row.lost {
			t.Errorf("%s: settings\n%slost\n%s", row.name, s, lost(notes))
		}
		if _, err := settings.Parse(s.String(), "cluster.local"); err != nil {
			t.Errorf("%s: our own settings: %v", row.name, err)
		}
	}
}

func TestParseNamesTheLine(t *testing.T) {
	for in, want := range map[string]string{
		".:53 {\nerrors\n":          "line 1: the block is never closed",
		".:53 {\nlog \"x\n}\n":      "line 2: a quote is never closed",
		".:53 {\n{\n}\n}\n":         "line 2: unexpected \"{\"",
		".:53 {\nerrors\n} x\n":     "line 3: unexpected \"x\"",
		".:53 {\n}\nforward . /x\n": "line 3: want ZONE",
		".:53 {\ncache {\nx\n}\n":   "line 1: the block is never closed",
	} {
		if _, err := Parse(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
	}
}

// FuzzParse: no input crashes it, and what it makes of any is valid for us.
func FuzzParse(f *testing.F) {
	f.Add(kubeadm)
	f.Add("a b,c {\nforward . tls://10.0.0.1%x {\ntls_servername y\n}\n}\n")
	f.Fuzz(func(t *testing.T, in string) {
		blocks, err := Parse(in)
		if err != nil {
			return
		}
		s, _ := Convert(blocks, "cluster.local")
		if _, err := settings.Parse(s.String(), "cluster.local"); err != nil {
			t.Errorf("%q became\n%s%v", in, s, err)
		}
	})
}
