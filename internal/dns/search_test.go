package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/fairway-net/fairway/internal/dns/forward"
	"github.com/fairway-net/fairway/internal/dns/index"
	"github.com/fairway-net/fairway/internal/plan/zone"
	"github.com/fairway-net/fairway/internal/testkit"
)

// searching is the zone of cluster with pods on loopback addresses, whose
// search paths are walked in the namespace default.
func searching(t testing.TB) *index.Index {
	x := fill(t, cluster())
	for _, p := range []zone.Pod{
		{Name: name("default/searching"), Addrs: ips("127.0.0.2"), Search: true},
		{Name: name("default/other-policy"), Addrs: ips("127.0.0.3")},
		{Name: name("early/not-enabled"), Addrs: ips("127.0.0.4"), Search: true},
		{Name: name("default/old"), Addrs: ips("127.0.0.5"), Search: true},
		{Name: name("early/new"), Addrs: ips("127.0.0.5"), Search: true}, // an address that changes hands
	} {
		x.SetPod(p)
	}
	x.SetSearch([]string{"default"})
	x.SetPodsSynced(true)
	return x
}

func askFrom(t testing.TB, from string, addr netip.AddrPort, network, name string, qtype uint16) string {
	t.Helper()
	c := &mdns.Client{Net: network, Timeout: 5 * time.Second, Dialer: &net.Dialer{}}
	if network == "udp" {
		c.Dialer.LocalAddr = &net.UDPAddr{IP: net.ParseIP(from)}
	} else {
		c.Dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	r, _, err := c.Exchange(new(mdns.Msg).SetQuestion(name, qtype), addr.String())
	if err != nil {
		t.Fatalf("%s from %s: %v", name, from, err)
	}
	out := mdns.RcodeToString[r.Rcode]
	for _, rr := range r.Answer {
		out += " " + strings.Join(strings.Fields(rr.String())[3:], " ")
	}
	for _, rr := range r.Ns {
		out += " " + rr.Header().Name + mdns.TypeToString[rr.Header().Rrtype]
	}
	return out
}

// TestSearch asks the first question of a search. What may have been meant as
// it stands, and what a pod asks that is not exactly known, is left alone.
func TestSearch(t *testing.T) {
	world := outsideWorld(t)
	addr := start(t, Options{Zone: searching(t), Upstream: forwarder(world.addr)})
	const zoneSOA, outSOA = " cluster.local.SOA", " example.com.SOA"
	for _, c := range []struct{ from, name, want string }{
		{"127.0.0.2", "web.example.com.default.svc.cluster.local.", "NOERROR CNAME web.example.com. A 192.0.2.80 A 192.0.2.81"},
		{"127.0.0.2", "www.example.com.default.svc.cluster.local.", "NOERROR CNAME www.example.com. CNAME web.example.com. A 192.0.2.80 A 192.0.2.81"},
		{"127.0.0.2", "Web.Example.com.dEfault.svc.Cluster.local.", "NOERROR CNAME web.example.com. A 192.0.2.80 A 192.0.2.81"},
		{"127.0.0.2", "mail.example.com.default.svc.cluster.local.", "NOERROR CNAME mail.example.com." + outSOA},
		{"127.0.0.2", "none.example.com.default.svc.cluster.local.", "NOERROR CNAME none.example.com." + outSOA},
		{"127.0.0.2", "servfail.example.com.default.svc.cluster.local.", "SERVFAIL"},
		// A name of the zone without its final dot, and the third step's.
		{"127.0.0.2", "web.default.svc.cluster.local.default.svc.cluster.local.", "NOERROR CNAME web.default.svc.cluster.local. A 10.96.0.20"},
		{"127.0.0.2", "web.early.svc.default.svc.cluster.local.", "NOERROR CNAME web.early.svc.cluster.local. A 10.96.0.22"},
		{"127.0.0.2", "outside.default.svc.default.svc.cluster.local.", "NOERROR CNAME outside.default.svc.cluster.local. CNAME www.example.com. CNAME web.example.com. A 192.0.2.80 A 192.0.2.81"},
		{"127.0.0.2", "nothing.default.svc.cluster.local.default.svc.cluster.local.", "NOERROR CNAME nothing.default.svc.cluster.local." + zoneSOA},
		// Meant as it stands, or perhaps.
		{"127.0.0.2", "nothing.default.svc.cluster.local.", "NXDOMAIN" + zoneSOA},
		{"127.0.0.2", "db-9.db.default.svc.cluster.local.", "NXDOMAIN" + zoneSOA},
		{"127.0.0.2", "a.b.web.default.svc.cluster.local.", "NXDOMAIN" + zoneSOA},
		{"127.0.0.2", "_http._tcp.nothing.default.svc.cluster.local.", "NXDOMAIN" + zoneSOA},
		{"127.0.0.2", "web.early.default.svc.cluster.local.", "NXDOMAIN" + zoneSOA},
		{"127.0.0.2", "web.example.com.svc.cluster.local.", "NXDOMAIN" + zoneSOA},
		{"127.0.0.2", "web.example.com.cluster.local.", "NXDOMAIN" + zoneSOA},
		// Another namespace than the pod's.
		{"127.0.0.2", "web.example.com.early.svc.cluster.local.", "NXDOMAIN" + zoneSOA},
		// Pods that are not known, not enabled, or two.
		{"127.0.0.1", "web.example.com.default.svc.cluster.local.", "NXDOMAIN" + zoneSOA},
		{"127.0.0.3", "web.example.com.default.svc.cluster.local.", "NXDOMAIN" + zoneSOA},
		{"127.0.0.4", "web.example.com.early.svc.cluster.local.", "NXDOMAIN" + zoneSOA},
		{"127.0.0.5", "web.example.com.default.svc.cluster.local.", "NXDOMAIN" + zoneSOA},
		{"127.0.0.5", "web.example.com.early.svc.cluster.local.", "NXDOMAIN" + zoneSOA},
	} {
		for _, network := range []string{"udp", "tcp"} {
			if got := askFrom(t, c.from, addr, network, c.name, mdns.TypeA); sorted(got) != sorted(c.want) {
				t.Errorf("%s from %s over %s:\n got %s\nwant %s", c.name, c.from, network, got, c.want)
			}
		}
	}
}

// sorted makes rotated addresses comparable.
func sorted(s string) string {
	return strings.ReplaceAll(s, "A 192.0.2.81 A 192.0.2.80", "A 192.0.2.80 A 192.0.2.81")
}

// TestSearchDomains: the node's own search domains come before the name itself.
func TestSearchDomains(t *testing.T) {
	world := outsideWorld(t)
	fwd, err := forward.New(forward.Options{Upstreams: []forward.Server{{Addr: world.addr}}, Search: []string{"corp.test", "example.com."}, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	addr := start(t, Options{Zone: searching(t), Upstream: fwd})
	for name, want := range map[string]string{
		"web.eu.default.svc.cluster.local.":          "NOERROR CNAME web.eu.example.com. A 192.0.2.90",
		"web.example.com.default.svc.cluster.local.": "NOERROR CNAME web.example.com. A 192.0.2.80 A 192.0.2.81",
	} {
		if got := askFrom(t, "127.0.0.2", addr, "udp", name, mdns.TypeA); sorted(got) != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	// No IPv6 address below a domain whose name has an IPv4 one: found all the same.
	if got, want := askFrom(t, "127.0.0.2", addr, "udp", "web.eu.default.svc.cluster.local.", mdns.TypeAAAA), "NOERROR CNAME web.eu.example.com. example.com.SOA"; got != want {
		t.Errorf("AAAA: got %s, want %s", got, want)
	}
}

const lookupName = "FAIRWAY_TEST_LOOKUP"

// TestLookup is no test but a program: Go's own resolver, for TestSearchResolvers.
func TestLookup(t *testing.T) {
	name := os.Getenv(lookupName)
	if name == "" {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	a, err := (&net.Resolver{PreferGo: true}).LookupHost(ctx, name)
	fmt.Printf("result: %v %v\n", a, err)
}

// inside is a server in a network namespace, and what looks names up there as a
// pod's processes do.
type inside struct {
	world *outside
	// lookup runs a program and returns what it prints and how many questions came.
	lookup func(args ...string) (string, uint64)
}

// startInside starts a server for a pod with a search path, which is walked there.
func startInside(t *testing.T) *inside {
	t.Helper()
	testkit.NeedRoot(t)
	ns := testkit.NewNS(t, "search")
	run := func(args ...string) {
		if b, err := exec.Command("nsenter", append([]string{fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), ns.Fd())}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, b)
		}
	}
	run("ip", "link", "set", "lo", "up")
	run("ip", "addr", "add", "10.244.0.50/32", "dev", "lo")
	run("ip", "addr", "add", "10.96.0.10/32", "dev", "lo")
	run("ip", "addr", "add", "fd00:244::50/128", "dev", "lo") // for resolvers that ask for families they have
	run("ip", "route", "replace", "local", "10.96.0.10", "dev", "lo", "src", "10.244.0.50")
	resolvConf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(resolvConf, []byte("nameserver 10.96.0.10\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	x := searching(t)
	x.SetPod(zone.Pod{Name: name("default/client"), Addrs: ips("10.244.0.50"), Search: true})
	many := zone.Records{Name: name("default/sixty")} // more than fit into 512 bytes
	for i := range 60 {
		a := netip.AddrFrom4([4]byte{10, 244, 9, byte(i)})
		many.Hosts = append(many.Hosts, zone.Host{Label: zone.Dashed(a), Addrs: []netip.Addr{a}})
	}
	slices.SortFunc(many.Hosts, func(a, b zone.Host) int { return strings.Compare(a.Label, b.Label) })
	x.Set(many)
	world := outsideWorld(t) // outside the namespace, as is the server but for its sockets
	var s *Server
	err := ns.Do(func() (err error) {
		s, err = New(Options{Zone: x, Upstream: forwarder(world.addr), Listen: []netip.AddrPort{netip.MustParseAddrPort("10.96.0.10:53")}, Log: quiet()})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, time.Second) }()
	t.Cleanup(func() { cancel(); <-done })
	lookup := func(args ...string) (string, uint64) {
		before := s.stats.sum()["udp"].queries.Load()
		cmd := exec.Command("nsenter", append([]string{fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), ns.Fd()), "unshare", "-m", "sh", "-c",
			`mount --make-rprivate / && mount --bind "$0" /etc/resolv.conf && exec "$@"`, resolvConf}, args...)...)
		b, err := cmd.CombinedOutput()
		if err != nil && len(b) > 0 {
			t.Logf("%v: %v\n%s", args, err, b)
		}
		return string(b), s.stats.sum()["udp"].queries.Load() - before
	}
	return &inside{world, lookup}
}

// TestMuslResolver: the resolver of Alpine's images, which asks for both families
// at once over a socket that is not connected, and knows no TCP.
func TestMuslResolver(t *testing.T) {
	program := muslLookup(t)
	in := startInside(t)
	for _, c := range []struct {
		name, want string
		addrs      int // at least
		questions  uint64
	}{
		{"web.example.com", "192.0.2.80", 2, 2},
		{"www.example.com", "192.0.2.80", 2, 2},
		{"web.default.svc.cluster.local", "10.96.0.20", 2, 2},
		{"none.example.com", "", 0, 2},
		{"web", "10.96.0.20", 2, 2},
		{"plain", "10.96.0.21", 1, 2}, // of one family
		{"web.early", "10.96.0.22", 1, 4},
		{"sixty", "10.244.9.", 20, 2}, // as many as fit
	} {
		in.world.asked.Store(0)
		out, n := in.lookup(program, c.name)
		if !strings.Contains(out, c.want) || c.want == "" && out != "" || strings.Count(out, "\n") < c.addrs || n != c.questions {
			t.Errorf("%s: %d questions, %q", c.name, n, out)
		}
		if asked := in.world.asked.Load(); asked > 2 {
			t.Errorf("%s: %d questions to upstream", c.name, asked)
		}
	}
}

// TestSearchResolvers lets the resolvers of the C library and of Go look names
// up, and counts what they ask.
func TestSearchResolvers(t *testing.T) {
	in := startInside(t)
	lookup, world := in.lookup, in.world
	for _, c := range []struct {
		name, want string
		questions  uint64 // of the C library
		goes       uint64 // of Go, which goes on whenever there is no address
	}{
		{"web.example.com", "192.0.2.80", 2, 2},
		{"www.example.com", "192.0.2.80", 2, 2},
		{"web.default.svc.cluster.local", "10.96.0.20", 2, 2},
		{"none.example.com", "", 2, 8},
		{"web", "10.96.0.20", 2, 2},
		{"web.early", "10.96.0.22", 4, 4},
	} {
		world.asked.Store(0)
		out, n := lookup("getent", "ahosts", c.name)
		if !strings.Contains(out, c.want) || c.want == "" && out != "" || n != c.questions {
			t.Errorf("getent %s: %d questions, %q", c.name, n, out)
		}
		if asked := world.asked.Load(); asked > 2 {
			t.Errorf("getent %s: %d questions to upstream", c.name, asked)
		}
		out, n = lookup("env", lookupName+"="+c.name, "/proc/"+fmt.Sprint(os.Getpid())+"/exe", "-test.run=^TestLookup$")
		if !strings.Contains(out, c.want) || c.want == "" && !strings.Contains(out, "no such host") || n != c.goes {
			t.Errorf("Go %s: %d questions, %s", c.name, n, out)
		}
	}
}
