package testkit

import (
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Object is an object of the Kubernetes API, as JSON has it.
type Object map[string]any

func (o Object) meta(key string) string {
	m, _ := o["metadata"].(Object)
	s, _ := m[key].(string)
	return s
}

// API is as much of an API server as a source needs: lists and watches of what
// was Set, and what the controller writes: Events, which it keeps, and statuses.
// It can be stopped and started again.
type API struct {
	t testing.TB

	mu      sync.Mutex
	version int
	objects map[string]map[string]Object // plural of the kind -> namespace/name
	history []event
	changed chan struct{} // closed and replaced at each change
	events  []string
	writes  []Write
	server  *http.Server
}

// Write is a status that somebody wrote.
type Write struct{ Who, Plural, Key string } // Who: the User-Agent

type event struct {
	version int
	plural  string
	kind    string // ADDED, MODIFIED, DELETED
	object  Object
}

// NewAPI returns an API that nobody can reach yet.
func NewAPI(t testing.TB) *API {
	return &API{t: t, objects: map[string]map[string]Object{}, changed: make(chan struct{})}
}

// Start serves at addr inside n.
func (a *API) Start(n *NS, addr string) {
	a.t.Helper()
	var l net.Listener
	if err := n.Do(func() (err error) { l, err = net.Listen("tcp", addr); return err }); err != nil {
		a.t.Fatalf("serve API: %v", err)
	}
	a.server = &http.Server{Handler: a}
	go a.server.Serve(l)
	a.t.Cleanup(a.Stop)
}

// Stop ends all connections and serves no more.
func (a *API) Stop() { a.server.Close() }

// Set adds or replaces objects of a kind, given by its plural. Each becomes one
// event of the watches.
func (a *API) Set(plural string, objects ...Object) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, o := range objects {
		key, kind := o.meta("namespace")+"/"+o.meta("name"), "MODIFIED"
		if a.objects[plural] == nil {
			a.objects[plural] = map[string]Object{}
		}
		if a.objects[plural][key] == nil {
			kind = "ADDED"
		}
		a.objects[plural][key] = o
		a.note(plural, kind, o)
	}
}

// Delete removes an object.
func (a *API) Delete(plural, key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if o := a.objects[plural][key]; o != nil {
		delete(a.objects[plural], key)
		a.note(plural, "DELETED", o)
	}
}

func (a *API) note(plural, kind string, o Object) {
	a.version++
	o["metadata"].(Object)["resourceVersion"] = strconv.Itoa(a.version)
	o["kind"], o["apiVersion"] = apiKinds[plural].kind, apiKinds[plural].version
	a.history = append(a.history, event{a.version, plural, kind, o})
	close(a.changed)
	a.changed = make(chan struct{})
}

// HasEvent reports whether an Event was written that contains text.
func (a *API) HasEvent(text string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.events, func(e string) bool { return strings.Contains(e, text) })
}

// Writes are those of statuses so far.
func (a *API) Writes() []Write {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.writes)
}

// Status is that of an object, as JSON has it.
func (a *API) Status(plural, key string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	b, _ := json.Marshal(a.objects[plural][key]["status"])
	return string(b)
}

// patchStatus replaces the status: a merge patch (RFC 7396) whose only member it is.
func (a *API) patchStatus(w http.ResponseWriter, r *http.Request, plural, key string) {
	var patch Object
	if err := json.NewDecoder(r.Body).Decode(&patch); err != nil || len(patch) != 1 || patch["status"] == nil {
		http.Error(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":400,"reason":"BadRequest"}`, http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.objects[plural][key]
	if old == nil {
		http.Error(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":404,"reason":"NotFound"}`, http.StatusNotFound)
		return
	}
	o := maps.Clone(old)
	o["metadata"], o["status"] = maps.Clone(old["metadata"].(Object)), patch["status"]
	a.objects[plural][key] = o
	a.note(plural, "MODIFIED", o)
	a.writes = append(a.writes, Write{r.UserAgent(), plural, key})
	json.NewEncoder(w).Encode(o)
}

var apiKinds = map[string]struct{ kind, version string }{
	"services": {"Service", "v1"}, "endpointslices": {"EndpointSlice", "discovery.k8s.io/v1"}, "nodes": {"Node", "v1"}, "pods": {"Pod", "v1"},
	"namespaces": {"Namespace", "v1"}, "networkpolicies": {"NetworkPolicy", "networking.k8s.io/v1"}, "servicecidrs": {"ServiceCIDR", "networking.k8s.io/v1"},
	"ingresses": {"Ingress", "networking.k8s.io/v1"}, "ingressclasses": {"IngressClass", "networking.k8s.io/v1"}, "secrets": {"Secret", "v1"}, "configmaps": {"ConfigMap", "v1"},
}

func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	plural, q := parts[len(parts)-1], r.URL.Query()
	w.Header().Set("Content-Type", "application/json")
	switch n := len(parts); {
	case r.Method == http.MethodPatch && n >= 5 && plural == "status":
		a.patchStatus(w, r, parts[n-3], parts[n-4]+"/"+parts[n-2])
	case r.Method == http.MethodPost && plural == "events":
		a.postEvent(w, r)
	case r.Method != http.MethodGet || apiKinds[plural].kind == "":
		http.Error(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":404,"reason":"NotFound"}`, http.StatusNotFound)
	case q.Get("sendInitialEvents") != "": // clients then list and watch
		w.WriteHeader(http.StatusUnprocessableEntity)
		json.NewEncoder(w).Encode(Object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid", "code": 422})
	case q.Get("watch") != "":
		a.watch(w, r, plural)
	default:
		a.list(w, plural)
	}
}

// postEvent keeps the Event as it came: in protobuf, where texts are legible.
func (a *API) postEvent(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	a.events = append(a.events, string(b))
	a.mu.Unlock()
	w.WriteHeader(http.StatusCreated)
	io.WriteString(w, "{}")
}

func (a *API) list(w http.ResponseWriter, plural string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	items := []Object{}
	for _, o := range a.objects[plural] {
		items = append(items, o)
	}
	k := apiKinds[plural]
	json.NewEncoder(w).Encode(Object{"kind": k.kind + "List", "apiVersion": k.version, "metadata": Object{"resourceVersion": strconv.Itoa(a.version)}, "items": items})
}

func (a *API) watch(w http.ResponseWriter, r *http.Request, plural string) {
	seen, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	w.WriteHeader(http.StatusOK)
	flush := w.(http.Flusher).Flush
	flush()
	for {
		a.mu.Lock()
		changed := a.changed
		var lines [][]byte
		for i := len(a.history) - 1; i >= 0 && a.history[i].version > seen; i-- {
			if e := a.history[i]; e.plural == plural {
				// An object may be replaced, but is not changed: it can be encoded as it is.
				b, _ := json.Marshal(Object{"type": e.kind, "object": e.object})
				lines = append([][]byte{b}, lines...)
			}
		}
		seen = a.version
		a.mu.Unlock()
		for _, b := range lines {
			w.Write(append(b, '\n'))
		}
		flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}
