package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

type object map[string]any

// api stands in for a cluster's API server, with lists that are streamed as
// those of Kubernetes 1.36 are: half of n Services have an address and one
// endpoint, the others are headless with ten. The address of the first Service changes.
type api struct {
	n int

	mu      sync.Mutex
	version int
	address int           // of the first Service
	changed chan struct{} // closed with each change
	expired chan struct{} // closed when all watches are to be begun anew
}

const perHeadless = 10

func newAPI(n int) *api {
	return &api{n: n, version: 1, changed: make(chan struct{}), expired: make(chan struct{})}
}

// change gives the first Service another address, and returns it.
func (a *api) change() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	a.address++
	close(a.changed)
	a.changed = make(chan struct{})
	return firstAddress(a.address)
}

// expire ends all watches as a restarted API server does: everybody lists again.
func (a *api) expire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.expired)
	a.expired = make(chan struct{})
}

func firstAddress(k int) string { return fmt.Sprintf("10.95.%d.%d", k>>8&255, k&255) }

func serviceName(i int) (name, namespace string) {
	return fmt.Sprintf("svc%d", i), fmt.Sprintf("ns%d", i%50)
}

func meta(kind, apiVersion, name, namespace string, version int) object {
	m := object{"name": name, "uid": name, "resourceVersion": strconv.Itoa(version), "creationTimestamp": "2026-01-01T00:00:00Z"}
	if namespace != "" {
		m["namespace"] = namespace
	}
	return object{"kind": kind, "apiVersion": apiVersion, "metadata": m}
}

func (a *api) service(i, address, version int) object {
	name, ns := serviceName(i)
	o := meta("Service", "v1", name, ns, version)
	ip := fmt.Sprintf("10.%d.%d.%d", 96+i>>16, i>>8&255, i&255)
	switch {
	case i == 0:
		ip = firstAddress(address)
	case i%2 == 1:
		ip = "None"
	}
	o["spec"] = object{"type": "ClusterIP", "clusterIP": ip, "clusterIPs": []string{ip}, "ipFamilies": []string{"IPv4"}, "ipFamilyPolicy": "SingleStack",
		"selector": object{"app": name}, "internalTrafficPolicy": "Cluster", "sessionAffinity": "None",
		"ports": []object{{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}}}
	return o
}

func (a *api) slice(i int) object {
	name, ns := serviceName(i)
	o := meta("EndpointSlice", "discovery.k8s.io/v1", name+"-x", ns, 1)
	labels := object{"kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}
	count := 1
	if i%2 == 1 {
		labels["service.kubernetes.io/headless"] = ""
		count = perHeadless
	}
	o["metadata"].(object)["labels"] = labels
	var endpoints []object
	for k := range count {
		j := i*perHeadless + k
		endpoints = append(endpoints, object{"addresses": []string{fmt.Sprintf("10.%d.%d.%d", 128+j>>16, j>>8&255, j&255)}, "nodeName": fmt.Sprintf("node%d", j%100),
			"conditions": object{"ready": true, "serving": true, "terminating": false}, "targetRef": object{"kind": "Pod", "namespace": ns, "name": fmt.Sprintf("%s-%d", name, k)}})
	}
	o["addressType"], o["ports"], o["endpoints"] = "IPv4", []object{{"name": "http", "protocol": "TCP", "port": 8080}}, endpoints
	return o
}

// each yields what a list or a watch begins with.
func (a *api) each(resource, selector string, yield func(object)) {
	a.mu.Lock()
	address, version := a.address, a.version
	a.mu.Unlock()
	switch resource {
	case "services":
		for i := range a.n {
			yield(a.service(i, address, version))
		}
	case "endpointslices":
		for i := range a.n {
			// The selectors that there are: headless ones, and those of other controllers.
			if selector == "" || selector == "service.kubernetes.io/headless" && i%2 == 1 {
				yield(a.slice(i))
			}
		}
	case "namespaces":
		for i := range 50 {
			yield(meta("Namespace", "v1", fmt.Sprintf("ns%d", i), "", 1))
		}
	}
}

var kinds = map[string]string{"services": "Service", "endpointslices": "EndpointSlice", "namespaces": "Namespace"}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	resource, q := parts[len(parts)-1], r.URL.Query()
	w.Header().Set("Content-Type", "application/json")
	group := "v1"
	if parts[0] == "apis" && len(parts) > 2 {
		group = parts[1] + "/" + parts[2]
	}
	switch {
	case r.Method == http.MethodGet && resource == "version":
		json.NewEncoder(w).Encode(object{"major": "1", "minor": "36", "gitVersion": "v1.36.3"})
	case r.Method != http.MethodGet || kinds[resource] == "":
		http.Error(w, "{}", http.StatusNotFound)
	case q.Get("watch") != "":
		a.watch(w, r, resource, group)
	default:
		items := []object{}
		a.each(resource, q.Get("labelSelector"), func(o object) { items = append(items, o) })
		a.mu.Lock()
		version := a.version
		a.mu.Unlock()
		json.NewEncoder(w).Encode(object{"kind": kinds[resource] + "List", "apiVersion": group, "metadata": object{"resourceVersion": strconv.Itoa(version)}, "items": items})
	}
}

func (a *api) watch(w http.ResponseWriter, r *http.Request, resource, group string) {
	q := r.URL.Query()
	a.mu.Lock()
	seen, expired := a.version, a.expired
	a.mu.Unlock()
	out := json.NewEncoder(w)
	flush := w.(http.Flusher).Flush
	if q.Get("sendInitialEvents") == "true" {
		a.each(resource, q.Get("labelSelector"), func(o object) { out.Encode(object{"type": "ADDED", "object": o}) })
		end := meta(kinds[resource], group, "", "", seen)
		end["metadata"] = object{"resourceVersion": strconv.Itoa(seen), "annotations": object{"k8s.io/initial-events-end": "true"}}
		out.Encode(object{"type": "BOOKMARK", "object": end})
	} else if v, err := strconv.Atoi(q.Get("resourceVersion")); err == nil {
		seen = v
	}
	flush()
	for {
		a.mu.Lock()
		version, address, changed := a.version, a.address, a.changed
		a.mu.Unlock()
		if version > seen && resource == "services" {
			out.Encode(object{"type": "MODIFIED", "object": a.service(0, address, version)})
			flush()
		}
		seen = version
		select {
		case <-changed:
		case <-expired:
			out.Encode(object{"type": "ERROR", "object": object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410, "message": "too old"}})
			flush()
			return
		case <-r.Context().Done():
			return
		case <-time.After(time.Minute):
		}
	}
}
