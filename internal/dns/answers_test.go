package dns

import (
	"bufio"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/dns/forward"
	"github.com/fairway-net/fairway/internal/dns/index"
	"github.com/fairway-net/fairway/internal/plan/zone"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// question is one block of testdata/answers.txt: what is asked, by dig, and
// what must come.
type question struct {
	line string
	args []string
	want []string
}

// readQuestions parses blocks: "? NAME TYPE [dig options]", then the expected
// "STATUS flags" and records as dig prints them, a section's name before each.
func readQuestions(t *testing.T, file string) (out []question) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '?':
			out = append(out, question{fmt.Sprintf("%s:%d", file, n), strings.Fields(line[1:]), nil})
		default:
			q := &out[len(out)-1]
			q.want = append(q.want, strings.Join(strings.Fields(line), " "))
		}
	}
	if len(out) == 0 {
		t.Fatalf("%s: no questions", file)
	}
	return out
}

var (
	digStatus  = regexp.MustCompile(`opcode: \w+, status: (\w+)`)
	digFlags   = regexp.MustCompile(`^;; flags: ([a-z ]*);`)
	digSection = regexp.MustCompile(`^;; (ANSWER|AUTHORITY|ADDITIONAL) SECTION:`)
)

// dig asks the server at addr and returns status, flags and records.
func dig(t *testing.T, addr netip.AddrPort, args ...string) []string {
	t.Helper()
	args = append([]string{"@" + addr.Addr().String(), "-p", fmt.Sprint(addr.Port()), "+noall", "+comments", "+answer", "+authority", "+additional",
		"+tries=1", "+time=5", "+nocookie"}, args...)
	b, err := exec.CommandContext(t.Context(), "dig", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("dig %v: %v\n%s", args, err, b)
	}
	var status, section string
	var records []string
	for _, line := range strings.Split(string(b), "\n") {
		if m := digStatus.FindStringSubmatch(line); m != nil {
			status = m[1]
		} else if m := digFlags.FindStringSubmatch(line); m != nil {
			status += " " + strings.TrimSpace(m[1])
		} else if m := digSection.FindStringSubmatch(line); m != nil {
			section = strings.ToLower(m[1])
		} else if line != "" && line[0] != ';' {
			records = append(records, section+" "+strings.Join(strings.Fields(line), " "))
		}
	}
	slices.Sort(records)
	return append([]string{status}, records...)
}

// TestAnswers asks every question over UDP and over TCP with BIND's client.
func TestAnswers(t *testing.T) {
	if _, err := exec.LookPath("dig"); err != nil {
		t.Fatal("no dig: apt-get install bind9-dnsutils")
	}
	upstream := outsideWorld(t)
	// The clock stands still, or the TTLs of cached answers would depend on the machine.
	now := time.Now()
	fwd, err := forward.New(forward.Options{Upstreams: []forward.Server{{Addr: upstream.addr}}, Log: quiet(), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	askAll(t, start(t, Options{Zone: fill(t, cluster()), Upstream: fwd}), "testdata/answers.txt")
}

// TestAnswersOfPods: names of addresses as the settings have them.
func TestAnswersOfPods(t *testing.T) {
	x := fill(t, cluster())
	addr := start(t, Options{Zone: x, Upstream: forwarder()})
	x.SetPodMode(index.PodsVerified)
	askAll(t, addr, "testdata/pods-unknown.txt")
	x.SetPod(zone.Pod{Name: name("default/a"), Addrs: ips("10.244.0.5", "fd00:244::5")})
	x.SetPodsSynced(true)
	askAll(t, addr, "testdata/pods-verified.txt")
	x.SetPodMode(index.PodsDisabled)
	askAll(t, addr, "testdata/pods-disabled.txt")
}

// askAll asks every question of file over UDP and over TCP.
func askAll(t *testing.T, addr netip.AddrPort, file string) {
	t.Helper()
	for _, q := range readQuestions(t, file) {
		for _, proto := range []string{"+notcp", "+tcp"} {
			t.Run(strings.Join(q.args, "_")+proto, func(t *testing.T) {
				want := slices.Clone(q.want)
				slices.Sort(want[1:])
				got := dig(t, addr, append(q.args, proto)...)
				if !slices.Equal(got, want) {
					t.Errorf("%s\ngot:\n  %s\nwant:\n  %s", q.line, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
				}
			})
		}
	}
}
