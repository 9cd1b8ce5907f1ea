package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
)

const (
	perService = 5
	apiAddr    = "127.0.0.1:8001"
	nodeName   = "node"
	nodeIP     = "10.0.0.1"
	port       = 8080 // of all endpoints
)

type object map[string]any

// api serves lists and watches of the kinds that a proxy follows, in JSON; all
// else is empty. One thing changes: the endpoint of the first Service.
type api struct {
	n int

	mu      sync.Mutex
	version int
	first   object        // slice of the first Service
	changed chan struct{} // closed with each change
}

func newAPI(n int) *api {
	a := &api{n: n, changed: make(chan struct{}), version: 1}
	a.first = sliceObject(0, a.version, 0)
	return a
}

// change gives the first Service another endpoint, and only that one.
func (a *api) change(endpoint int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	a.first = sliceObject(0, a.version, endpoint)
	close(a.changed)
	a.changed = make(chan struct{})
}

func offset(base string, by int) netip.Addr {
	b := netip.MustParseAddr(base).As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	v += uint32(by)
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

func clusterIP(i int) netip.Addr   { return offset("10.96.1.0", i) }
func endpoint(i, k int) netip.Addr { return offset("10.128.1.0", i*perService+k) }

func meta(name string, version int) object {
	return object{"name": name, "namespace": "default", "uid": name, "resourceVersion": strconv.Itoa(version)}
}

func serviceObject(i int) object {
	ip := clusterIP(i).String()
	return object{"metadata": meta(fmt.Sprintf("s%05d", i), 1), "spec": object{
		"type": "ClusterIP", "clusterIP": ip, "clusterIPs": []string{ip}, "ipFamilies": []string{"IPv4"}, "ipFamilyPolicy": "SingleStack",
		"internalTrafficPolicy": "Cluster", "sessionAffinity": "None",
		"ports": []object{{"name": "web", "protocol": "TCP", "port": 80, "targetPort": port}},
	}}
}

// sliceObject holds the endpoints of a Service; of the first one only the one given.
func sliceObject(i, version, only int) object {
	m := meta(fmt.Sprintf("s%05d-x", i), version)
	m["labels"] = object{"kubernetes.io/service-name": fmt.Sprintf("s%05d", i)}
	var all []object
	for k := range perService {
		if i == 0 && k != only {
			continue
		}
		all = append(all, object{"addresses": []string{endpoint(i, k).String()}, "nodeName": nodeName,
			"conditions": object{"ready": true, "serving": true, "terminating": false}})
	}
	return object{"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "metadata": m, "addressType": "IPv4",
		"ports": []object{{"name": "web", "protocol": "TCP", "port": port}}, "endpoints": all}
}

func nodeObject() object {
	return object{"metadata": object{"name": nodeName, "uid": nodeName, "resourceVersion": "1"},
		"spec":   object{"podCIDR": "10.128.0.0/9", "podCIDRs": []string{"10.128.0.0/9"}},
		"status": object{"addresses": []object{{"type": "InternalIP", "address": nodeIP}}}}
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	resource, q := parts[len(parts)-1], r.URL.Query()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.Method != http.MethodGet:
		http.Error(w, "{}", http.StatusNotFound)
	case q.Get("sendInitialEvents") != "": // clients then list and watch
		w.WriteHeader(http.StatusUnprocessableEntity)
		json.NewEncoder(w).Encode(object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid", "code": 422})
	case q.Get("watch") != "":
		a.watch(w, r, resource)
	case resource == nodeName:
		o := nodeObject()
		o["kind"], o["apiVersion"] = "Node", "v1"
		json.NewEncoder(w).Encode(o)
	default:
		a.list(w, parts, resource)
	}
}

// kinds names the lists; the version is in the path.
var kinds = map[string]string{
	"services": "ServiceList", "endpointslices": "EndpointSliceList", "nodes": "NodeList", "pods": "PodList", "servicecidrs": "ServiceCIDRList",
}

func (a *api) list(w http.ResponseWriter, parts []string, resource string) {
	if kinds[resource] == "" {
		http.Error(w, "{}", http.StatusNotFound)
		return
	}
	items := []object{}
	a.mu.Lock()
	version, first := a.version, a.first
	a.mu.Unlock()
	switch resource {
	case "nodes":
		items = append(items, nodeObject())
	case "services":
		for i := range a.n {
			items = append(items, serviceObject(i))
		}
	case "endpointslices":
		items = append(items, first)
		for i := 1; i < a.n; i++ {
			items = append(items, sliceObject(i, 1, 0))
		}
	}
	group := parts[1] // /api/v1/… or /apis/group/version/…
	if parts[0] == "apis" {
		group = parts[1] + "/" + parts[2]
	}
	json.NewEncoder(w).Encode(object{"kind": kinds[resource], "apiVersion": group, "metadata": object{"resourceVersion": strconv.Itoa(version)}, "items": items})
}

// watch sends the one thing that changes.
func (a *api) watch(w http.ResponseWriter, r *http.Request, resource string) {
	seen, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	w.WriteHeader(http.StatusOK)
	flush := w.(http.Flusher).Flush
	flush()
	for {
		a.mu.Lock()
		version, first, changed := a.version, a.first, a.changed
		a.mu.Unlock()
		if version > seen && resource == "endpointslices" {
			json.NewEncoder(w).Encode(object{"type": "MODIFIED", "object": first})
			flush()
			seen = version
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}
