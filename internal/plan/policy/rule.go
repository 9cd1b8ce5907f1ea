package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/model"
)

// direction is seen from the pod that a policy selects.
type direction bool

const (
	ingress direction = false
	egress  direction = true
)

// compiler turns policies into sets, each distinct one once.
type compiler struct {
	v       *vocabulary
	classes *classes
	sets    map[string]Set
	done    map[string]*string // what determines a set -> its name
}

func newCompiler(v *vocabulary, c *classes) *compiler {
	return &compiler{v: v, classes: c, sets: map[string]Set{}, done: map[string]*string{}}
}

// set returns the name of what s accepts in direction d, or nil if no policy
// isolates it there.
func (c *compiler) set(s subject, d direction) *string {
	var policies []*model.NetworkPolicy
	for _, p := range s.policies {
		if d == ingress && p.Ingress || d == egress && p.Egress {
			policies = append(policies, p)
		}
	}
	if len(policies) == 0 {
		return nil
	}
	key := determinants(s.pod, policies, d)
	if name, ok := c.done[key]; ok {
		return name
	}
	var rules []Rule
	for _, p := range policies {
		list := p.IngressRules
		if d == egress {
			list = p.EgressRules
		}
		for i := range list {
			rules = c.appendRule(rules, s.pod, p.Namespace, &list[i], d)
		}
	}
	rules = reduce(rules)
	set := Set{Name: setName(rules), Rules: rules}
	c.sets[set.Name] = set
	c.done[key] = &set.Name
	return &set.Name
}

// determinants is equal for pods that certainly have equal sets: the same
// policies, and for ingress the same numbers behind the port names.
func determinants(pod *model.Pod, policies []*model.NetworkPolicy, d direction) string {
	var key strings.Builder
	fmt.Fprint(&key, d)
	for _, p := range policies {
		fmt.Fprintf(&key, " %s", p.Name)
	}
	if d == ingress {
		for i := range pod.Ports {
			if p := &pod.Ports[i]; p.Name != "" {
				fmt.Fprintf(&key, " %d/%s=%d", p.Protocol, p.Name, p.Port)
			}
		}
	}
	return key.String()
}

// appendRule appends peers × ports of one rule of a policy.
func (c *compiler) appendRule(rules []Rule, pod *model.Pod, namespace string, r *model.PolicyRule, d direction) []Rule {
	ports := r.Ports
	if len(ports) == 0 {
		return c.appendPeers(rules, namespace, r.Peers, nil, Rule{AnyProtocol: true, PortHi: maxPort})
	}
	for _, port := range ports {
		rule := Rule{Protocol: port.Protocol, PortHi: maxPort}
		name := portName{port.Protocol, port.Port.Str}
		switch {
		case port.Port.IsZero():
			rules = c.appendPeers(rules, namespace, r.Peers, nil, rule)
		case name.name == "":
			rule.PortLo, rule.PortHi = port.Port.Int, max(port.Port.Int, port.EndPort)
			rules = c.appendPeers(rules, namespace, r.Peers, nil, rule)
		case d == ingress: // the destination is the pod itself
			if n := resolve(pod, name); n != 0 {
				rule.PortLo, rule.PortHi = n, n
				rules = c.appendPeers(rules, namespace, r.Peers, nil, rule)
			}
		default: // the destination is the peer: one rule for each number among peers
			for _, n := range c.classes.numbers[name] {
				a := c.v.portAtom(name, n)
				rule.PortLo, rule.PortHi = n, n
				rules = c.appendPeers(rules, namespace, r.Peers, &a, rule)
			}
		}
	}
	return rules
}

const maxPort = 65535

// appendPeers appends rule for each class that is among peers and contains
// also, if given. No peers: any peer.
func (c *compiler) appendPeers(rules []Rule, namespace string, peers []model.PolicyPeer, also *atom, rule Rule) []Rule {
	add := func(classes []*class) {
		for _, k := range classes {
			if also == nil || slices.Contains(k.atoms, *also) {
				rule.Class = k.name
				rules = append(rules, rule)
			}
		}
	}
	switch {
	case len(peers) > 0:
		for i := range peers {
			if a, ok := c.v.atomOf(namespace, &peers[i]); ok {
				add(c.classes.having[a])
			}
		}
	case also != nil:
		add(c.classes.having[*also])
	default:
		rule.AnyPeer = true
		rules = append(rules, rule)
	}
	return rules
}

// reduce sorts rules and drops those that another one contains.
func reduce(rules []Rule) []Rule {
	slices.SortFunc(rules, compareRules)
	rules = slices.Compact(rules)
	var wide []Rule // those that any class shares, and those for all of a class
	for _, r := range rules {
		if r.AnyPeer {
			wide = append(wide, r)
		}
	}
	all := map[string]bool{} // class -> everything is allowed
	for _, r := range rules {
		if !r.AnyPeer && r.AnyProtocol {
			all[r.Class] = true
		}
	}
	out := []Rule{}
	for _, r := range rules {
		within := func(w Rule) bool { return w != r && w.contains(r) }
		if slices.ContainsFunc(wide, within) || !r.AnyProtocol && !r.AnyPeer && all[r.Class] {
			continue
		}
		out = append(out, r)
	}
	return out
}

// contains reports whether r allows all that o allows.
func (r Rule) contains(o Rule) bool {
	return (r.AnyPeer || !o.AnyPeer && r.Class == o.Class) &&
		(r.AnyProtocol || !o.AnyProtocol && r.Protocol == o.Protocol && r.PortLo <= o.PortLo && o.PortHi <= r.PortHi)
}

func compareRules(a, b Rule) int {
	return cmp.Or(compareBool(b.AnyPeer, a.AnyPeer), cmp.Compare(a.Class, b.Class), compareBool(b.AnyProtocol, a.AnyProtocol),
		cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.PortLo, b.PortLo), cmp.Compare(a.PortHi, b.PortHi))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func setName(rules []Rule) string {
	parts := make([]string, len(rules))
	for i, r := range rules {
		parts[i] = fmt.Sprintf("%t %s %t %d %d-%d", r.AnyPeer, r.Class, r.AnyProtocol, r.Protocol, r.PortLo, r.PortHi)
	}
	return digest(parts)
}
