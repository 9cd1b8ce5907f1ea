// Package trace answers a name as a pod's resolver would ask for it, step by
// step through the search path, and says which objects each answer comes from.
// It asks the zone itself, not a server, and never asks upstream.
package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	mdns "github.com/miekg/dns"

	"github.com/fairway-net/fairway/internal/dns/index"
	"github.com/fairway-net/fairway/internal/dns/wire"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/zone"
	"github.com/fairway-net/fairway/internal/state"
)

// Step is one question that the resolver asks.
type Step struct {
	Name    string   `json:"name"`
	Status  string   `json:"status"`  // NOERROR, NXDOMAIN, …; FORWARDED for names of others
	Answers []string `json:"answers"` // in presentation format
	Objects []string `json:"objects"` // what the answers come from, or what is there instead
}

// Run asks for names until one has an answer.
func Run(snap *state.Snapshot, p index.Params, names []string, qtype uint16) ([]Step, error) {
	x, err := build(snap, p)
	if err != nil {
		return nil, err
	}
	var out []Step
	for _, n := range names {
		s, err := ask(x, n, qtype)
		if err != nil {
			return nil, err
		}
		s.Objects = objects(snap, p.Zone, n, s)
		out = append(out, s)
		if s.Status == "FORWARDED" || len(s.Answers) > 0 {
			break
		}
	}
	return out, nil
}

func build(snap *state.Snapshot, p index.Params) (*index.Index, error) {
	x, err := index.New(p)
	if err != nil {
		return nil, err
	}
	services, namespaces := zone.Keys(state.Changes{All: true}, snap)
	for _, s := range services {
		x.Set(zone.Plan(snap, s))
	}
	for _, n := range namespaces {
		x.SetNamespace(n, true)
	}
	x.SetSynced()
	return x, nil
}

func ask(x *index.Index, name string, qtype uint16) (Step, error) {
	s := Step{Name: name, Answers: []string{}, Objects: []string{}}
	m := new(mdns.Msg)
	m.SetQuestion(name, qtype)
	pkt, err := m.Pack()
	if err != nil {
		return s, fmt.Errorf("name %q: %w", name, err)
	}
	var q wire.Query
	if problem := q.Parse(pkt); problem != wire.OK {
		return s, fmt.Errorf("name %q: bad %v", name, problem)
	}
	var w wire.Writer
	w.Begin(nil, &q, wire.MaxTCP)
	res, target, _ := x.Answer(&w, 0)
	if res == index.Elsewhere {
		s.Status = "FORWARDED"
		return s, nil
	}
	r := new(mdns.Msg)
	if err := r.Unpack(w.Finish()); err != nil {
		return s, fmt.Errorf("name %q: read own answer: %w", name, err)
	}
	s.Status = mdns.RcodeToString[r.Rcode]
	for _, rr := range r.Answer {
		s.Answers = append(s.Answers, strings.ReplaceAll(rr.String(), "\t", " "))
	}
	if res == index.Follow {
		s.Answers = append(s.Answers, "then "+wire.UnpackName(target)+" is forwarded")
	}
	return s, nil
}

// objects names what the answers come from, or tells what is missing.
func objects(snap *state.Snapshot, domain, name string, s Step) []string {
	if s.Status == "FORWARDED" {
		return []string{"not in " + domain + ": forwarded to the upstream servers"}
	}
	out := []string{}
	for _, a := range s.Answers {
		if _, target, ok := strings.Cut(a, " IN PTR "); ok {
			for _, o := range objects(snap, domain, target, Step{Name: s.Name, Answers: []string{target}}) {
				if !slices.Contains(out, o) {
					out = append(out, o)
				}
			}
		}
	}
	labels := strings.Split(strings.TrimSuffix(strings.ToLower(name), "."+domain+"."), ".")
	switch n := len(labels); {
	case n >= 3 && labels[n-1] == "svc":
		return describe(snap, model.Name{Namespace: labels[n-2], Name: labels[n-3]}, s)
	case n == 3 && labels[n-1] == "pod":
		return describePod(snap, labels[0], labels[1])
	}
	return out
}

// describePod says what a name below "pod" stands for: whether a pod has the address or
// not depends on the server's settings.
func describePod(snap *state.Snapshot, dashed, namespace string) []string {
	addr, ok := zone.ParseDashed(dashed)
	switch {
	case snap.Namespace(namespace) == nil:
		return []string{fmt.Sprintf("no namespace %q", namespace)}
	case !ok:
		return []string{fmt.Sprintf("%q is no address with dashes", dashed)}
	}
	out := []string{"the name itself: with the setting \"pods insecure\" any address is answered"}
	for _, pod := range snap.Pods.All() {
		if pod.Namespace == namespace && slices.Contains(pod.IPs, addr) && !pod.Done && !pod.Deleting {
			out = append(out, fmt.Sprintf("Pod %s has it", pod.Name))
		}
	}
	if len(out) == 1 {
		out = append(out, fmt.Sprintf("no Pod of namespace %s has %s: with \"pods verified\" it is NXDOMAIN", namespace, addr))
	}
	return out
}

func describe(snap *state.Snapshot, name model.Name, s Step) []string {
	svc := snap.Service(name)
	switch {
	case svc == nil && snap.Namespace(name.Namespace) == nil:
		return []string{fmt.Sprintf("no namespace %q", name.Namespace)}
	case svc == nil:
		return []string{fmt.Sprintf("no Service %s", name)}
	case svc.Type == model.ExternalName:
		return []string{fmt.Sprintf("Service %s: type ExternalName to %s", name, svc.ExternalName)}
	case !svc.Headless:
		return []string{fmt.Sprintf("Service %s: clusterIPs %v", name, svc.ClusterIPs)}
	}
	return headless(snap, svc, s)
}

// headless lists the endpoints whose addresses were answered and, where there
// are none, those that are not ready.
func headless(snap *state.Snapshot, svc *model.Service, s Step) []string {
	out := []string{fmt.Sprintf("Service %s: headless", svc.Name)}
	answered := func(a netip.Addr) bool {
		return zone.ReverseName(a) == s.Name || slices.ContainsFunc(s.Answers, func(rr string) bool {
			return strings.HasSuffix(rr, " "+a.String()) || strings.Contains(rr, " "+zone.Dashed(a)+".")
		})
	}
	endpoints := 0
	for _, slice := range snap.SlicesOf(svc.Name) {
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			endpoints++
			who := e.Addr.String()
			if e.Pod != "" {
				who = "Pod " + e.Pod + " " + who
			}
			switch {
			case !e.Ready:
				out = append(out, fmt.Sprintf("EndpointSlice %s: %s is not ready", slice.Name.Name, who))
			case len(s.Answers) == 0 || answered(e.Addr):
				out = append(out, fmt.Sprintf("EndpointSlice %s: %s", slice.Name.Name, who))
			}
		}
	}
	if endpoints == 0 {
		out = append(out, "no EndpointSlice has an endpoint for it")
	}
	return out
}
