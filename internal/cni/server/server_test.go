package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/fairway-net/fairway/internal/apply/netdev"
	"github.com/fairway-net/fairway/internal/cni"
	"github.com/fairway-net/fairway/internal/model"
)

// TestMain runs the tests in a network namespace of their own, the "node",
// which has no device but loopback: all that happens here stays here.
//
//	pod a ── eth0 ── fw… ┐
//	                     ├ node (this process)
//	pod b ── eth0 ── fw… ┘
func TestMain(m *testing.M) {
	const inside = "FAIRWAY_TEST_IN_NETNS"
	if os.Geteuid() != 0 || os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			fmt.Fprintln(os.Stderr, "enter network namespace:", err)
		}
		os.Exit(1)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
}

// kernel is a Datapath that checks the order of calls and remembers pods.
type kernel struct {
	t    *testing.T
	mu   sync.Mutex
	pods map[int]model.Name
	fail error
}

func (k *kernel) Attach(rec Record) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return k.fail
	}
	link, err := netlink.LinkByIndex(rec.IfIndex)
	if err != nil {
		k.t.Errorf("attach of %v to ifindex %d: %v", rec.Pod, rec.IfIndex, err)
		return err
	}
	if _, again := k.pods[rec.IfIndex]; !again && link.Attrs().Flags&net.FlagUp != 0 {
		k.t.Errorf("link of %v is up before the datapath is attached", rec.Pod)
	}
	k.pods[rec.IfIndex] = rec.Pod
	return nil
}

func (k *kernel) Detach(rec Record) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.pods, rec.IfIndex)
	return nil
}

func newKernel(t *testing.T) *kernel { return &kernel{t: t, pods: map[int]model.Name{}} }

func newServer(t *testing.T, dir string, k *kernel, cidrs ...string) *Server {
	t.Helper()
	var pods []netip.Prefix
	for _, c := range cidrs {
		pods = append(pods, netip.MustParsePrefix(c))
	}
	s, err := New(Options{
		Dir: dir, PodCIDRs: pods, MTU: 1400, Datapath: k,
		AwaitPolicy: func(context.Context, model.Name, string) {},
		Log:         slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newPod returns a new network namespace; within runs f with a thread in it.
func newPod(t *testing.T) *os.File {
	t.Helper()
	var f *os.File
	thread(t, func() error {
		h, err := netns.New()
		f = os.NewFile(uintptr(h), "netns")
		return err
	})
	t.Cleanup(func() { f.Close() })
	return f
}

func within(t *testing.T, ns *os.File, f func() error) {
	t.Helper()
	thread(t, func() error {
		if err := netns.Set(netns.NsHandle(ns.Fd())); err != nil {
			return err
		}
		return f()
	})
}

// thread runs f on a thread that ends with it, so that f may change the thread.
func thread(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is not used again
		done <- f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func request(command, id string) *cni.Request {
	return &cni.Request{
		Command: command, ContainerID: id, IfName: "eth0", Netns: "/run/netns/" + id,
		Args:   "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod-" + id + ";K8S_POD_UID=" + uid(id),
		Config: []byte(`{"cniVersion":"1.1.0","name":"fairway","type":"fairway-cni"}`),
	}
}

// uid is one in the form of the API's.
func uid(id string) string {
	return fmt.Sprintf("00000000-0000-0000-0000-%012x", len(id)*251+int(id[0]))
}

func add(t *testing.T, s *Server, id string, ns *os.File) netip.Addr {
	t.Helper()
	res, err := s.Add(t.Context(), request(cni.Add, id), ns)
	if err != nil {
		t.Fatalf("ADD %s: %v", id, err)
	}
	t.Cleanup(func() { _ = s.Del(request(cni.Del, id)) })
	return netip.MustParsePrefix(res.IPs[0].Address).Addr()
}

func TestPodsReachEachOther(t *testing.T) {
	for _, cidr := range []string{"10.244.7.0/24", "fd00:7::/64"} {
		t.Run(cidr, func(t *testing.T) {
			needRoot(t)
			if err := netdev.ApplySysctls("/proc/sys", "lo", true); err != nil {
				t.Fatal(err)
			}
			s := newServer(t, t.TempDir(), newKernel(t), cidr)
			a, b := newPod(t), newPod(t)
			ipA, ipB := add(t, s, "a", a), add(t, s, "b", b)
			listenAndDial(t, a, b, ipA, ipB)
			if err := s.Check(request(cni.Check, "a"), a); err != nil {
				t.Errorf("CHECK: %v", err)
			}
			if err := s.Check(request(cni.Check, "b"), a); err == nil {
				t.Error("CHECK of b passes in the namespace of a")
			}
			within(t, a, func() error {
				eth0, err := netlink.LinkByName("eth0")
				if err == nil && eth0.Attrs().MTU != 1400 {
					t.Errorf("MTU in the pod is %d, want that of the uplink", eth0.Attrs().MTU)
				}
				return err
			})
		})
	}
}

// TestPodsOfBothFamilies: one address of each, in the order of the node's
// ranges, and at once; also where the administrator has IPv6 off for whatever is
// new.
func TestPodsOfBothFamilies(t *testing.T) {
	needRoot(t)
	off := func(value string) error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte(value), 0o644)
	}
	for _, disabled := range []string{"0", "1"} {
		t.Run("disable_ipv6="+disabled, func(t *testing.T) {
			if err := netdev.ApplySysctls("/proc/sys", "lo", true); err != nil {
				t.Fatal(err)
			}
			if err := off(disabled); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = off("0") })
			s := newServer(t, t.TempDir(), newKernel(t), "10.244.7.0/24", "fd00:7::/64")
			pods := map[string]*os.File{"a": newPod(t), "b": newPod(t)}
			ips := map[string][]netip.Addr{}
			for _, id := range []string{"a", "b"} {
				within(t, pods[id], func() error { return off(disabled) })
				res, err := s.Add(t.Context(), request(cni.Add, id), pods[id])
				if err != nil {
					t.Fatalf("ADD %s: %v", id, err)
				}
				t.Cleanup(func() { _ = s.Del(request(cni.Del, id)) })
				for _, ip := range res.IPs {
					ips[id] = append(ips[id], netip.MustParsePrefix(ip.Address).Addr())
				}
				if len(ips[id]) != 2 || !ips[id][0].Is4() || !ips[id][1].Is6() || len(res.Routes) != 2 {
					t.Fatalf("pod %s has %v and routes %v, want both families, IPv4 first", id, ips[id], res.Routes)
				}
			}
			for i := range 2 {
				listenAndDial(t, pods["a"], pods["b"], ips["a"][i], ips["b"][i])
			}
		})
	}
}

// listenAndDial checks that a reaches b, and that b sees a's address.
func listenAndDial(t *testing.T, a, b *os.File, ipA, ipB netip.Addr) {
	t.Helper()
	var l net.Listener
	within(t, b, func() (err error) { l, err = net.Listen("tcp", netip.AddrPortFrom(ipB, 80).String()); return })
	defer l.Close()
	from := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			from <- err.Error()
			return
		}
		from <- c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().String()
		c.Close()
	}()
	within(t, a, func() error {
		c, err := net.DialTimeout("tcp", l.Addr().String(), 2*time.Second)
		if err == nil {
			c.Close()
		}
		return err
	})
	if got := <-from; got != ipA.String() {
		t.Errorf("pod b sees %s, want pod a's %v", got, ipA)
	}
}

func TestRestart(t *testing.T) {
	needRoot(t)
	dir, k := t.TempDir(), newKernel(t)
	s := newServer(t, dir, k, "10.244.7.0/24")
	stay, leave := newPod(t), newPod(t)
	ipStay, ipLeave := add(t, s, "stay", stay), add(t, s, "leave", leave)

	// The agent is gone; one pod's namespace goes, and its DEL finds nobody.
	within(t, leave, func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkDel(link)
	})
	k2 := newKernel(t)
	k2.pods = k.pods // pinned
	s2 := newServer(t, dir, k2, "10.244.7.0/24")
	if len(k2.pods) != 1 {
		t.Errorf("the datapath has %v after the restart, want one pod", k2.pods)
	}
	recs := s2.Records()
	if len(recs) != 1 || recs[0].IPs[0] != ipStay || recs[0].UID != uid("stay") {
		t.Fatalf("records %+v, want that of the pod that stayed", recs)
	}
	if used := s2.pool.Used(); len(used) != 1 || used[0] != ipStay {
		t.Errorf("used %v, want %v; %v was leaked", used, ipStay, ipLeave)
	}
	if got := add(t, s2, "new", newPod(t)); got == ipStay {
		t.Errorf("the new pod has the address of a living one")
	}
	if err := s2.Del(request(cni.Del, "leave")); err != nil {
		t.Errorf("late DEL: %v", err)
	}
}

// A directory that was emptied under us must not lead to an address given twice.
func TestLostRecordsKeepTheirAddresses(t *testing.T) {
	needRoot(t)
	s := newServer(t, t.TempDir(), newKernel(t), "10.244.7.0/29")
	old := add(t, s, "old", newPod(t))
	s2 := newServer(t, t.TempDir(), newKernel(t), "10.244.7.0/29")
	for i := range 5 {
		if got := add(t, s2, fmt.Sprint("new", i), newPod(t)); got == old {
			t.Fatalf("%v given twice", old)
		}
	}
	if _, err := s2.Add(t.Context(), request(cni.Add, "one more"), newPod(t)); err == nil {
		t.Error("a sixth pod got an address; only that of the old one was left")
	}
	if err := s2.Del(request(cni.Del, "old")); err != nil {
		t.Fatal(err)
	}
	if err := s2.Reconcile(); err != nil {
		t.Fatal(err)
	}
	if got := add(t, s2, "last", newPod(t)); got != old {
		t.Errorf("got %v, want the address of the pod that is gone, %v", got, old)
	}
}

func TestFailedAddLeavesNothing(t *testing.T) {
	needRoot(t)
	k := newKernel(t)
	s := newServer(t, t.TempDir(), k, "10.244.7.0/24")
	k.fail = errors.New("no program today")
	ns := newPod(t)
	if _, err := s.Add(t.Context(), request(cni.Add, "a"), ns); err == nil || !strings.Contains(err.Error(), "no program today") {
		t.Fatalf("ADD: %v, want the datapath's error", err)
	}
	if exists, err := netdev.Exists(netdev.HostName("a", "eth0")); exists || err != nil {
		t.Errorf("the link is still there (%v)", err)
	}
	if len(s.pool.Used()) != 0 || len(s.Records()) != 0 {
		t.Errorf("left over: addresses %v, records %v", s.pool.Used(), s.Records())
	}
	k.fail = nil
	add(t, s, "a", ns) // and the runtime's next attempt works
}

func TestAddTwiceAndDelTwice(t *testing.T) {
	needRoot(t)
	s := newServer(t, t.TempDir(), newKernel(t), "10.244.7.0/24")
	ns := newPod(t)
	add(t, s, "a", ns)
	add(t, s, "a", ns)
	if len(s.pool.Used()) != 1 {
		t.Errorf("used %v after a repeated ADD, want one address", s.pool.Used())
	}
	for range 2 {
		if err := s.Del(request(cni.Del, "a")); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.pool.Used()) != 0 || len(s.Records()) != 0 || len(s.locks.held) != 0 {
		t.Errorf("left over: addresses %v, records %v, locks %v", s.pool.Used(), s.Records(), s.locks.held)
	}
}

func TestGCAndReconcile(t *testing.T) {
	needRoot(t)
	s := newServer(t, t.TempDir(), newKernel(t), "10.244.7.0/24")
	for _, id := range []string{"a", "b", "c"} {
		add(t, s, id, newPod(t))
	}
	if err := netdev.Delete(netdev.HostName("b", "eth0")); err != nil {
		t.Fatal(err)
	}
	if err := s.Reconcile(); err != nil || len(s.Records()) != 2 {
		t.Errorf("after reconciling a lost link: %v, %v", s.Records(), err)
	}
	if err := s.GC([]cni.Attachment{{ContainerID: "c", IfName: "eth0"}}); err != nil {
		t.Fatal(err)
	}
	if recs := s.Records(); len(recs) != 1 || recs[0].ContainerID != "c" {
		t.Errorf("after GC: %v, want c", recs)
	}
}

// plugin runs the plugin as the runtime would, against socket.
func plugin(t *testing.T, socket, command string, ns *os.File) (out string, code int) {
	t.Helper()
	return patientPlugin(t, socket, command, ns, 0)
}

func patientPlugin(t *testing.T, socket, command string, ns *os.File, patience time.Duration) (out string, code int) {
	t.Helper()
	env := map[string]string{"CNI_COMMAND": command, "CNI_CONTAINERID": "x", "CNI_IFNAME": "eth0",
		"CNI_NETNS": fmt.Sprintf("/proc/self/fd/%d", ns.Fd()), "CNI_ARGS": "K8S_POD_NAMESPACE=default;K8S_POD_NAME=x;K8S_POD_UID=u"}
	var stdout bytes.Buffer
	p := cni.Plugin{Getenv: func(k string) string { return env[k] }, Stdout: &stdout, Socket: socket, Patience: patience,
		Stdin: strings.NewReader(`{"cniVersion":"1.0.0","name":"fairway","type":"fairway-cni"}`)}
	code = p.Run()
	return stdout.String(), code
}

func TestPluginOverSocket(t *testing.T) {
	needRoot(t)
	socket := filepath.Join(t.TempDir(), "cni.sock")
	l, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, t.TempDir(), newKernel(t), "10.244.9.0/24")
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	ns := newPod(t)
	out, code := plugin(t, socket, cni.Add, ns)
	var res cni.Result
	if err := json.Unmarshal([]byte(out), &res); err != nil || code != 0 {
		t.Fatalf("ADD: exit code %d, %v in %s", code, err, out)
	}
	if res.CNIVersion != "1.0.0" || len(res.IPs) != 1 || len(res.Interfaces) != 2 || res.Interfaces[1].Sandbox == "" {
		t.Errorf("ADD: %+v", res)
	}
	for _, command := range []string{cni.Check, cni.Status, cni.Version, cni.Del, cni.Del} {
		if out, code := plugin(t, socket, command, ns); code != 0 {
			t.Errorf("%s: exit code %d, %s", command, code, out)
		}
	}
	if out, code := plugin(t, socket, cni.Check, ns); code == 0 {
		t.Errorf("CHECK passes after DEL: %s", out)
	}
	counts := map[string]string{}
	for _, c := range s.Calls() {
		counts[c.Command] = fmt.Sprint(c.Count, " ", c.Failed)
	}
	if want := map[string]string{cni.Add: "1 0", cni.Check: "2 1", cni.Status: "1 0", cni.Del: "2 0"}; !maps.Equal(counts, want) {
		t.Errorf("calls %v, want %v", counts, want)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
}

// A pod that comes while the agent is started again does not notice: neither
// that nobody listens at first, nor that the first agent dies over the call.
func TestPluginOutlastsARestart(t *testing.T) {
	needRoot(t)
	socket := filepath.Join(t.TempDir(), "cni.sock")
	s := newServer(t, t.TempDir(), newKernel(t), "10.244.9.0/24")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	served := make(chan error, 1)
	go func() {
		time.Sleep(100 * time.Millisecond)
		dying, err := Listen(socket)
		if err == nil {
			var conn net.Conn
			if conn, err = dying.Accept(); err == nil {
				conn.Close()
				dying.Close()
				var l *net.UnixListener
				if l, err = Listen(socket); err == nil {
					err = s.Serve(ctx, l)
				}
			}
		}
		served <- err
	}()
	if out, code := patientPlugin(t, socket, cni.Add, newPod(t), 5*time.Second); code != 0 {
		t.Errorf("ADD: exit code %d, %s", code, out)
	}
	if recs := s.Records(); len(recs) != 1 {
		t.Errorf("records %v, want one", recs)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestPluginWithoutAgent(t *testing.T) {
	needRoot(t)
	socket := filepath.Join(t.TempDir(), "nobody.sock")
	ns := newPod(t)
	out, code := plugin(t, socket, cni.Add, ns)
	var e cni.Error
	if err := json.Unmarshal([]byte(out), &e); err != nil || code == 0 || e.Code != cni.CodeTryLater || !strings.Contains(e.Details, "fairway-agent") {
		t.Errorf("ADD: exit code %d, %s", code, out)
	}
	if out, code := plugin(t, socket, cni.Status, ns); code == 0 || !strings.Contains(out, `"code":50`) {
		t.Errorf("STATUS: exit code %d, %s", code, out)
	}
	if out, code := plugin(t, socket, cni.Del, ns); code != 0 || out != "" {
		t.Errorf("DEL must succeed: exit code %d, %s", code, out)
	}
}

func BenchmarkAddDel(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root to make network namespaces")
	}
	t := &testing.T{}
	s, err := New(Options{Dir: b.TempDir(), PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.7.0/24")}, MTU: 1400, Datapath: newKernel(t),
		AwaitPolicy: func(context.Context, model.Name, string) {}, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		b.Fatal(err)
	}
	runtime.LockOSThread()
	node, _ := netns.Get()
	pod, err := netns.New()
	if err != nil {
		b.Fatal(err)
	}
	if err := netns.Set(node); err != nil {
		b.Fatal(err)
	}
	ns := os.NewFile(uintptr(pod), "netns")
	var adding, deleting time.Duration
	for i := 0; b.Loop(); i++ {
		id := fmt.Sprint(i)
		start := time.Now()
		if _, err := s.Add(b.Context(), request(cni.Add, id), ns); err != nil {
			b.Fatal(err)
		}
		mid := time.Now()
		if err := s.Del(request(cni.Del, id)); err != nil {
			b.Fatal(err)
		}
		adding += mid.Sub(start)
		deleting += time.Since(mid)
	}
	b.ReportMetric(float64(adding.Milliseconds())/float64(b.N), "ms/add")
	b.ReportMetric(float64(deleting.Milliseconds())/float64(b.N), "ms/del")
}
