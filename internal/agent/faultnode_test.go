package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/fairway-net/fairway/internal/cni"
	"github.com/fairway-net/fairway/internal/config"
	"github.com/fairway-net/fairway/internal/report"
	"github.com/fairway-net/fairway/internal/sys"
	"github.com/fairway-net/fairway/internal/testkit"
)

// The world of the fault tests, on addresses for documentation. The agent of
// node1 is a process as in a real cluster; node2 has pods and nothing else.
//
//	            198.51.100.0/24
//	     ┌───────────────┼──────────────┐
//	node1 .1          node2 .2       client .9
//	┌────┴────┐       ┌──┴───┐
//	a1       a2       b1     b2
type faultWorld struct {
	*testing.T
	api          *testkit.API
	node1, node2 *testkit.Node
	client       *testkit.Host
	pods         map[string]*faultPod
	agent        *agentProcess
	cgroup       string // of node1
	dir          string // of what the agent puts into files
	bpffs        string
}

// faultPod is an endpoint.
type faultPod struct {
	*testkit.NS
	node string
	ip   netip.Addr
}

const (
	agentEnv  = "FAIRWAY_TEST_AGENT"
	apiAddr   = "127.0.0.1:6443"
	agentAddr = "127.0.0.1:9465"
	vip       = "10.96.0.1:80"
	nodePort1 = "198.51.100.1:30080"
)

// agentSpec is what the process of an agent is told.
type agentSpec struct {
	BPFFS, Dir, Layout string
	Program            string // "": this one
	Break              string // what is to go wrong: see tweaks
}

// TestMain is also the main function of the processes that tests start.
func TestMain(m *testing.M) {
	if testkit.RunLoad() {
		return
	}
	if text := os.Getenv(controllerEnv); text != "" {
		runControllerProcess(text)
	}
	if text := os.Getenv(agentEnv); text != "" {
		runAgentProcess(text)
	}
	os.Exit(m.Run())
}

func runAgentProcess(text string) {
	var s agentSpec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		panic(err)
	}
	err := RunNode(context.Background(), NodeOptions{
		Config: config.Config{ServiceCIDRs: []netip.Prefix{pfx("10.96.0.0/16")}},
		Rest:   &rest.Config{Host: "http://" + apiAddr}, Node: "node1",
		Socket: filepath.Join(s.Dir, "cni.sock"), Records: filepath.Join(s.Dir, "records"), BPF: filepath.Join(s.BPFFS, "fairway"),
		Plugin: Plugin{Program: "/proc/self/exe", BinDir: filepath.Join(s.Dir, "bin"), ConfigDir: filepath.Join(s.Dir, "conf")},
		Health: agentAddr, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		tweak: tweaks(s), findCgroup: cgroupOf(s),
	})
	fmt.Fprintln(os.Stderr, "agent ended:", err)
	os.Exit(1)
}

// cgroupOf finds the node's cgroup as agents do or, for "no cgroup", once a file
// names it.
func cgroupOf(s agentSpec) func() (string, error) {
	if s.Break != "no cgroup" {
		return sys.NodeCgroup
	}
	return func() (string, error) {
		dir, err := os.ReadFile(filepath.Join(s.Dir, "cgroup"))
		if err != nil {
			return "", errors.New("find own cgroup: this system has no cgroup v2 hierarchy")
		}
		return string(dir), nil
	}
}

func newFaultWorld(t *testing.T) *faultWorld {
	t.Helper()
	testkit.NeedRoot(t)
	net := testkit.NewNetwork(t)
	w := &faultWorld{T: t, api: testkit.NewAPI(t), dir: t.TempDir(), bpffs: testkit.BPFFS(t), pods: map[string]*faultPod{}}
	w.node1 = net.Node("node1", []string{"198.51.100.1/24"}, "10.1.1.0/24")
	w.node2 = net.Node("node2", []string{"198.51.100.2/24"}, "10.1.2.0/24")
	w.client = net.Host("client", "198.51.100.9/24")
	w.node2.Route("10.1.1.0/24", "198.51.100.1")
	w.cgroup = nodeCgroup(t)
	for _, d := range []string{"bin", "conf"} {
		if err := os.Mkdir(filepath.Join(w.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.api.Set("namespaces", testkit.Object{"metadata": testkit.Object{"name": "test"}})
	w.api.Set("nodes", node("node1", "198.51.100.1", "10.1.1.0/24"), node("node2", "198.51.100.2", "10.1.2.0/24"))
	w.api.Start(w.node1.NS, apiAddr)
	return w
}

// start starts the agent and gives the node its pods and its Service.
func (w *faultWorld) start() {
	w.Helper()
	w.agent = w.startAgent(agentSpec{})
	w.agent.awaitReady()
	for _, name := range []string{"a1", "a2"} {
		w.addPod(name)
	}
	for _, name := range []string{"b1", "b2"} {
		p := w.node2.Pod(name)
		w.pods[name] = &faultPod{p.NS, "node2", p.IPs[0]}
		w.running(name)
	}
	for _, p := range w.pods {
		p.Serve(":8080")
	}
	w.api.Set("services", w.service("web", vip, 30080))
	w.endpoints("web", "a1", "a2", "b1", "b2")
	w.await("the Service", func() bool {
		_, err := w.client.AskWithin(nil, "tcp", nodePort1, time.Second)
		return err == nil
	})
}

// nodeCgroup makes a cgroup as a node's, with one below kubepods for the agent
// and for the pods, which is where the agent looks for its node's.
func nodeCgroup(t *testing.T) string {
	t.Helper()
	c := testkit.NewCgroup(t, "node1")
	for _, d := range []string{"kubepods", "kubepods/agent", "kubepods/pods"} {
		dir := filepath.Join(c.Dir, d)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			for range 100 { // processes leave it in their own time
				if os.Remove(dir) == nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	return c.Dir
}

func meta(name string) testkit.Object {
	return testkit.Object{"name": name, "namespace": "test", "uid": name, "creationTimestamp": time.Now().UTC().Format(time.RFC3339)}
}

func node(name, ip, cidr string) testkit.Object {
	return testkit.Object{"metadata": testkit.Object{"name": name, "uid": name}, "spec": testkit.Object{"podCIDR": cidr, "podCIDRs": []string{cidr}},
		"status": testkit.Object{"addresses": []testkit.Object{{"type": "InternalIP", "address": ip}}}}
}

func (w *faultWorld) service(name, addr string, nodePort int) testkit.Object {
	a := netip.MustParseAddrPort(addr)
	port := testkit.Object{"name": "web", "protocol": "TCP", "port": a.Port(), "targetPort": 8080}
	kind := "ClusterIP"
	if nodePort != 0 {
		kind, port["nodePort"] = "NodePort", nodePort
	}
	return testkit.Object{"metadata": meta(name), "spec": testkit.Object{"type": kind, "clusterIP": a.Addr().String(), "clusterIPs": []string{a.Addr().String()}, "ports": []testkit.Object{port}}}
}

// endpoints makes pods the endpoints of a Service.
func (w *faultWorld) endpoints(service string, pods ...string) {
	m := meta(service + "-1")
	m["labels"] = testkit.Object{"kubernetes.io/service-name": service}
	m["annotations"] = testkit.Object{"endpoints.kubernetes.io/last-change-trigger-time": time.Now().UTC().Format(time.RFC3339Nano)}
	eps := []testkit.Object{}
	for _, name := range pods {
		p := w.pods[name]
		eps = append(eps, testkit.Object{"addresses": []string{p.ip.String()}, "nodeName": p.node, "conditions": testkit.Object{"ready": true, "serving": true, "terminating": false}})
	}
	w.api.Set("endpointslices", testkit.Object{"metadata": m, "addressType": "IPv4", "ports": []testkit.Object{{"name": "web", "protocol": "TCP", "port": 8080}}, "endpoints": eps})
}

// addPod attaches a pod to node1 through the CNI plugin.
func (w *faultWorld) addPod(name string) {
	w.Helper()
	ns := testkit.NewNS(w, name)
	w.api.Set("pods", testkit.Object{"metadata": meta(name), "spec": testkit.Object{"nodeName": "node1", "containers": []testkit.Object{{"name": "c"}}}, "status": testkit.Object{"phase": "Pending"}})
	env := map[string]string{
		"CNI_COMMAND": "ADD", "CNI_CONTAINERID": name, "CNI_NETNS": fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.Fd()), "CNI_IFNAME": "eth0",
		"CNI_ARGS": "K8S_POD_NAMESPACE=test;K8S_POD_NAME=" + name + ";K8S_POD_UID=" + name, "CNI_PATH": "/nowhere",
	}
	var out bytes.Buffer
	p := cni.Plugin{Getenv: func(k string) string { return env[k] }, Stdin: strings.NewReader(`{"cniVersion":"1.0.0","name":"fairway","type":"fairway-cni"}`),
		Stdout: &out, Socket: filepath.Join(w.dir, "cni.sock"), Patience: 10 * time.Second}
	if code := p.Run(); code != 0 {
		w.Fatalf("attach %s: %s", name, &out)
	}
	var result struct {
		IPs []struct{ Address netip.Prefix }
	}
	if err := json.Unmarshal(out.Bytes(), &result); err != nil || len(result.IPs) == 0 {
		w.Fatalf("attach %s: %v: %s", name, err, &out)
	}
	w.pods[name] = &faultPod{ns, "node1", result.IPs[0].Address.Addr()}
	w.running(name)
}

// running says of a pod what its kubelet would.
func (w *faultWorld) running(name string) {
	p := w.pods[name]
	w.api.Set("pods", testkit.Object{"metadata": meta(name), "spec": testkit.Object{"nodeName": p.node, "containers": []testkit.Object{{"name": "c"}}},
		"status": testkit.Object{"phase": "Running", "podIP": p.ip.String(), "podIPs": []testkit.Object{{"ip": p.ip.String()}}}})
}

// await waits for something that takes no longer than a few seconds.
func (w *faultWorld) await(what string, done func() bool) {
	w.Helper()
	for deadline := time.Now().Add(60 * time.Second); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("waited in vain for %s; the agent says %q", what, w.agent.get("/readyz"))
		}
	}
}

// load starts new connections from a pod to the Service and from outside to the
// NodePort, rate per second each, and some that stay open.
func (w *faultWorld) load(rate int) []*testkit.Load {
	return []*testkit.Load{
		testkit.StartLoad(w, w.pods["a1"].NS, filepath.Join(w.cgroup, "kubepods/pods"), rate, 4, vip),
		testkit.StartLoad(w, w.pods["a2"].NS, "", rate/10, 4, vip), // which the socket hooks do not see
		testkit.StartLoad(w, w.client.NS, "", rate, 4, nodePort1),
	}
}

// unharmed stops loads and fails the test if a connection did.
func (w *faultWorld) unharmed(loads []*testkit.Load) {
	w.Helper()
	for _, l := range loads {
		if r := l.Stop(); r.Done < 5 || len(r.Failed) > 0 || len(r.Held) > 0 {
			w.Errorf("%d connections, failed: %v, broken: %v", r.Done, r.Failed, r.Held)
		}
	}
}

// agentProcess is an agent in a process of its own.
type agentProcess struct {
	w   *faultWorld
	cmd *exec.Cmd
	log *testkit.Text
}

func (w *faultWorld) startAgent(s agentSpec) *agentProcess {
	w.Helper()
	if s.BPFFS == "" {
		s.BPFFS = w.bpffs
	}
	s.Dir = w.dir
	text, err := json.Marshal(s)
	if err != nil {
		w.Fatal(err)
	}
	a := &agentProcess{w: w, cmd: testkit.Reexec(w, w.node1.NS, filepath.Join(w.cgroup, "kubepods/agent"), agentEnv+"="+string(text)), log: &testkit.Text{}}
	if s.Program != "" {
		a.cmd.Path = s.Program
	}
	a.cmd.Stderr = io.MultiWriter(w.Output(), a.log)
	if err := w.node1.Do(a.cmd.Start); err != nil {
		w.Fatalf("start agent: %v", err)
	}
	w.Cleanup(a.kill)
	return a
}

// kill is kill -9.
func (a *agentProcess) kill() {
	a.cmd.Process.Kill()
	a.cmd.Wait()
}

// get asks the agent; "" if it does not answer.
func (a *agentProcess) get(path string) string {
	var conn net.Conn
	c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, Dial: func(network, addr string) (net.Conn, error) {
		err := a.w.node1.Do(func() (err error) { conn, err = net.DialTimeout(network, addr, time.Second); return err })
		return conn, err
	}}}
	resp, err := c.Get("http://" + agentAddr + path)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

func (a *agentProcess) awaitReady() {
	a.w.Helper()
	a.w.agent = a
	a.w.await("the agent to be ready", func() bool { return a.get("/readyz") == "ok\n" })
}

// kernel is what the agent reads in the kernel.
func (a *agentProcess) kernel() report.Node {
	a.w.Helper()
	var n report.Node
	text := a.get("/services")
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		a.w.Fatalf("%v in %q", err, text)
	}
	return n
}

// backends are those that clients of the node get at an address.
func (a *agentProcess) backends(addr string) []netip.AddrPort {
	for _, e := range a.kernel().Entries {
		if e.Address.String() == addr {
			return e.Internal
		}
	}
	return nil
}

// metric returns the value of one figure, written with its labels.
func (a *agentProcess) metric(name string) float64 {
	for line := range strings.Lines(a.get("/metrics")) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			var v float64
			fmt.Sscan(value, &v)
			return v
		}
	}
	return -1
}
