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

// subject is a pod of this node with the policies that select it.
type subject struct {
	pod      *model.Pod
	policies []*model.NetworkPolicy
}

// For plans the policies of the pods of node. It looks at Pods, Namespaces and
// NetworkPolicies; its cost is that of evaluating, once per pod of the
// cluster, the selectors that policies of this node's pods mention.
func For(snap *state.Snapshot, node string) Plan {
	subjects := subjectsOf(snap, node)
	vocabulary := newVocabulary()
	for _, s := range subjects {
		for _, p := range s.policies {
			vocabulary.addPolicy(p)
		}
	}
	classes := classify(snap, vocabulary)
	return assemble(subjects, vocabulary, classes)
}

// HasNetwork reports whether pod has addresses of its own that policies are
// about: a pod on the host network is its node, and a finished pod has given
// its addresses back, though the API still shows them.
func HasNetwork(pod *model.Pod) bool { return !pod.HostNetwork && !pod.Done }

func subjectsOf(snap *state.Snapshot, node string) []subject {
	byNamespace := map[string][]*model.NetworkPolicy{}
	for _, p := range snap.Policies.All() {
		byNamespace[p.Namespace] = append(byNamespace[p.Namespace], p)
	}
	var out []subject
	for _, pod := range snap.Pods.All() {
		if pod.Node != node || !HasNetwork(pod) {
			continue
		}
		s := subject{pod: pod}
		for _, p := range byNamespace[pod.Namespace] {
			if p.Pods.Matches(pod.Labels) {
				s.policies = append(s.policies, p)
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
