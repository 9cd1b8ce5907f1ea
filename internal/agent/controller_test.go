package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"github.com/fairway-net/fairway/internal/testkit"
)

// controllerEnv tells the process of a controller "URL NAME".
const controllerEnv = "FAIRWAY_TEST_CONTROLLER"

func runControllerProcess(text string) {
	url, name, _ := strings.Cut(text, " ")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := RunController(ctx, ControllerOptions{Rest: &rest.Config{Host: url, UserAgent: name}, Namespace: "fairway-system", Identity: name, Gateway: "fairway-gateway",
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)).With("controller", name)})
	if err != nil {
		fmt.Fprintln(os.Stderr, name, "ended:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// leaseAPI is a testkit.API with one Lease, of which two writers do not get it both.
type leaseAPI struct {
	*testkit.API
	decoder runtime.Decoder

	mu      sync.Mutex
	lease   *coordinationv1.Lease
	version int
}

func (a *leaseAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.URL.Path, "/leases") {
		a.API.ServeHTTP(w, r)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	fail := func(code int, reason metav1.StatusReason) {
		w.WriteHeader(code)
		json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Reason: reason, Code: int32(code)})
	}
	if r.Method != http.MethodGet {
		in, body := &coordinationv1.Lease{}, []byte(nil)
		body, _ = io.ReadAll(r.Body)
		if _, _, err := a.decoder.Decode(body, nil, in); err != nil {
			fail(http.StatusBadRequest, metav1.StatusReasonBadRequest)
			return
		}
		if a.lease != nil && (r.Method == http.MethodPost || in.ResourceVersion != a.lease.ResourceVersion) {
			fail(http.StatusConflict, metav1.StatusReasonConflict)
			return
		}
		a.version++
		in.ResourceVersion, in.TypeMeta = fmt.Sprint(a.version), metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"}
		a.lease = in
	}
	if a.lease == nil {
		fail(http.StatusNotFound, metav1.StatusReasonNotFound)
		return
	}
	json.NewEncoder(w).Encode(a.lease)
}

// startController starts a process, which ends with the test.
func startController(t *testing.T, url, name string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), controllerEnv+"="+url+" "+name)
	cmd.Stderr, cmd.SysProcAttr = os.Stderr, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd
}

func within(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(d); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", d, what)
		}
	}
}

func ingressObject(name, class, address string) testkit.Object {
	o := testkit.Object{"metadata": testkit.Object{"namespace": "default", "name": name, "uid": name}, "spec": testkit.Object{"ingressClassName": class,
		"defaultBackend": testkit.Object{"service": testkit.Object{"name": "web", "port": testkit.Object{"number": 80}}}}}
	if address != "" {
		o["status"] = testkit.Object{"loadBalancer": testkit.Object{"ingress": []any{testkit.Object{"ip": address}}}}
	}
	return o
}

// TestTwoControllers: of two processes one writes the statuses of Ingresses. When it is
// killed the other goes on, and one that is told to end hands over at once. Ingresses of
// other classes are not touched by any.
func TestTwoControllers(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	if err := coordinationv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	api := &leaseAPI{API: testkit.NewAPI(t), decoder: serializer.NewCodecFactory(scheme).UniversalDeserializer()}
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	api.Set("nodes", testkit.Object{"metadata": testkit.Object{"name": "node1"}})
	api.Set("services", testkit.Object{"metadata": testkit.Object{"namespace": "fairway-system", "name": "fairway-gateway"}, "spec": testkit.Object{"type": "LoadBalancer", "loadBalancerClass": "other.example/lb", "ports": []any{testkit.Object{"port": 80}}},
		"status": testkit.Object{"loadBalancer": testkit.Object{"ingress": []any{testkit.Object{"ip": "192.0.2.10"}}}}},
		testkit.Object{"metadata": testkit.Object{"namespace": "default", "name": "web"}, "spec": testkit.Object{"ports": []any{testkit.Object{"port": 80}}}})
	for name, controller := range map[string]string{"fairway": "fairway.dev/ingress", "other": "other.example/ingress"} {
		api.Set("ingressclasses", testkit.Object{"metadata": testkit.Object{"name": name}, "spec": testkit.Object{"controller": controller}})
	}
	api.Set("ingresses", ingressObject("first", "fairway", ""), ingressObject("foreign", "other", "203.0.113.9"), ingressObject("bare", "other", ""))
	shows := func(name string) func() bool {
		return func() bool { return strings.Contains(api.Status("ingresses", "default/"+name), "192.0.2.10") }
	}
	writers := func() (who []string) {
		for _, w := range api.Writes() {
			if !slices.Contains(who, w.Who) {
				who = append(who, w.Who)
			}
		}
		return who
	}

	processes := map[string]*exec.Cmd{"a": startController(t, server.URL, "a"), "b": startController(t, server.URL, "b")}
	within(t, 30*time.Second, "the first Ingress has an address", shows("first"))
	for i := range 5 {
		api.Set("ingresses", ingressObject(fmt.Sprint("more-", i), "fairway", ""))
	}
	for i := range 5 {
		within(t, 10*time.Second, "further ones do", shows(fmt.Sprint("more-", i)))
	}
	leaders := writers()
	if len(leaders) != 1 {
		t.Fatalf("%v write", leaders)
	}
	if err := processes[leaders[0]].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	before := len(api.Writes())
	api.Set("ingresses", ingressObject("orphan", "fairway", ""))
	within(t, 40*time.Second, "the other controller takes over", shows("orphan"))
	next := writers()
	if len(next) != 2 || next[1] == leaders[0] {
		t.Fatalf("%v write", next)
	}
	for _, w := range api.Writes()[before:] {
		if w.Who != next[1] || w.Key != "default/orphan" {
			t.Errorf("after the kill %+v was written, want only the new one", w)
		}
	}

	startController(t, server.URL, "c")
	if err := processes[next[1]].Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := processes[next[1]].Wait(); err != nil {
		t.Errorf("told to end: %v", err)
	}
	begun := time.Now()
	api.Set("ingresses", ingressObject("last", "fairway", ""))
	within(t, 30*time.Second, "the third takes over", shows("last"))
	if took := time.Since(begun); took > 12*time.Second { // a lease that is not given back lasts 15 s
		t.Errorf("a lease that was given back was free after %v", took)
	}
	api.Set("ingresses", ingressObject("first", "other", "192.0.2.10"))
	within(t, 10*time.Second, "an Ingress that is another's now loses our address", func() bool { return !shows("first")() })
	for _, w := range api.Writes() {
		if w.Key == "default/foreign" || w.Key == "default/bare" {
			t.Errorf("%+v", w)
		}
	}
	if got := api.Status("ingresses", "default/foreign"); !strings.Contains(got, "203.0.113.9") {
		t.Errorf("the foreign Ingress shows %s", got)
	}
}
