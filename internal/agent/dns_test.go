package agent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"k8s.io/client-go/rest"

	"github.com/fairway-net/fairway/internal/config"
	"github.com/fairway-net/fairway/internal/dns/forward"
	"github.com/fairway-net/fairway/internal/testkit"
)

const dnsManifest = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: ns}\nspec: {clusterIP: %s}\n"

// freePort returns a loopback address that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// get returns status and body.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// eventually fails the test if ok does not become true within 10 s.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

// TestRunDNS runs the role on manifests through its whole life: ready once the
// zone is complete, a changed file is a changed answer, and when told to end it
// says so and answers on.
func TestRunDNS(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.yaml")
	write := func(ip string) {
		if err := os.WriteFile(path, fmt.Appendf(nil, dnsManifest, ip), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("10.96.0.1")
	listen, health := freePort(t), freePort(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	const lameDuck = 700 * time.Millisecond
	go func() {
		ended <- RunDNS(ctx, DNSOptions{
			Config: config.Config{ClusterDomain: "cluster.local"}, Manifests: []string{path}, TTL: 5,
			Listen: []netip.AddrPort{netip.MustParseAddrPort(listen)}, Upstreams: []forward.Server{{Addr: netip.MustParseAddrPort(listen)}},
			Health: health, LameDuck: lameDuck, Log: slog.New(slog.DiscardHandler),
		})
	}()
	ask := func(name string) string {
		m := new(dns.Msg)
		m.SetQuestion(name, dns.TypeA)
		r, err := dns.Exchange(m, listen)
		if err != nil {
			return err.Error()
		}
		if len(r.Answer) == 0 {
			return dns.RcodeToString[r.Rcode]
		}
		return r.Answer[0].(*dns.A).A.String()
	}
	eventually(t, "ready", func() bool { code, _ := get(t, "http://"+health+"/readyz"); return code == 200 })
	if got := ask("web.ns.svc.cluster.local."); got != "10.96.0.1" {
		t.Errorf("web: %s", got)
	}
	// Its only upstream is itself: that must not become a loop.
	start := time.Now()
	if got := ask("example.com."); got != "SERVFAIL" || time.Since(start) > time.Second {
		t.Errorf("example.com: %s after %v", got, time.Since(start))
	}
	write("10.96.0.22")
	eventually(t, "the changed file", func() bool { return ask("web.ns.svc.cluster.local.") == "10.96.0.22" })
	if _, body := get(t, "http://"+health+"/metrics"); !strings.Contains(body, `fairway_dns_queries_total{proto="udp"} `) || !strings.Contains(body, `rcode="SERVFAIL"} 1`) {
		t.Errorf("metrics: %s", body)
	}

	told := time.Now()
	cancel()
	eventually(t, "not ready", func() bool { code, _ := get(t, "http://"+health+"/readyz"); return code == 503 })
	if got := ask("web.ns.svc.cluster.local."); got != "10.96.0.22" && time.Since(told) < lameDuck {
		t.Errorf("while ending: %s", got)
	}
	select {
	case err := <-ended:
		if err != nil || time.Since(told) < lameDuck {
			t.Errorf("ended after %v: %v", time.Since(told), err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("does not end")
	}
}

// TestDNSSettings: a changed file is a changed way to other names; a mistake
// leaves the previous one in place, and one at the start is refused.
func TestDNSSettings(t *testing.T) {
	says := func(a string) string {
		l, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := &dns.Server{PacketConn: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg).SetReply(q)
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.ParseIP(a)}}
			w.WriteMsg(m)
		})}
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe()
		<-started
		t.Cleanup(func() { s.Shutdown() })
		return l.LocalAddr().String()
	}
	one, two := says("192.0.2.1"), says("192.0.2.2")
	dir := t.TempDir()
	file, manifest, kubeDNS := filepath.Join(dir, "dns"), filepath.Join(dir, "web.yaml"), filepath.Join(dir, "kube-dns")
	if err := os.Mkdir(kubeDNS, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(manifest, fmt.Sprintf(dnsManifest, "10.96.0.1"))
	listen, health := freePort(t), freePort(t)
	o := DNSOptions{
		Config: config.Config{ClusterDomain: "cluster.local"}, Manifests: []string{manifest}, TTL: 5, Settings: file, KubeDNS: kubeDNS,
		Listen: []netip.AddrPort{netip.MustParseAddrPort(listen)}, Health: health, Log: slog.New(slog.DiscardHandler),
	}
	// A mistake at the start: the cluster's names are served all the same, and
	// nobody is asked for others.
	var log bytes.Buffer
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	o.Upstreams = []forward.Server{{Addr: netip.MustParseAddrPort(one)}}
	write(file, "upstream\nttl 42\n")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- RunDNS(ctx, o) }()
	ask := func(name string) string {
		m := new(dns.Msg)
		m.SetQuestion(name, dns.TypeA)
		r, err := dns.Exchange(m, listen)
		if err != nil || len(r.Answer) == 0 {
			return fmt.Sprint(err)
		}
		return fmt.Sprintf("%s %d", r.Answer[0].(*dns.A).A, r.Answer[0].Header().Ttl)
	}
	valid := func(n int) func() bool {
		return func() bool {
			_, body := get(t, "http://"+health+"/metrics")
			return strings.Contains(body, fmt.Sprintf("fairway_dns_settings_valid %d\n", n))
		}
	}
	eventually(t, "served", func() bool { return ask("web.ns.svc.cluster.local.") == "10.96.0.1 42" })
	if got := ask("z.example."); got != "<nil>" || !valid(0)() {
		t.Errorf("with a mistake at the start: %s", got)
	}
	write(file, "upstream "+one+"\nttl 42\n")
	eventually(t, "the first correction to be seen", valid(1))
	if got := ask("a.example."); got != "192.0.2.1 0" {
		t.Errorf("first settings: %s", got)
	}
	write(file, "upstream "+two+"\nstub corp.example x\n")
	eventually(t, "the mistake to be seen", valid(0))
	if got := ask("b.example."); got != "192.0.2.1 0" {
		t.Errorf("with a mistake in the settings: %s", got)
	}
	write(file, "upstream "+two+"\nstub corp.example "+one+"\n")
	eventually(t, "the correction to be seen", valid(1))
	if got, stub := ask("c.example."), ask("a.corp.example."); got != "192.0.2.2 0" || stub != "192.0.2.1 0" {
		t.Errorf("second settings: %s, stub %s", got, stub)
	}
	// Without a ttl it is the one that the server was started with; another comes live.
	eventually(t, "no ttl", func() bool { return ask("web.ns.svc.cluster.local.") == "10.96.0.1 5" })
	write(file, "upstream "+two+"\nstub corp.example "+one+"\nttl 43\n")
	eventually(t, "another ttl", func() bool { return ask("web.ns.svc.cluster.local.") == "10.96.0.1 43" })
	// kube-dns's own ConfigMap counts for what is not said in ours.
	write(filepath.Join(kubeDNS, "stubDomains"), fmt.Sprintf(`{"corp.example": [%q], "acme.local": [%q]}`, two, two))
	write(filepath.Join(kubeDNS, "upstreamNameservers"), fmt.Sprintf("[%q]", one))
	eventually(t, "kube-dns's stub domain", func() bool { return ask("a.acme.local.") == "192.0.2.2 0" })
	if got, stub := ask("d.example."), ask("b.corp.example."); got != "192.0.2.2 0" || stub != "192.0.2.1 0" {
		t.Errorf("both settings: %s, stub %s", got, stub)
	}
	write(file, "")
	eventually(t, "kube-dns's upstream", func() bool { return ask("e.example.") == "192.0.2.1 0" })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}

	write(filepath.Join(kubeDNS, "stubDomains"), "acme.local")
	ctx, cancel = context.WithCancel(t.Context())
	go func() { ended <- RunDNS(ctx, o) }()
	eventually(t, "kube-dns's mistake at the start to be seen", valid(0))
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for _, want := range []string{"config key dns: line 1: no server: want ADDRESS", "line 2: server \\\"x\\\": want ADDRESS", "correct the key dns of the ConfigMap"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log.String())
		}
	}
}

// TestDNSPods: the settings decide whether Pods have names, and whose search
// path is walked.
func TestDNSPods(t *testing.T) {
	upstream := answering(t)
	dir := t.TempDir()
	file, manifest := filepath.Join(dir, "dns"), filepath.Join(dir, "web.yaml")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	pod := func(name, ip, node, more string) string {
		return fmt.Sprintf("---\napiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: ns}\nspec: {nodeName: %s, dnsPolicy: ClusterFirst%s}\nstatus: {phase: Running, podIP: %s, podIPs: [{ip: %[4]s}]}\n", name, node, more, ip)
	}
	write(manifest, "apiVersion: v1\nkind: Namespace\nmetadata: {name: ns}\n"+pod("a", "127.0.0.2", "here", "")+pod("b", "127.0.0.3", "there", "")+
		pod("c", "127.0.0.4", "here", ", dnsConfig: {searches: [x.example]}")+pod("host", "127.0.0.5", "here", ", hostNetwork: true"))
	listen := freePort(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- RunDNS(ctx, DNSOptions{
			Config: config.Config{ClusterDomain: "cluster.local"}, Manifests: []string{manifest}, TTL: 5, Settings: file, Node: "here",
			Listen: []netip.AddrPort{netip.MustParseAddrPort(listen)}, Upstreams: []forward.Server{{Addr: upstream}}, Log: slog.New(slog.DiscardHandler),
		})
	}()
	ask := func(from, name string) string {
		c := dns.Client{Timeout: 5 * time.Second, Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}}
		r, _, err := c.Exchange(new(dns.Msg).SetQuestion(name, dns.TypeA), listen)
		if err != nil {
			return err.Error()
		}
		out := dns.RcodeToString[r.Rcode]
		for _, rr := range r.Answer {
			out += " " + strings.Join(strings.Fields(rr.String())[3:], " ")
		}
		return out
	}
	const search = "www.example.com.ns.svc.cluster.local."
	for _, c := range []struct{ settings, from, name, want string }{
		{"", "127.0.0.1", "127-0-0-9.ns.pod.cluster.local.", "NOERROR A 127.0.0.9"},
		{"", "127.0.0.2", search, "NXDOMAIN"},
		{"pods verified\n", "127.0.0.1", "127-0-0-9.ns.pod.cluster.local.", "NXDOMAIN"},
		{"pods verified\n", "127.0.0.1", "127-0-0-2.ns.pod.cluster.local.", "NOERROR A 127.0.0.2"},
		{"pods verified\n", "127.0.0.1", "127-0-0-2.other.pod.cluster.local.", "NXDOMAIN"},
		{"pods disabled\n", "127.0.0.1", "127-0-0-2.ns.pod.cluster.local.", "NXDOMAIN"},
		{"pods disabled\n", "127.0.0.1", "pod.cluster.local.", "NXDOMAIN"},
		{"search-completion ns\n", "127.0.0.2", search, "NOERROR CNAME www.example.com. A 192.0.2.7"},
		{"search-completion ns\n", "127.0.0.3", search, "NXDOMAIN"},
		{"search-completion ns\n", "127.0.0.4", search, "NXDOMAIN"},
		{"search-completion ns\n", "127.0.0.5", search, "NXDOMAIN"},
		{"search-completion ns\n", "127.0.0.1", "127-0-0-9.ns.pod.cluster.local.", "NOERROR A 127.0.0.9"},
		{"search-completion other\n", "127.0.0.2", search, "NXDOMAIN"},
		{"search-completion *\npods verified\n", "127.0.0.2", search, "NOERROR CNAME www.example.com. A 192.0.2.7"},
		{"search-completion *\npods verified\n", "127.0.0.3", search, "NXDOMAIN"},
		{"", "127.0.0.2", search, "NXDOMAIN"},
	} {
		write(file, c.settings)
		got := ""
		for deadline := time.Now().Add(10 * time.Second); got != c.want && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			got = ask(c.from, c.name)
		}
		if got != c.want {
			t.Errorf("%q: %s asks for %s: got %s, want %s", c.settings, c.from, c.name, got, c.want)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// answering is an upstream server that knows one address.
func answering(t *testing.T) netip.AddrPort {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(192, 0, 2, 7)}}
		w.WriteMsg(m)
	})}
	started := make(chan struct{})
	s.NotifyStartedFunc = func() { close(started) }
	go s.ActivateAndServe()
	<-started
	t.Cleanup(func() { s.Shutdown() })
	return l.LocalAddr().(*net.UDPAddr).AddrPort()
}

// TestDNSHoldsQuestions: what is asked before the zone is there waits for it, but
// not for ever.
func TestDNSHoldsQuestions(t *testing.T) {
	for _, c := range []struct {
		api  time.Duration // until it answers
		want string
	}{{300 * time.Millisecond, "NOERROR"}, {time.Minute, "SERVFAIL"}} {
		ready := time.Now().Add(c.api)
		api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
				return
			case <-time.After(time.Until(ready)):
			}
			if r.URL.Query().Get("watch") != "" {
				if r.URL.Query().Get("sendInitialEvents") != "" {
					http.Error(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`, http.StatusUnprocessableEntity)
					return
				}
				<-r.Context().Done()
				return
			}
			w.Header().Set("Content-Type", "application/json")
			list := map[string]string{"services": "ServiceList", "namespaces": "NamespaceList", "endpointslices": "EndpointSliceList"}[path.Base(r.URL.Path)]
			version := strings.Trim(strings.TrimPrefix(path.Dir(r.URL.Path), "/api"), "s/") // v1, discovery.k8s.io/v1
			fmt.Fprintf(w, `{"kind":%q,"apiVersion":%q,"metadata":{"resourceVersion":"1"},"items":[]}`, list, version)
		}))
		listen := freePort(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- RunDNS(ctx, DNSOptions{
				Config: config.Config{ClusterDomain: "cluster.local"}, Rest: &rest.Config{Host: api.URL}, TTL: 5,
				Listen: []netip.AddrPort{netip.MustParseAddrPort(listen)}, Log: slog.New(slog.DiscardHandler),
			})
		}()
		eventually(t, "listening", func() bool { // its socket is there before its answers are
			c, err := net.Dial("tcp", listen)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
		client := dns.Client{Timeout: 10 * time.Second}
		r, _, err := client.Exchange(new(dns.Msg).SetQuestion("svc.cluster.local.", dns.TypeA), listen)
		if err != nil || dns.RcodeToString[r.Rcode] != c.want {
			t.Errorf("API server after %v: %v %v, want %s", c.api, r, err, c.want)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		api.CloseClientConnections()
		api.Close()
	}
}

// TestDNSEvents: what is wrong with a server's way to other names is an Event, on
// the Node or, where all nodes have it, on the ConfigMap; mended, it is over.
func TestDNSEvents(t *testing.T) {
	api := testkit.NewAPI(t)
	serving := httptest.NewServer(api)
	t.Cleanup(func() { serving.CloseClientConnections(); serving.Close() })
	listen, health := freePort(t), freePort(t)
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var back atomic.Bool // the upstream asks the one who asks it
	back.Store(true)
	upstream := &dns.Server{PacketConn: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetRcode(q, dns.RcodeNameError)
		if back.Load() {
			c := dns.Client{Timeout: 5 * time.Second}
			r, _, err := c.Exchange(q, listen)
			if err != nil {
				return
			}
			m, r.Id = r, q.Id
		}
		w.WriteMsg(m)
	})}
	go upstream.ActivateAndServe()
	t.Cleanup(func() { l.Close() })
	file := filepath.Join(t.TempDir(), "dns")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- RunDNS(ctx, DNSOptions{
			Config: config.Config{ClusterDomain: "cluster.local"}, Rest: &rest.Config{Host: serving.URL}, TTL: 5, Node: "n1", Health: health, Settings: file,
			Listen: []netip.AddrPort{netip.MustParseAddrPort(listen)}, Log: slog.New(slog.DiscardHandler),
			Upstreams: []forward.Server{{Addr: l.LocalAddr().(*net.UDPAddr).AddrPort()}, {Addr: netip.MustParseAddrPort(listen)}},
		})
	}()
	event := func(parts ...string) {
		t.Helper()
		eventually(t, "an Event that says "+parts[0], func() bool {
			return !slices.ContainsFunc(parts, func(p string) bool { return !api.HasEvent(p) })
		})
	}
	event("DNSForwardingLoop", l.LocalAddr().String(), "let the node's kubelet use a resolv.conf with real servers", "n1")
	event("DNSUpstreamIsSelf", listen)
	if err := os.WriteFile(file, []byte("ttl 9\nstub corp.example x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	event("DNSSettingsRefused", "line 2", "fairway-config", "correct the key dns")
	back.Store(false)
	has := func(reason string) bool {
		_, body := get(t, "http://"+health+"/metrics")
		return strings.Contains(body, fmt.Sprintf("fairway_problem{reason=%q} 1\n", reason))
	}
	eventually(t, "the end of the loop", func() bool { return !has("DNSForwardingLoop") })
	if !has("DNSSettingsRefused") || !has("DNSUpstreamIsSelf") {
		t.Error("with the loop went what has not been mended")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
