package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// streamer answers watches of EndpointSlices: what of objects matches the
// selector, then "that was all", then nothing until the client goes or drop.
type streamer struct {
	t       *testing.T
	objects []*discoveryv1.EndpointSlice
	drop    chan struct{} // each receive ends one watch

	mu      sync.Mutex
	watches map[string]int // by selector
}

func (s *streamer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("watch") == "" {
		s.t.Errorf("%s: a list in one piece, want it streamed", r.URL)
		http.Error(w, "no", http.StatusInternalServerError)
		return
	}
	selector, err := labels.Parse(q.Get("labelSelector"))
	if err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	s.watches[q.Get("labelSelector")]++
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	for _, o := range s.objects {
		if q.Get("sendInitialEvents") == "true" && selector.Matches(labels.Set(o.Labels)) {
			o.APIVersion, o.Kind, o.ResourceVersion = "discovery.k8s.io/v1", "EndpointSlice", "5"
			enc.Encode(map[string]any{"type": "ADDED", "object": o})
		}
	}
	fmt.Fprintln(w, `{"type":"BOOKMARK","object":{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","metadata":{"resourceVersion":"5","annotations":{"k8s.io/initial-events-end":"true"}}}}`)
	w.(http.Flusher).Flush()
	select {
	case <-s.drop:
	case <-r.Context().Done():
	}
}

func TestOnlyNamedSlicesAreFollowed(t *testing.T) {
	of := func(name, by string, headless bool) *discoveryv1.EndpointSlice {
		o := slice(name, "svc")
		if by != "" {
			o.Labels[discoveryv1.LabelManagedBy] = by
		}
		if headless {
			o.Labels["service.kubernetes.io/headless"] = ""
		}
		return o
	}
	server := &streamer{t: t, drop: make(chan struct{}), watches: map[string]int{}, objects: []*discoveryv1.EndpointSlice{
		of("clusterip", "endpointslice-controller.k8s.io", false),
		of("headless", "endpointslice-controller.k8s.io", true),
		of("mirrored", "endpointslicemirroring-controller.k8s.io", false),
		of("handmade", "", false),
	}}
	h := httptest.NewServer(server)
	defer h.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	store := state.New()
	ended := make(chan error)
	go func() {
		ended <- Run(ctx, Options{
			Rest: &rest.Config{Host: h.URL}, Kinds: []model.Kind{model.KindEndpointSlice}, Log: slog.New(slog.DiscardHandler),
			Labels: map[model.Kind][]string{model.KindEndpointSlice: NamedSlices()},
		}, store)
	}()
	w := store.Watch()
	defer w.Close()
	for !store.Snapshot().Synced(model.KindEndpointSlice) {
		if _, _, err := w.Next(ctx); err != nil {
			t.Fatal("never synced: ", err)
		}
	}
	if got, want := keys(store.Snapshot()), "ns/svc/handmade ns/svc/headless ns/svc/mirrored "; got != want {
		t.Errorf("followed %q, want %q", got, want)
	}
	if len(server.watches) != 2 {
		t.Errorf("watches: %v", server.watches)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestRelistSharesWhatItKnows: the objects of a second list are the values that
// the state holds, not copies of them.
func TestRelistSharesWhatItKnows(t *testing.T) {
	store := state.New()
	s := newSink(newTable(model.KindEndpointSlice, store, 1), slog.New(slog.DiscardHandler))
	list := func(services ...string) (out []any) {
		for i, service := range services {
			v, err := s.Transformer()(slice(fmt.Sprint("s", i), service))
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, v)
		}
		return out
	}
	s.Replace(list("web", "db"), "1")
	before := store.Snapshot()
	again := list("web", "other")
	held, _ := before.Slices.Get("ns/web/s0")
	if again[0].(*converted).v != any(held) {
		t.Error("an object that did not change was converted into a second value")
	}
	s.Replace(again, "2")
	if got, want := keys(store.Snapshot()), "ns/other/s1 ns/web/s0 "; got != want {
		t.Errorf("after the second list: got %q, want %q", got, want)
	}
	s.Replace(list("web", "other"), "3")
	if got, want := store.Snapshot().Revision, before.Revision+1; got != want {
		t.Errorf("a list without changes made revision %d, want %d", got, want)
	}
}

// TestObjectMovesBetweenSelectors: its old watch deletes it and its new one adds
// it, in either order.
func TestObjectMovesBetweenSelectors(t *testing.T) {
	store := state.New()
	shared := newTable(model.KindEndpointSlice, store, 2)
	a, b := newSink(shared, slog.New(slog.DiscardHandler)), newSink(shared, slog.New(slog.DiscardHandler))
	a.Replace([]any{slice("s", "web")}, "1")
	if store.Snapshot().Synced(model.KindEndpointSlice) {
		t.Error("synced by one of two lists")
	}
	b.Replace(nil, "1")
	a.Replace([]any{slice("s", "web")}, "1")
	if !store.Snapshot().Synced(model.KindEndpointSlice) {
		t.Error("not synced by both lists")
	}
	b.Add(slice("s", "web"))
	a.Delete(slice("s", "web"))
	if got := keys(store.Snapshot()); got != "ns/web/s " {
		t.Errorf("added, then deleted by the old watch: %q", got)
	}
	b.Delete(slice("s", "web"))
	a.Add(slice("s", "web"))
	if got := keys(store.Snapshot()); got != "ns/web/s " {
		t.Errorf("deleted by the old watch, then added: %q", got)
	}
	a.Delete(slice("s", "web"))
	if got := keys(store.Snapshot()); got != "" || len(shared.owner) != 0 {
		t.Errorf("deleted: %q, %d owners", got, len(shared.owner))
	}
}

// TestServiceCIDRsMayBeMissing: of an API server that is too old, or does not
// let us, it is known at once that it has none; otherwise they are followed.
func TestServiceCIDRsMayBeMissing(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		want   string
	}{
		"not served":    {http.StatusNotFound, ""},
		"not permitted": {http.StatusForbidden, ""},
		"served":        {http.StatusOK, "more [10.97.0.0/24 fd00:97::/112] "},
	} {
		t.Run(name, func(t *testing.T) {
			h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(c.status)
				switch {
				case c.status != http.StatusOK:
					fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d}`, strings.ReplaceAll(http.StatusText(c.status), " ", ""), c.status)
				case r.URL.Query().Get("watch") == "":
					fmt.Fprint(w, `{"kind":"ServiceCIDRList","apiVersion":"networking.k8s.io/v1","metadata":{"resourceVersion":"5"},"items":[]}`)
				default:
					fmt.Fprintln(w, `{"type":"ADDED","object":{"kind":"ServiceCIDR","apiVersion":"networking.k8s.io/v1","metadata":{"name":"more","resourceVersion":"5"},"spec":{"cidrs":["10.97.0.0/24","fd00:97::/112"]}}}`)
					fmt.Fprintln(w, `{"type":"BOOKMARK","object":{"kind":"ServiceCIDR","apiVersion":"networking.k8s.io/v1","metadata":{"resourceVersion":"5","annotations":{"k8s.io/initial-events-end":"true"}}}}`)
					w.(http.Flusher).Flush()
					<-r.Context().Done()
				}
			}))
			defer h.Close()
			defer h.CloseClientConnections()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			store, ended := state.New(), make(chan error, 1)
			go func() {
				ended <- Run(ctx, Options{Rest: &rest.Config{Host: h.URL}, Kinds: []model.Kind{model.KindServiceCIDR}, Log: slog.New(slog.DiscardHandler)}, store)
			}()
			w := store.Watch()
			defer w.Close()
			for !store.Snapshot().Synced(model.KindServiceCIDR) {
				if _, _, err := w.Next(ctx); err != nil {
					t.Fatal("never synced: ", err)
				}
			}
			got := ""
			for _, s := range store.Snapshot().ServiceCIDRs.All() {
				got += fmt.Sprint(s.Name, " ", s.CIDRs, " ")
			}
			if got != c.want {
				t.Errorf("followed %q, want %q", got, c.want)
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}
