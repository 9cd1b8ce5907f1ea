package trace

import (
	"fmt"
	"strings"

	"github.com/fairway-net/fairway/internal/model"
)

// Resolver is what decides which names are asked for one: a resolv.conf's search
// domains and its option ndots.
type Resolver struct {
	Search []string
	Ndots  int
}

// OfNamespace is what kubelet writes for pods of a namespace; "": names are asked for as
// they stand. The node's own search domains, which come after, are not known here.
func OfNamespace(namespace, domain string) Resolver {
	if namespace == "" {
		return Resolver{}
	}
	return Resolver{Search: []string{namespace + ".svc." + domain, "svc." + domain, domain}, Ndots: 5}
}

// OfPod is what kubelet writes for a pod. The error says why the pod does not ask
// the cluster's DNS.
func OfPod(pod *model.Pod, domain string) (Resolver, error) {
	own := pod.Resolver
	if own == nil {
		own = &model.Resolver{Ndots: -1}
	}
	var r Resolver
	switch {
	case own.Policy == "Default":
		return r, fmt.Errorf("Pod %s does not ask the cluster's DNS: dnsPolicy Default is the node's resolv.conf", pod.Name)
	case own.Policy == "" && pod.HostNetwork:
		return r, fmt.Errorf("Pod %s does not ask the cluster's DNS: in the host's network dnsPolicy ClusterFirst is the node's resolv.conf", pod.Name)
	case own.Policy == "None":
		r.Ndots = 1 // resolv.conf(5)
	default:
		r = OfNamespace(pod.Namespace, domain)
	}
	for _, s := range own.Search {
		r.Search = append(r.Search, strings.TrimSuffix(s, "."))
	}
	if own.Ndots >= 0 {
		r.Ndots = own.Ndots
	}
	return r, nil
}

// Names lists what is asked for name, in order, until one has an answer.
func (r Resolver) Names(name string) []string {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	var out []string
	for _, s := range r.Search {
		out = append(out, name+"."+s+".")
	}
	if strings.Count(name, ".") >= r.Ndots {
		return append([]string{name + "."}, out...)
	}
	return append(out, name+".")
}
