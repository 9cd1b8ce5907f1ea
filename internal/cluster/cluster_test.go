package cluster

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/testkit"
	"github.com/vishvananda/netlink"
)

// machine is where the clusters of these tests run: this machine's kernel, but
// a network namespace of its own, whose only uplink leads to "outside", another
// namespace. So no packet of a test can reach a real network, and the tests
// see each packet that tries.
//
//	outside 203.0.113.1/24 ── uplink 203.0.113.2/24 machine ── fairwayN ── nodes
type machine struct {
	*testing.T
	ns, outside *testkit.NS
	tools       string
	state       string // FAIRWAY_STATE
	kubeconfig  string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	testkit.NeedRoot(t)
	tools, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"fairway", kubeTool, "containerd-shim-runc-v2"} {
		if _, err := os.Stat(filepath.Join(tools, name)); err != nil {
			t.Fatalf("%v: run \"make build\" first", err)
		}
	}
	m := &machine{T: t, ns: testkit.NewNS(t, "machine"), outside: testkit.NewNS(t, "outside"), tools: tools,
		state: filepath.Join(t.TempDir(), "state"), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "uplink"}, PeerName: "machine", PeerNamespace: netlink.NsFd(m.outside.Fd())}
	must(m.ns.Link.LinkAdd(veth))
	// The kernel's own IPv6 packets would be counted as leaks.
	m.ns.Sysctl("ipv6/conf/uplink/disable_ipv6", "1")
	for _, end := range []struct {
		h          *netlink.Handle
		name, addr string
	}{{m.ns.Link, "uplink", "203.0.113.2/24"}, {m.outside.Link, "machine", "203.0.113.1/24"}} {
		link, err := end.h.LinkByName(end.name)
		must(err)
		addr, err := netlink.ParseAddr(end.addr)
		must(err)
		must(end.h.AddrAdd(link, addr))
		must(end.h.LinkSetUp(link))
	}
	uplink, err := m.ns.Link.LinkByName("uplink")
	must(err)
	must(m.ns.Link.RouteAdd(&netlink.Route{LinkIndex: uplink.Attrs().Index, Gw: []byte{203, 0, 113, 1}}))
	m.outside.Serve("203.0.113.1:80")
	return m
}

// name is a cluster name that no other run of this test uses at the same time:
// cgroups, other than networks, are the whole machine's.
func (m *machine) name(s string) string { return fmt.Sprintf("test-%s-%d", s, os.Getpid()) }

// try runs a program on the machine and returns all that it printed.
func (m *machine) try(args ...string) (string, error) {
	m.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var out bytes.Buffer
	err := m.ns.Do(func() error {
		cmd := exec.CommandContext(ctx, filepath.Join(m.tools, args[0]), args[1:]...)
		cmd.Env = append(os.Environ(), "FAIRWAY_STATE="+m.state, "KUBECONFIG="+m.kubeconfig, "SUDO_USER=")
		cmd.Stdout, cmd.Stderr = &out, &out
		return cmd.Run()
	})
	return out.String(), err
}

// part runs a part of a test, on the same machine.
func (m *machine) part(name string, f func(m *machine)) {
	m.Run(name, func(t *testing.T) {
		sub := *m
		sub.T = t
		f(&sub)
	})
}

func (m *machine) run(args ...string) string {
	m.Helper()
	out, err := m.try(args...)
	if err != nil {
		m.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (m *machine) kubectl(name string, args ...string) string {
	m.Helper()
	return m.run(append([]string{"kubectl", "--context", "fairway-" + name}, args...)...)
}

// up starts a cluster without Fairway, which ends with the test.
func (m *machine) up(name string, args ...string) string {
	m.Helper()
	m.Cleanup(func() {
		if _, err := os.Stat(filepath.Join(m.state, name)); err == nil {
			if out, err := m.try("fairway", "down", "--name", name); err != nil {
				m.Errorf("down: %v\n%s", err, out)
			}
		}
	})
	return m.run(append([]string{"fairway", "up", "--bare", "--name", name}, args...)...)
}

func (m *machine) status(name string) *Status {
	m.Helper()
	out, err := m.try("fairway", "status", "--name", name, "-o", "json")
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) { // 1: not all is well
		m.Fatalf("status: %v\n%s", err, out)
	}
	var list []*Status
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 {
		m.Fatalf("status: %v in %s", err, out)
	}
	return list[0]
}

// eventually waits for a condition that others bring about.
func (m *machine) eventually(what string, f func() bool) {
	m.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.Fatalf("not within a minute: %s", what)
		}
	}
}

// traces is everything on the machine that a cluster could leave behind.
func (m *machine) traces() []string {
	m.Helper()
	var out []string
	err := m.ns.Do(func() error {
		for _, args := range [][]string{{"ip", "-o", "link"}, {"ip", "route", "show", "table", "all"}, {"ip", "-6", "route", "show", "table", "all"}, {"ip", "rule"}, {"ip", "-6", "rule"}, {"nft", "list", "ruleset"}, {"sysctl", "net.ipv4.ip_forward"}} {
			text, err := exec.Command(args[0], args[1:]...).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%v: %w: %s", args, err, text)
			}
			for line := range strings.Lines(string(text)) {
				// A link's state settles in its own time; what exists does not.
				line = strings.ReplaceAll(strings.TrimSpace(line), " linkdown", "")
				if args[1] == "-o" {
					line = strings.Fields(line)[1]
				}
				out = append(out, args[0]+": "+line)
			}
		}
		return nil
	})
	if err != nil {
		m.Fatal(err)
	}
	if mounts, err := mountsBelow(m.state); err == nil {
		out = append(out, mounts...)
	}
	hs, err := hierarchies()
	if err != nil {
		m.Fatal(err)
	}
	for _, h := range hs {
		dirs, _ := filepath.Glob(filepath.Join(h.Mount, "fairway", "test-*"))
		out = append(out, dirs...)
	}
	if _, err := os.Stat(m.state); err == nil {
		out = append(out, m.state)
	}
	return out
}

// TestLife is the life of a cluster, of both address families, from nothing to
// nothing.
func TestLife(t *testing.T) {
	m := newMachine(t)
	before := m.traces()
	name := m.name("life")
	m.up(name, "--ip-family", "dual")

	m.part("control plane", func(m *machine) { checkControlPlane(m, name) })
	m.part("pods", func(m *machine) { checkPods(m, name) })
	m.part("images", func(m *machine) { checkImages(m, name) })
	m.part("fence", func(m *machine) { checkFence(m, name) })
	m.part("up again changes nothing", func(m *machine) {
		pid := m.status(name).Nodes[0].PID
		if out := m.run("fairway", "up", "--bare", "--name", name); !strings.Contains(out, "nothing to do") {
			m.Errorf("up said %q", out)
		}
		if again := m.status(name).Nodes[0].PID; again != pid {
			m.Errorf("node1 was started again: %d, %d", pid, again)
		}
	})
	m.part("another configuration is refused", func(m *machine) {
		if out, err := m.try("fairway", "up", "--bare", "--name", name, "--nodes", "3"); err == nil || !strings.Contains(out, "fairway down") {
			m.Errorf("up with 3 nodes: %v, %s", err, out)
		}
	})
	m.part("second cluster", func(m *machine) { checkSecond(m, name) })
	m.part("component ends", func(m *machine) { checkRestart(m, name) })
	m.part("everything is killed", func(m *machine) { checkRecovery(m, name) })

	m.run("fairway", "down", "--name", name)
	if after := m.traces(); !slices.Equal(before, after) {
		m.Errorf("down left or took something; before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	if config, err := os.ReadFile(m.kubeconfig); err != nil || strings.Contains(string(config), name) {
		m.Errorf("kubeconfig still has the cluster (%v):\n%s", err, config)
	}
	if out, err := m.try("fairway", "down", "--name", name); err == nil || !strings.Contains(out, "no such cluster") {
		m.Errorf("second down: %v, %s", err, out)
	}
}

func checkControlPlane(m *machine, name string) {
	if out := m.kubectl(name, "get", "--raw", "/readyz"); out != "ok" {
		m.Errorf("readyz: %s", out)
	}
	out := m.kubectl(name, "version", "-o", "json")
	if n := strings.Count(out, `"gitVersion": "v1.36.3"`); n != 2 {
		m.Errorf("version of client and server, %d times v1.36.3:\n%s", n, out)
	}
	// Nobody without a certificate is let in, not even to look.
	s := m.status(name)
	if code, err := m.anonymous(s.Server, "/version"); err != nil || code != http.StatusUnauthorized {
		m.Errorf("anonymous request: %d, %v, want 401", code, err)
	}
	// A node's identity may see its own things and no others.
	kubelet := filepath.Join(m.state, name, "nodes/node2/etc/kubernetes/kubelet.kubeconfig")
	if out, err := m.try("kubectl", "--kubeconfig="+kubelet, "get", "secrets", "-A"); err == nil || !strings.Contains(out, "Forbidden") {
		m.Errorf("a kubelet lists secrets: %v, %s", err, out)
	}
	if out, err := m.try("kubectl", "--kubeconfig="+kubelet, "label", "node", "node1", "a=b"); err == nil {
		m.Errorf("a kubelet labels another node: %s", out)
	}
	m.eventually("two nodes with pod ranges", func() bool {
		return strings.Count(m.kubectl(name, "get", "nodes", "-o", `jsonpath={range .items[*]}{.spec.podCIDR}{"\n"}{end}`), "/24") == 2
	})
	keys := 0
	err := filepath.WalkDir(filepath.Join(m.state, name), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !(strings.HasSuffix(path, ".key") || strings.HasSuffix(path, "kubeconfig")) {
			return nil // files of running programs come and go
		}
		keys++
		if info, err := d.Info(); err == nil && info.Mode().Perm() != 0o600 {
			m.Errorf("%s has mode %v", path, info.Mode())
		}
		return nil
	})
	if err != nil || keys < 10 {
		m.Errorf("found %d keys (%v)", keys, err)
	}
	for _, n := range s.Nodes {
		out := m.run("fairway", "node", "exec", "--name", name, n.Name, "--", "sh", "-c", "hostname; cat /proc/sys/vm/overcommit_memory; tail -1 /proc/self/cgroup")
		if want := fmt.Sprintf("%s\n1\n0::/fairway/%s/%s/system\n", n.Name, name, n.Name); out != want {
			m.Errorf("in %s: %q, want %q", n.Name, out, want)
		}
	}
	_, err = m.try("fairway", "node", "exec", "--name", name, "node1", "--", "sh", "-c", "exit 7")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		m.Errorf("exit code of node exec: %v, want 7", err)
	}
}

// anonymous asks the API server without saying who it is.
func (m *machine) anonymous(server, path string) (status int, err error) {
	raw, err := m.ns.Dial(nil, "tcp", strings.TrimPrefix(server, "https://"), "")
	if err != nil {
		return 0, err
	}
	defer raw.Close()
	req, err := http.NewRequest(http.MethodGet, server+path, nil)
	if err != nil {
		return 0, err
	}
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	if err := req.Write(conn); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// pods need no pod network: they use their node's.
const pods = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: echo}
spec:
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      hostNetwork: true
      hostPID: true
      tolerations: [{operator: Exists}] # without a pod network no node is Ready
      containers:
      - name: echo
        image: fairway.dev/echo:latest
        imagePullPolicy: IfNotPresent
        env: [{name: PORT, value: "8099"}]
        securityContext: {privileged: true}
        readinessProbe: {httpGet: {path: /healthz, port: 8099}, periodSeconds: 1}
        volumeMounts:
        - {name: bpf, mountPath: /sys/fs/bpf, mountPropagation: Bidirectional}
        - {name: netns, mountPath: /var/run/netns, mountPropagation: HostToContainer}
        - {name: cni, mountPath: /host/opt/cni/bin}
        - {name: proc, mountPath: /host/proc}
      volumes:
      - {name: bpf, hostPath: {path: /sys/fs/bpf}}
      - {name: netns, hostPath: {path: /var/run/netns}}
      - {name: cni, hostPath: {path: /opt/cni/bin}}
      - {name: proc, hostPath: {path: /proc}}
`

func checkPods(m *machine, name string) {
	file := filepath.Join(m.TempDir(), "pods.yaml")
	if err := os.WriteFile(file, []byte(pods), 0o600); err != nil {
		m.Fatal(err)
	}
	m.kubectl(name, "apply", "-f", file)
	m.eventually("a pod on each node", func() bool {
		return m.kubectl(name, "get", "ds", "echo", "-o", "jsonpath={.status.numberReady}") == "2"
	})
	for _, n := range m.status(name).Nodes {
		if out := m.run("echo", "get", "http://"+n.Address+":8099/from-the-machine"); !strings.Contains(out, "/from-the-machine") {
			m.Errorf("%s answers the machine %q", n.Name, out)
		}
	}
	pod := strings.Fields(m.kubectl(name, "get", "pods", "-l", "app=echo", "-o", "name"))[0]
	if out := m.kubectl(name, "logs", pod); !strings.Contains(out, "8099") {
		m.Errorf("logs: %q", out)
	}
	if out := m.kubectl(name, "exec", pod, "--", "/echo", "get", "http://127.0.0.1:8099/hello"); !strings.Contains(out, "/hello") {
		m.Errorf("exec: %q", out)
	}
	// A file of an image archive gets to all nodes.
	if out := m.run("fairway", "image", "load", "--name", name, filepath.Join(m.state, name, "images/builtin.tar")); !strings.Contains(out, echoImage) {
		m.Errorf("image load: %q", out)
	}
}

// checkFence: with forwarding on, and a default route to follow, nothing of the
// cluster gets out.
func checkFence(m *machine, name string) {
	m.ns.Sysctl("ipv4/ip_forward", "1")
	defer m.ns.Sysctl("ipv4/ip_forward", "0")
	sent := func() uint64 {
		link, err := m.ns.Link.LinkByName("uplink")
		if err != nil {
			m.Fatal(err)
		}
		return link.Attrs().Statistics.TxPackets
	}
	before := sent()
	connect := func(addr string) (string, error) {
		return m.try("fairway", "node", "exec", "--name", name, "node1", "--", "bash", "-c", "exec 3<>/dev/tcp/"+addr)
	}
	for _, addr := range []string{"203.0.113.1/80", "198.18.200.1/80", "198.19.0.99/80", "2001:db8::1/80", "2001:2:0:8077::1/80", "2001:2:0:9000::99/80"} {
		if out, err := connect(addr); err == nil || !strings.Contains(out, "unreachable") && !strings.Contains(out, "No route to host") {
			m.Errorf("from node1 to %s: %v, %q, want unreachable", addr, err, out)
		}
	}
	// Even a node that would use the machine as its router gets nowhere.
	m.run("fairway", "node", "exec", "--name", name, "node1", "--", "ip", "route", "add", "203.0.113.0/24", "via", strings.TrimSuffix(m.status(name).Nodes[0].Address, "2")+"1")
	if out, err := connect("203.0.113.1/80"); err == nil {
		m.Errorf("through the machine: %q", out)
	}
	m.run("fairway", "node", "exec", "--name", name, "node1", "--", "ip", "route", "del", "203.0.113.0/24")
	// And the machine itself sends nothing of the cluster's ranges up.
	for _, addr := range []string{"198.18.200.1", "198.19.0.99", "[2001:2:0:8077::1]", "[2001:2:0:9000::99]"} {
		if conn, err := m.ns.Dial(nil, "tcp", addr+":80", ""); err == nil {
			m.Errorf("the machine reaches %s: %v", addr, conn)
		}
	}
	if after := sent(); after != before {
		m.Errorf("%d packets left by the uplink", after-before)
	}
}

func checkSecond(m *machine, first string) {
	second := m.name("second")
	m.up(second, "--nodes", "1")
	a, b := m.status(first), m.status(second)
	if a.Server == b.Server || a.Pools == b.Pools {
		m.Errorf("both clusters have %s and %s", a.Server, a.Pools)
	}
	for _, s := range []*Status{a, b} {
		if out := m.kubectl(s.Name, "get", "--raw", "/readyz"); out != "ok" {
			m.Errorf("readyz of %s: %s", s.Name, out)
		}
	}
	// The same name under another state directory is somebody else's.
	own := m.state
	m.state = filepath.Join(m.TempDir(), "state")
	if out, err := m.try("fairway", "up", "--bare", "--name", second, "--nodes", "1"); err == nil || !strings.Contains(out, "FAIRWAY_STATE="+own) {
		m.Errorf("up of another's cluster: %v, %s", err, out)
	}
	m.state = own
	m.run("fairway", "down", "--name", second)
	if out := m.kubectl(a.Name, "get", "--raw", "/readyz"); out != "ok" {
		m.Errorf("after the other's down: %s", out)
	}
}

func checkRestart(m *machine, name string) {
	find := func(node, what string) int {
		for _, p := range m.status(name).Processes {
			if p.Node == node && p.Name == what {
				return p.PID
			}
		}
		return 0
	}
	// While a node's init is about to restart a component, `up` waits for
	// that instead of starting the cluster anew.
	node1 := m.status(name).Nodes[0].PID
	if err := syscall.Kill(find("node1", "kube-apiserver"), syscall.SIGKILL); err != nil {
		m.Fatal(err)
	}
	if out := m.run("fairway", "up", "--bare", "--name", name); strings.Contains(out, "start nodes") {
		m.Errorf("up started nodes:\n%s", out)
	}
	if again := m.status(name).Nodes[0].PID; again != node1 {
		m.Errorf("node1 was started again: %d, %d", node1, again)
	}

	kubelet := find("node2", "kubelet")
	if kubelet == 0 {
		m.Fatal("node2 has no kubelet")
	}
	if err := syscall.Kill(kubelet, syscall.SIGKILL); err != nil {
		m.Fatal(err)
	}
	m.eventually("a new kubelet", func() bool { pid := find("node2", "kubelet"); return pid != 0 && pid != kubelet })
	node2 := m.status(name).Nodes[1]
	if !slices.ContainsFunc(node2.Components, func(c ComponentStatus) bool { return c.Name == "kubelet" && c.Restarts == 1 }) {
		m.Errorf("status does not tell of the restart: %+v", node2.Components)
	}
	// The same for a whole node: its init is its power supply.
	if err := syscall.Kill(node2.PID, syscall.SIGKILL); err != nil {
		m.Fatal(err)
	}
	m.eventually("node2 is back", func() bool {
		n := m.status(name).Nodes[1]
		return n.PID != 0 && n.PID != node2.PID && find("node2", "kubelet") != 0
	})
}

// checkRecovery: killing everything is what a power failure does, less the
// disk. The objects are there afterwards.
func checkRecovery(m *machine, name string) {
	m.kubectl(name, "create", "configmap", "kept", "--from-literal=a=b")
	for _, p := range m.status(name).Processes {
		_ = syscall.Kill(p.PID, syscall.SIGKILL) // the rest may have died with the first
	}
	m.eventually("all are dead", func() bool { return len(m.status(name).Processes) == 0 })
	if s := m.status(name); s.Running || s.API {
		m.Errorf("status after the kill: %+v", s)
	}
	m.run("fairway", "up", "--bare", "--name", name)
	if out := m.kubectl(name, "get", "configmap", "kept", "-o", "jsonpath={.data.a}"); out != "b" {
		m.Errorf("ConfigMap: %q", out)
	}
	m.eventually("pods run again", func() bool {
		n := 0
		for _, p := range m.status(name).Processes {
			if p.Name == "echo" {
				n++
			}
		}
		return n == 2
	})
}

// addIPv6 gives the machine an uplink of IPv6 and makes it a router.
func (m *machine) addIPv6() {
	m.Helper()
	m.ns.Sysctl("ipv6/conf/uplink/disable_ipv6", "0")
	m.ns.Sysctl("ipv6/conf/all/forwarding", "1")
	for _, end := range []struct {
		ns         *testkit.NS
		name, addr string
	}{{m.ns, "uplink", "2001:db8::2/64"}, {m.outside, "machine", "2001:db8::1/64"}} {
		link, err := end.ns.Link.LinkByName(end.name)
		if err == nil {
			err = end.ns.Link.AddrAdd(link, testkit.Addr(m, end.addr))
		}
		if err != nil {
			m.Fatal(err)
		}
	}
	if err := m.ns.Link.RouteAdd(&netlink.Route{Gw: net.ParseIP("2001:db8::1")}); err != nil {
		m.Fatal(err)
	}
	m.outside.Serve("[2001:db8::1]:80")
}

// TestEgress: with --egress nat a node reaches what the machine reaches, by the
// machine's address of each family, and the machine's settings are restored.
func TestEgress(t *testing.T) {
	m := newMachine(t)
	m.addIPv6()
	before := m.traces()
	name := m.name("egress")
	m.up(name, "--nodes", "1", "--egress", "nat", "--ip-family", "dual")
	six := m.run("fairway", "node", "exec", "--name", name, "node1", "--", "bash", "-c", "exec 3<>/dev/tcp/2001:db8::1/80; echo hello >&3; timeout 5 head -1 <&3")
	if !strings.Contains(six, "2001:db8::2") {
		t.Errorf("the answer from outside %q does not name the machine's address", six)
	}
	if out, err := m.try("fairway", "node", "exec", "--name", name, "node1", "--", "bash", "-c", "exec 3<>/dev/tcp/2001:2:0:9000::99/80"); err == nil {
		t.Errorf("an unknown Service address leads somewhere: %s", out)
	}
	out := m.run("fairway", "node", "exec", "--name", name, "node1", "--", "bash", "-c", "exec 3<>/dev/tcp/203.0.113.1/80; echo hello >&3; timeout 5 head -1 <&3")
	if !strings.Contains(out, "203.0.113.2") {
		t.Errorf("the answer from outside %q does not name the machine's address", out)
	}
	if out, err := m.try("fairway", "node", "exec", "--name", name, "node1", "--", "bash", "-c", "exec 3<>/dev/tcp/198.19.0.99/80"); err == nil {
		t.Errorf("an unknown Service address leads somewhere: %s", out)
	}
	checkMirror(m, name)
	m.run("fairway", "down", "--name", name)
	if after := m.traces(); !slices.Equal(before, after) {
		t.Errorf("down left or took something; before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
}
