package tutorial

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// traffic is what runs from outside while something happens inside.
type traffic struct {
	c    *cluster
	wg   sync.WaitGroup
	mu   sync.Mutex
	errs []error
}

// ask asks url for a time, one request after the other, each on a connection
// of its own. Any failure fails the test at wait.
func (tr *traffic) ask(limit time.Duration, url string) {
	tr.run(url, "get", "--for", limit.String(), "--interval", "1ms", url)
}

// hold keeps one connection open for a time, with a line every 100 ms on it.
func (tr *traffic) hold(limit time.Duration, url string) {
	n := int(limit / (100 * time.Millisecond))
	tr.run(url, "get", "--timeout", (limit + time.Minute).String(), fmt.Sprintf("%s/stream?n=%d&every=100ms", url, n))
}

func (tr *traffic) run(what string, args ...string) {
	tr.wg.Go(func() {
		if out, err := tr.c.try(3*time.Minute, "bin/echo", args...); err != nil {
			tr.mu.Lock()
			defer tr.mu.Unlock()
			tr.errs = append(tr.errs, fmt.Errorf("%s: %w\n%s", what, err, out))
		}
	})
}

func (tr *traffic) wait(t *testing.T) {
	t.Helper()
	tr.wg.Wait()
	for _, err := range tr.errs {
		t.Error(err)
	}
}

// doors are the ways from outside to my-app: a port of each node, and an
// address of its own.
func (c *cluster) doors(t *testing.T) []string {
	t.Helper()
	c.apply(t, []string{"my-app.yaml", "nodeport.yaml", "loadbalancer.yaml"}, "default/my-app")
	doors := []string{}
	for i := range 2 {
		node := c.kubectl(t, "get", "nodes", "-o", fmt.Sprintf(`jsonpath={.items[%d].status.addresses[?(@.type=="InternalIP")].address}`, i))
		doors = append(doors, "http://"+node+":30080")
	}
	c.kubectl(t, "wait", "--for", "jsonpath={.status.loadBalancer.ingress}", "service/my-app-lb", "--timeout", "10s")
	lb := c.kubectl(t, "get", "service", "my-app-lb", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
	return append(doors, "http://"+lb)
}

// testCrash: every process of Fairway is killed with -9, and nobody outside
// notices: neither an open connection nor a new one.
func (c *cluster) testCrash(t *testing.T) {
	tr := &traffic{c: c}
	for _, door := range c.doors(t) {
		tr.ask(10*time.Second, door)
		tr.hold(10*time.Second, door)
	}
	time.Sleep(time.Second) // so that connections are open
	for _, role := range []string{"agent", "dns", "gateway", "controller"} {
		c.run(t, time.Minute, "examples/tutorial/kill9", role)
	}
	tr.wait(t)
	// kubelet waits longer with each restart of a container; this may be one of several.
	c.run(t, 3*time.Minute, "bin/kubectl", "wait", "--for", "condition=Ready", "pods", "--all-namespaces",
		"-l", "app.kubernetes.io/name=fairway", "--timeout", "2m")
}

// testRestart: every role is replaced as an upgrade does it, and no request
// fails, through the Ingress neither.
func (c *cluster) testRestart(t *testing.T) {
	t.Cleanup(func() { c.kubectl(t, "delete", "--ignore-not-found", "-f", "examples/quickstart.yaml") })
	c.kubectl(t, "apply", "-f", "examples/quickstart.yaml")
	c.kubectl(t, "rollout", "status", "deployment/hello", "--timeout", "60s")
	c.kubectl(t, "wait", "--for", "jsonpath={.status.loadBalancer.ingress}", "ingress/hello", "--timeout", "10s")
	gateway := c.kubectl(t, "get", "ingress", "hello", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")

	tr := &traffic{c: c}
	tr.ask(30*time.Second, "http://"+gateway+"/hello")
	for _, door := range c.doors(t) {
		tr.ask(30*time.Second, door)
		tr.hold(30*time.Second, door)
	}
	time.Sleep(time.Second)
	c.kubectl(t, "-n", "fairway-system", "rollout", "restart", "daemonset/fairway-agent", "daemonset/fairway-gateway", "deployment/fairway-controller")
	c.kubectl(t, "-n", "kube-system", "rollout", "restart", "daemonset/fairway-dns")
	for _, what := range []string{"fairway-system daemonset/fairway-agent", "fairway-system daemonset/fairway-gateway",
		"fairway-system deployment/fairway-controller", "kube-system daemonset/fairway-dns"} {
		var namespace, name string
		fmt.Sscan(what, &namespace, &name)
		c.run(t, 2*time.Minute, "bin/kubectl", "-n", namespace, "rollout", "status", name)
	}
	tr.wait(t)
}
