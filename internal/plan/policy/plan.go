package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// Planner plans the policies of the pods of one node, again and again. It
// remembers which policies' selectors match which pod, so that a change costs
// what it touches and not the size of the cluster. Its plans are those of For.
type Planner struct {
	node string

	atoms  *interner
	local  map[string]*model.Pod // pods of node that have a network, by key
	pods   *podTable             // what the selectors say about every pod of the cluster
	phrase string                // the selectors and port names that pods holds the answers to
}

// subject is a pod of this node with the policies that select it.
type subject struct {
	pod      *model.Pod
	policies []*model.NetworkPolicy
}

// NewPlanner returns a Planner whose first Update looks at everything.
func NewPlanner(node string) *Planner { return &Planner{node: node} }

// For plans once.
func For(snap *state.Snapshot, node string) Plan {
	return NewPlanner(node).Update(snap, state.Changes{All: true})
}

// Update returns the plan for snap, in which changes are new since the last
// Update. It looks at Pods, Namespaces and NetworkPolicies.
func (p *Planner) Update(snap *state.Snapshot, changes state.Changes) Plan {
	all := changes.All || p.pods == nil
	p.updateLocal(snap, changes, all)
	if all || p.atoms.bloated() {
		p.atoms, p.pods = newInterner(), nil
	}
	subjects := p.subjects(snap)
	v := newVocabulary(p.atoms)
	for _, s := range subjects {
		for _, np := range s.policies {
			v.addPolicy(np)
		}
	}
	if phrase := v.phrase(); p.pods == nil || phrase != p.phrase {
		p.pods, p.phrase = newPodTable(), phrase
		p.pods.fill(snap, v)
	} else {
		p.pods.update(snap, v, changes)
	}
	return assemble(subjects, v, classify(p.pods, v))
}

// HasNetwork reports whether pod has addresses of its own that policies are
// about: a pod on the host network is its node, and a finished pod has given
// its addresses back, though the API still shows them.
func HasNetwork(pod *model.Pod) bool { return !pod.HostNetwork && !pod.Done }

func (p *Planner) updateLocal(snap *state.Snapshot, changes state.Changes, all bool) {
	set := func(key string, pod *model.Pod) {
		if pod != nil && pod.Node == p.node && HasNetwork(pod) {
			p.local[key] = pod
		} else {
			delete(p.local, key)
		}
	}
	if all {
		p.local = map[string]*model.Pod{}
		for key, pod := range snap.Pods.All() {
			set(key, pod)
		}
		return
	}
	for ch := range changes.Keys {
		if ch.Kind == model.KindPod {
			pod, _ := snap.Pods.Get(ch.Key)
			set(ch.Key, pod)
		}
	}
}

// subjects returns the local pods in order, each with its policies.
func (p *Planner) subjects(snap *state.Snapshot) []subject {
	byNamespace := map[string][]*model.NetworkPolicy{}
	policies := func(namespace string) []*model.NetworkPolicy {
		list, ok := byNamespace[namespace]
		if !ok {
			for _, np := range snap.Policies.Prefix(namespace + "/") {
				list = append(list, np)
			}
			byNamespace[namespace] = list
		}
		return list
	}
	out := make([]subject, 0, len(p.local))
	for _, pod := range p.local {
		s := subject{pod: pod}
		for _, np := range policies(pod.Namespace) {
			if np.Pods.Matches(pod.Labels) {
				s.policies = append(s.policies, np)
			}
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b subject) int { return a.pod.Name.Compare(b.pod.Name) })
	return out
}

// assemble puts together the pods, the sets that they need and the classes.
func assemble(subjects []subject, v *vocabulary, classes *classes) Plan {
	plan := Plan{Classes: classes.prefixes}
	compiler := newCompiler(v, classes)
	for _, s := range subjects {
		pp := PodPolicy{Pod: s.pod.Name, UID: s.pod.UID, IPs: s.pod.IPs}
		pp.Ingress = compiler.set(s, ingress)
		pp.Egress = compiler.set(s, egress)
		plan.Pods = append(plan.Pods, pp)
	}
	for _, set := range compiler.sets {
		plan.Sets = append(plan.Sets, set)
	}
	slices.SortFunc(plan.Sets, func(a, b Set) int { return cmp.Compare(a.Name, b.Name) })
	return plan
}

// digest names content: 128 bits, so that nobody can make two names collide
// who may write policies but not break SHA-256.
func digest(parts []string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return hex.EncodeToString(sum[:16])
}
