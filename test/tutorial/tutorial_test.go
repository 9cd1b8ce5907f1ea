package tutorial

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestTutorial starts one cluster and runs the pages of the documentation on
// it, and then what a page cannot show well.
func TestTutorial(t *testing.T) {
	c := startCluster(t, "tutorial")
	for _, page := range []string{"docs/tutorial.md", "docs/services.md", "docs/ingress.md", "docs/migrate.md", "docs/policy.md"} {
		t.Run(page, func(t *testing.T) { c.page(t, page, func(Step) bool { return true }) })
	}
	t.Run("annotations", c.testAnnotations)
	t.Run("spread", c.testSpread)
	t.Run("deleted pod", c.testDeletedPod)
	t.Run("pairs by address", c.testPairs)
	t.Run("dns failover", c.testDNSFailover)
	t.Run("restart", c.testRestart) // before crash: kubelet starts these pods again without waiting
	t.Run("crash", c.testCrash)
}

// TestAnnotations runs only testAnnotations, on a cluster that is up already.
func TestAnnotations(t *testing.T) {
	if os.Getenv("FAIRWAY_TEST_CLUSTER") == "" {
		t.Skip("TestTutorial has it, but for the cluster of FAIRWAY_TEST_CLUSTER")
	}
	startCluster(t, "annotations").testAnnotations(t)
}

// TestDNSFailover runs only testDNSFailover, on a cluster that is up already.
func TestDNSFailover(t *testing.T) {
	if os.Getenv("FAIRWAY_TEST_CLUSTER") == "" {
		t.Skip("TestTutorial has it, but for the cluster of FAIRWAY_TEST_CLUSTER")
	}
	startCluster(t, "dns").testDNSFailover(t)
}

// TestReadme runs the commands of the README, beginning with `make up`, under
// another name and beside the tutorial's cluster if that is up. It leaves out
// `make test`, which would start this test again, and the benchmarks; the test
// of the house rules sees to it that they exist.
func TestReadme(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to start a cluster")
	}
	c := newCluster(t, "readme")
	t.Cleanup(func() { c.run(t, time.Minute, "bin/fairway", "down", "--name", c.name) })
	c.page(t, "README.md", func(s Step) bool {
		return s.Command != "make test" && !strings.HasPrefix(s.Command, "make bench")
	})
}

// TestDNSPage runs the page about DNS, which needs no cluster.
func TestDNSPage(t *testing.T) {
	newCluster(t, "dns").page(t, "docs/dns.md", func(Step) bool { return true })
}

// TestInstall installs Fairway by hand into a cluster that has no network yet.
func TestInstall(t *testing.T) {
	if os.Getenv("FAIRWAY_TEST_CLUSTER") != "" {
		t.Skip("needs a cluster without Fairway, not that of FAIRWAY_TEST_CLUSTER")
	}
	c := startCluster(t, "install", "--bare")
	c.page(t, "docs/install.md", func(Step) bool { return true })
}

// TestFamilies runs the page about the address families, which starts clusters
// of its own: one of both families, then one of IPv6 alone.
func TestFamilies(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to start a cluster")
	}
	c := newCluster(t, "both")
	for _, name := range []string{"both", "six"} {
		t.Cleanup(func() {
			if out, err := c.try(time.Minute, "bin/fairway", "down", "--name", name); err != nil && !strings.Contains(out, "no such cluster") {
				t.Error(err)
			}
		})
	}
	c.page(t, "docs/dual-stack.md", func(Step) bool { return true })
}

// testSpread: 3,000 requests spread 33 % ± 5 over three pods.
func (c *cluster) testSpread(t *testing.T) {
	c.apply(t, []string{"my-app.yaml", "client.yaml"}, "default/my-app")
	c.kubectl(t, "wait", "--for", "condition=Ready", "pod/client")
	tally := c.kubectl(t, "exec", "client", "--", "/echo", "get", "-n", "3000", "http://my-app")
	pods := parseTally(t, tally)
	if len(pods) != 3 {
		t.Errorf("want three pods:\n%s", tally)
	}
	for pod, n := range pods {
		if n < 3000*28/100 || n > 3000*38/100 {
			t.Errorf("%s answered %d of 3000 requests, want 28 %% to 38 %%", pod, n)
		}
	}
}

// testDeletedPod: a pod is deleted while 1,000 sequential requests run; its
// replacement has a new address and no request fails.
func (c *cluster) testDeletedPod(t *testing.T) {
	c.apply(t, []string{"my-app.yaml", "client.yaml"}, "default/my-app")
	c.kubectl(t, "wait", "--for", "condition=Ready", "pod/client")
	before := c.addresses(t)
	var wg sync.WaitGroup
	var tally string
	var err error
	wg.Go(func() {
		tally, err = c.try(2*time.Minute, "bin/kubectl", "exec", "client", "--", "/echo", "get", "-n", "1000", "--interval", "4ms", "http://my-app")
	})
	time.Sleep(time.Second) // so that requests are under way
	victim := firstKey(before)
	c.kubectl(t, "delete", "pod", victim)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	parseTally(t, tally)
	c.kubectl(t, "rollout", "status", "deployment/my-app")
	for pod, addr := range c.addresses(t) {
		if before[pod] == "" && addr == before[victim] {
			t.Errorf("the replacement %s of %s has the same address %s", pod, victim, addr)
		}
	}
}

// addresses returns pod → address of my-app.
func (c *cluster) addresses(t *testing.T) map[string]string {
	t.Helper()
	out := c.kubectl(t, "get", "pods", "-l", "app=my-app", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.podIP}{"\n"}{end}`)
	addrs := map[string]string{}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 2 {
			addrs[f[0]] = f[1]
		}
	}
	return addrs
}

// testPairs tries all nine pairs of the three tiers by the pods' addresses, so
// that neither names nor Services can be the reason of a "no".
func (c *cluster) testPairs(t *testing.T) {
	c.apply(t, []string{"tiers.yaml"}, "tiers/frontend", "tiers/api", "tiers/database")
	c.kubectl(t, "apply", "-f", "examples/tutorial/policies.yaml")
	tiers := []string{"frontend", "api", "database"}
	passes := map[string]bool{"frontend api": true, "api database": true}
	for _, tier := range tiers {
		passes[tier+" "+tier] = true // its only pod: itself
	}
	addr := map[string]string{}
	for _, tier := range tiers {
		addr[tier] = c.kubectl(t, "-n", "tiers", "get", "pods", "-l", "tier="+tier, "-o", "jsonpath={.items[0].status.podIP}")
	}
	for _, from := range tiers {
		for _, to := range tiers {
			dial := []string{"-n", "tiers", "exec", "deployment/" + from, "--", "/echo", "dial", "--timeout", "1s", addr[to] + ":8080"}
			ok := false
			var err error
			for deadline := time.Now().Add(5 * time.Second); ; { // until the policies have arrived
				_, err = c.try(20*time.Second, "bin/kubectl", dial...)
				if ok = (err == nil) == passes[from+" "+to]; ok || time.Now().After(deadline) {
					break
				}
			}
			if !ok {
				t.Errorf("%s to %s: want pass %t, got %v", from, to, passes[from+" "+to], err)
			}
			if err != nil && !strings.Contains(err.Error(), "timeout") {
				t.Errorf("%s to %s: want a timeout, got %v", from, to, err)
			}
		}
	}
}

var (
	tallyLine  = regexp.MustCompile(`(?m)^ *(\d+) (\S+)$`)
	tallyTotal = regexp.MustCompile(`(?m)^(\d+) requests, (\d+) failed`)
)

// parseTally returns the answers per pod and fails the test if one is missing.
func parseTally(t *testing.T, text string) map[string]int {
	t.Helper()
	total := tallyTotal.FindStringSubmatch(text)
	if total == nil || total[2] != "0" {
		t.Fatalf("requests failed:\n%s", text)
	}
	pods := map[string]int{}
	for _, m := range tallyLine.FindAllStringSubmatch(text, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		pods[m[2]] += n
	}
	sum := 0
	for _, n := range pods {
		sum += n
	}
	if fmt.Sprint(sum) != total[1] {
		t.Fatalf("the sum is %d:\n%s", sum, text)
	}
	return pods
}

func firstKey(m map[string]string) string {
	for k := range m {
		return k
	}
	return ""
}
