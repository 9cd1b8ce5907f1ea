package tutorial

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"
)

// dnsClient is a pod that asks from the first node; what happens, happens to the
// DNS server of that node.
const dnsClient = `
apiVersion: v1
kind: Pod
metadata: {name: dns-client}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 1
  containers:
  - {name: echo, image: "fairway.dev/echo:latest", imagePullPolicy: IfNotPresent, args: [sleep]}
`

var askedLine = regexp.MustCompile(`(?m)^(\d+) questions, (\d+) failed`)

// testDNSFailover: a pod asks the cluster's DNS, each question once, while its
// node's server is upgraded, dies, and is away. Some questions come from a socket
// each, as those of glibc and Go; others all from one, as those of musl.
func (c *cluster) testDNSFailover(t *testing.T) {
	const (
		rate    = 500
		oneRead = 32 // the server's batch
	)
	file := t.TempDir() + "/client.yaml"
	if err := os.WriteFile(file, []byte(dnsClient), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.kubectl(t, "delete", "--ignore-not-found", "-f", file) })
	c.kubectl(t, "apply", "-f", file)
	c.kubectl(t, "wait", "--for", "condition=Ready", "pod/dns-client", "--timeout", "60s")
	ready := func() {
		c.run(t, 3*time.Minute, "bin/kubectl", "-n", "kube-system", "rollout", "status", "daemonset/fairway-dns", "--timeout", "150s")
	}
	for _, tt := range []struct {
		what string
		do   func()
		may  int // how many questions may get lost
	}{
		{"nothing happens", func() {}, 0},
		{"all servers are replaced", func() {
			c.kubectl(t, "-n", "kube-system", "rollout", "restart", "daemonset/fairway-dns")
			ready()
		}, 0},
		// What a process has read and not answered when it is killed dies with it:
		// one read of a socket at most, and nearly always nothing.
		{"the server is killed", func() { c.killDNS(t) }, oneRead},
		{"and again, when kubelet lets it wait", func() { c.killDNS(t) }, oneRead},
		{"its pod is deleted", func() { c.kubectl(t, "-n", "kube-system", "delete", "pod", c.dnsPod(t, "metadata.name")) }, 0},
		{"its pod is deleted without grace", func() {
			c.kubectl(t, "-n", "kube-system", "delete", "pod", "--grace-period=0", "--force", c.dnsPod(t, "metadata.name"))
		}, oneRead},
	} {
		t.Run(tt.what, func(t *testing.T) {
			ready()
			var wg sync.WaitGroup
			length := 12 * time.Second
			for _, flow := range []string{"-one-flow=false", "-one-flow=true"} {
				wg.Go(func() {
					out, err := c.try(2*time.Minute, "bin/kubectl", "exec", "dns-client", "--",
						"/echo", "ask", "-rate", fmt.Sprint(rate), "-for", length.String(), flow, "kubernetes.default.svc.cluster.local.")
					m := askedLine.FindStringSubmatch(out)
					if m == nil {
						t.Errorf("%s: %v\n%s", flow, err, out)
						return
					}
					asked, _ := strconv.Atoi(m[1])
					lost, _ := strconv.Atoi(m[2])
					t.Logf("%s: %d questions, %d lost", flow, asked, lost)
					if lost > tt.may || asked < rate*int(length.Seconds())/2 {
						t.Errorf("%s: %d of %d questions lost, want at most %d\n%s", flow, lost, asked, tt.may, out)
					}
				})
			}
			time.Sleep(time.Second) // so that questions are under way
			tt.do()
			wg.Wait()
		})
	}
}

// dnsPod is a field of the pod of DNS on the client's node.
func (c *cluster) dnsPod(t *testing.T, field string) string {
	t.Helper()
	return c.kubectl(t, "-n", "kube-system", "get", "pods", "-l", "k8s-app=kube-dns", "--field-selector", "spec.nodeName=node1",
		"-o", "jsonpath={.items[0]."+field+"}")
}

// killDNS kills its process, which is the first of its namespace, with -9.
func (c *cluster) killDNS(t *testing.T) {
	t.Helper()
	id := c.dnsPod(t, "status.containerStatuses[0].containerID")
	c.run(t, time.Minute, "bin/fairway", "node", "exec", "--name", c.name, "node1", "--", "fairway-kube",
		"ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", id[len("containerd://"):])
}
