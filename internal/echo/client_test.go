package echo

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestGetReasons(t *testing.T) {
	_, addr := testServer(t)
	tls := httptest.NewTLSServer(http.NotFoundHandler())
	defer tls.Close()
	closed := freeAddr(t)
	const ample = time.Minute
	for _, tt := range []struct {
		url, want string
		timeout   time.Duration
	}{
		{"http://" + closed + "/", "connection refused", ample},
		{"http://" + addr + "/status/503", "status 503 Service Unavailable", ample},
		{"http://" + addr + "/sleep?d=10s", "timeout", 100 * time.Millisecond},
		{tls.URL, "certificate: x509: certificate signed by unknown authority", ample},
	} {
		g := Get{URL: tt.url, Method: "GET", Timeout: tt.timeout}
		if err := g.Run(t.Context(), new(bytes.Buffer)); err == nil || err.Error() != tt.want {
			t.Errorf("%s: got %v, want %s", tt.url, err, tt.want)
		}
	}
}

func TestGetOnce(t *testing.T) {
	_, addr := testServer(t)
	t.Setenv("MY_APP_SERVICE_HOST", addr)
	g := Get{URL: "http://$MY_APP_SERVICE_HOST/p", Method: "GET", Timeout: time.Second, Header: http.Header{"Host": {"a.b"}, "X-A": {"1"}}}
	var out bytes.Buffer
	if err := g.Run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"host: a.b\n", "path: /p\n", "header X-A: 1\n"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("no %q in\n%s", line, out.String())
		}
	}
}

func TestGetTally(t *testing.T) {
	h, _ := testServer(t)
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n++; n%4 == 0 {
			r.URL.Path = "/status/503"
		}
		h.ServeHTTP(w, r)
	}))
	defer s.Close()
	var out bytes.Buffer
	err := Get{URL: s.URL, Method: "GET", Count: 8, Timeout: time.Second}.Run(t.Context(), &out)
	if !errors.Is(err, ErrFailed) {
		t.Errorf("got %v, want ErrFailed", err)
	}
	want := `^     6 pod-1\n     2 failed: status 503 Service Unavailable\n8 requests, 2 failed, \d+\.\ds\n$`
	if !regexp.MustCompile(want).MatchString(out.String()) {
		t.Errorf("got\n%s", out.String())
	}
}

func TestGetFor(t *testing.T) {
	_, addr := testServer(t)
	var out bytes.Buffer
	start := time.Now()
	if err := (Get{URL: "http://" + addr, Method: "GET", For: 100 * time.Millisecond, Interval: time.Millisecond, Timeout: time.Second}).Run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 100*time.Millisecond || took > 2*time.Second {
		t.Errorf("took %v", took)
	}
	if !regexp.MustCompile(`^ +\d+ pod-1\n\d+ requests, 0 failed, \d+\.\ds\n$`).MatchString(out.String()) {
		t.Errorf("got\n%s", out.String())
	}
}

func TestDialRefused(t *testing.T) {
	err := Dial{Addr: freeAddr(t), Timeout: time.Second}.Run(t.Context(), new(bytes.Buffer))
	if err == nil || err.Error() != "connection refused" {
		t.Errorf("got %v", err)
	}
}

func TestCandidates(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	text := "# pods' usual\nnameserver 192.0.2.53\nsearch default.svc.cluster.local svc.cluster.local\noptions timeout:1 ndots:5\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	conf, err := readResolvConf(file)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(conf.servers, []string{"192.0.2.53"}) || conf.ndots != 5 {
		t.Errorf("got %+v", conf)
	}
	for name, want := range map[string][]string{
		"web":         {"web.default.svc.cluster.local.", "web.svc.cluster.local.", "web."},
		"web.":        {"web."},
		"a.b.c.d.e.f": {"a.b.c.d.e.f.", "a.b.c.d.e.f.default.svc.cluster.local.", "a.b.c.d.e.f.svc.cluster.local."},
	} {
		if got := conf.candidates(name); !slices.Equal(got, want) {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func TestReverseName(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1":        "1.2.0.192.in-addr.arpa.",
		"::ffff:192.0.2.1": "1.2.0.192.in-addr.arpa.",
		"2001:db8::1":      "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.",
	} {
		if got := reverseName(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: got %s", addr, got)
		}
	}
}

func TestFormatRecord(t *testing.T) {
	header := func(typ dnsmessage.Type) dnsmessage.ResourceHeader {
		return dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("a.b."), Type: typ, Class: dnsmessage.ClassINET, TTL: 5}
	}
	for _, tt := range []struct {
		record dnsmessage.Resource
		want   string
	}{
		{dnsmessage.Resource{Header: header(dnsmessage.TypeA), Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}}}, "a.b. 5 IN A 192.0.2.1"},
		{dnsmessage.Resource{Header: header(dnsmessage.TypeSRV), Body: &dnsmessage.SRVResource{Weight: 50, Port: 80, Target: dnsmessage.MustNewName("c.")}}, "a.b. 5 IN SRV 0 50 80 c."},
		{dnsmessage.Resource{Header: header(dnsmessage.TypeTXT), Body: &dnsmessage.TXTResource{TXT: []string{"x y"}}}, `a.b. 5 IN TXT "x y"`},
	} {
		if got := formatRecord(tt.record); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
