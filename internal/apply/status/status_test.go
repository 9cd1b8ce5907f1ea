package status

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// apiServer is a small API server: it records requests and keeps Events and
// one Lease with optimistic locking.
type apiServer struct {
	mu       sync.Mutex
	requests []string
	events   map[string]*corev1.Event
	lease    *coordinationv1.Lease
	version  int
	decoder  runtime.Decoder
}

func newAPIServer(t *testing.T) (*apiServer, *rest.Config) {
	scheme := runtime.NewScheme()
	corev1.AddToScheme(scheme)
	coordinationv1.AddToScheme(scheme)
	s := &apiServer{events: map[string]*corev1.Event{}, decoder: serializer.NewCodecFactory(scheme).UniversalDeserializer()}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return s, &rest.Config{Host: srv.URL}
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	line := r.Method + " " + r.URL.Path
	if r.Method == http.MethodPatch {
		line += " " + string(body)
	}
	s.requests = append(s.requests, line)
	switch {
	case strings.HasSuffix(r.URL.Path, "/events") && r.Method == http.MethodPost:
		ev := &corev1.Event{}
		s.decode(w, body, ev)
		if s.events[ev.Name] != nil {
			fail(w, http.StatusConflict, metav1.StatusReasonAlreadyExists)
			return
		}
		s.events[ev.Name] = ev
		reply(w, ev)
	case strings.Contains(r.URL.Path, "/leases"):
		s.serveLease(w, r, body)
	default:
		reply(w, &corev1.Service{})
	}
}

func (s *apiServer) serveLease(w http.ResponseWriter, r *http.Request, body []byte) {
	if r.Method == http.MethodGet {
		if s.lease == nil {
			fail(w, http.StatusNotFound, metav1.StatusReasonNotFound)
			return
		}
		reply(w, s.lease)
		return
	}
	in := &coordinationv1.Lease{}
	s.decode(w, body, in)
	if s.lease != nil && (r.Method == http.MethodPost || in.ResourceVersion != s.lease.ResourceVersion) {
		fail(w, http.StatusConflict, metav1.StatusReasonConflict)
		return
	}
	s.version++
	in.ResourceVersion = fmt.Sprint(s.version)
	s.lease = in
	reply(w, in)
}

func (s *apiServer) decode(w http.ResponseWriter, body []byte, into runtime.Object) {
	if _, _, err := s.decoder.Decode(body, nil, into); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func reply(w http.ResponseWriter, obj any) {
	w.Header().Set("Content-Type", "application/json")
	switch o := obj.(type) {
	case *coordinationv1.Lease:
		o.TypeMeta = metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"}
	}
	json.NewEncoder(w).Encode(obj)
}

func fail(w http.ResponseWriter, code int, reason metav1.StatusReason) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Reason: reason, Code: int32(code)})
}

func (s *apiServer) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.requests
	s.requests = nil
	return out
}

var quiet = slog.New(slog.DiscardHandler)

func TestApplyWritesOnlyWhatDiffers(t *testing.T) {
	api, config := newAPIServer(t)
	w, err := NewWriter(config, quiet)
	if err != nil {
		t.Fatal(err)
	}
	store := state.New()
	ip := netip.MustParseAddr("10.9.0.1")
	name := func(s string) model.Name { return model.Name{Namespace: "ns", Name: s} }
	store.Update(func(tx *state.Tx) {
		tx.Set(&model.Service{Name: name("new")})
		tx.Set(&model.Service{Name: name("right"), LoadBalancer: []model.LoadBalancerIngress{{IP: ip}}})
		tx.Set(&model.Service{Name: name("stale"), LoadBalancer: []model.LoadBalancerIngress{{IP: ip}}})
		tx.Set(&model.Ingress{Name: name("web")})
	})
	want := Want{
		Services:  map[model.Name][]netip.Addr{name("new"): {ip}, name("right"): {ip}, name("stale"): nil, name("gone"): {ip}},
		Ingresses: map[model.Name][]model.LoadBalancerIngress{name("web"): {{IP: ip}}},
	}
	if _, err := w.Apply(t.Context(), store.Snapshot(), want); err != nil {
		t.Fatal(err)
	}
	got := api.take()
	wantRequests := []string{
		`PATCH /api/v1/namespaces/ns/services/new/status {"status":{"loadBalancer":{"ingress":[{"ip":"10.9.0.1","ipMode":"VIP"}]}}}`,
		`PATCH /api/v1/namespaces/ns/services/stale/status {"status":{"loadBalancer":{"ingress":[]}}}`,
		`PATCH /apis/networking.k8s.io/v1/namespaces/ns/ingresses/web/status {"status":{"loadBalancer":{"ingress":[{"ip":"10.9.0.1"}]}}}`,
	}
	if !slices.Equal(got, wantRequests) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(wantRequests, "\n"))
	}
}

func TestEventsAreWrittenOnceForWhatLastsAndRenewed(t *testing.T) {
	api, config := newAPIServer(t)
	w, _ := NewWriter(config, quiet)
	now := time.Unix(1_000_000, 0)
	w.events.now = func() time.Time { return now }
	r := model.Rejected{Ref: model.Ref{Kind: model.KindIngress, Name: model.Name{Namespace: "ns", Name: "web"}, UID: "u1"},
		Field: "spec.rules[0]", Reason: "PortNotFound", Message: "Service web has no port 3000", Fix: "write 80"}
	apply := func(rejected ...model.Rejected) (requests int, again time.Duration) {
		t.Helper()
		again, err := w.Apply(t.Context(), state.New().Snapshot(), Want{Rejected: rejected})
		if err != nil {
			t.Fatal(err)
		}
		return len(api.take()), again
	}
	if n, again := apply(r); n != 0 || again != patience {
		t.Errorf("a new mistake: %d requests, again after %v; want 0, %v", n, again, patience)
	}
	apply() // it did not last
	now = now.Add(patience)
	if n, _ := apply(r); n != 0 {
		t.Errorf("back after a while: %d requests, want 0", n)
	}
	now = now.Add(patience)
	if n, again := apply(r); n != 1 || again != 0 {
		t.Errorf("lasting: %d requests, again after %v; want 1, never", n, again)
	}
	if n, _ := apply(r); n != 0 {
		t.Errorf("told: %d requests, want 0", n)
	}
	now = now.Add(repeat)
	if n, _ := apply(r); n != 2 { // exists already, so its time is renewed
		t.Errorf("after %v: %d requests, want 2", repeat, n)
	}
	for _, ev := range api.events {
		if ev.Reason != "PortNotFound" || ev.Message != "spec.rules[0]: Service web has no port 3000; write 80" || ev.InvolvedObject.APIVersion != "networking.k8s.io/v1" {
			t.Errorf("event: %+v", ev)
		}
	}
	if len(api.events) != 1 {
		t.Errorf("%d events, want 1", len(api.events))
	}
}

func TestLeadLetsOneWriteAndHandsOver(t *testing.T) {
	_, config := newAPIServer(t)
	name := model.Name{Namespace: "ns", Name: "lease"}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	started := make(chan string, 2)
	stop := make(chan struct{})
	run := func(id string) error {
		return Lead(ctx, config, name, id, quiet, func(context.Context) error {
			started <- id
			<-stop
			return nil
		})
	}
	done := make(chan error, 2)
	for _, id := range []string{"a", "b"} {
		go func() { done <- run(id) }()
	}
	first := <-started
	select {
	case second := <-started:
		t.Fatalf("%s and %s lead at once", first, second)
	case <-time.After(time.Second):
	}
	stop <- struct{}{}
	if second := <-started; second == first {
		t.Fatalf("%s leads twice", first)
	}
	stop <- struct{}{}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
