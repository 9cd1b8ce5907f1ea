package route

import (
	"sort"
	"strings"
)

// node is a node of a radix tree over the paths of a host's rules. Rules hang on
// the node at which their path ends, by their places in Host.Rules; each list is in
// the order in which its rules win. The tree is built once and then only read, by all
// hosts whose rules have the same paths.
type node struct {
	label    string // the letters between the parent and this node
	children []*node
	first    []byte // the first letter of each child's label, sorted

	exact  []leaf
	prefix []leaf
	// slashless are prefix rules whose path is this node's with a slash at its
	// end: they match this path, but nothing longer here.
	slashless []leaf
	text      []leaf
}

// leaf is a rule, by its place in Host.Rules.
type leaf struct {
	index int
	when  bool // the rule has conditions, which say whether it is passed over
}

// newTree builds the tree of rules, none of which is a regular expression.
func newTree(rules []*Rule) *node {
	root := &node{}
	for i, r := range rules {
		n, at := root.at(r.Match.Path), leaf{i, r.Match.When != nil}
		switch r.Match.Kind {
		case Exact:
			n.exact = append(n.exact, at)
		case Text:
			n.text = append(n.text, at)
		case Prefix:
			n.prefix = append(n.prefix, at)
			if p := r.Match.Path; len(p) > 1 && strings.HasSuffix(p, "/") {
				short := root.at(p[:len(p)-1])
				short.slashless = append(short.slashless, at)
			}
		}
	}
	return root
}

// at returns the node of path, made if there is none.
func (n *node) at(path string) *node {
	for path != "" {
		i := sort.Search(len(n.first), func(i int) bool { return n.first[i] >= path[0] })
		if i == len(n.first) || n.first[i] != path[0] {
			n.children = append(n.children, nil)
			copy(n.children[i+1:], n.children[i:])
			n.children[i] = &node{label: path}
			n.first = append(n.first, 0)
			copy(n.first[i+1:], n.first[i:])
			n.first[i] = path[0]
			return n.children[i]
		}
		child := n.children[i]
		common := commonPrefix(child.label, path)
		if common < len(child.label) {
			upper := &node{label: child.label[:common], children: []*node{child}, first: []byte{child.label[common]}}
			child.label = child.label[common:]
			n.children[i] = upper
			child = upper
		}
		n, path = child, path[common:]
	}
	return n
}

func commonPrefix(a, b string) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return i
}

// find returns the rule of highest precedence that matches, or nil. It walks down once;
// the last match that it sees on the way is the longest.
func (n *node) find(rules []*Rule, req *Request) *Rule {
	best, path, rest := none, req.Path, req.Path
	for n != nil {
		whole := rest == ""
		if whole {
			if i := first(n.exact, rules, req); i != none {
				return rules[i]
			}
		}
		here := none
		if whole || rest[0] == '/' || strings.HasSuffix(path[:len(path)-len(rest)], "/") { // at the end of an element
			here = first(n.prefix, rules, req)
		}
		if here == none && whole {
			here = first(n.slashless, rules, req)
		}
		if here == none {
			here = first(n.text, rules, req)
		}
		if here != none {
			best = here
		}
		n, rest = n.child(rest)
	}
	if best == none {
		return nil
	}
	return rules[best]
}

// none is no rule.
const none = -1

// first returns the rule that wins among those of one path, or none. It looks at rules
// only where they have conditions: of a host among many they are not in the cache.
func first(leaves []leaf, rules []*Rule, req *Request) int {
	for _, l := range leaves {
		if !l.when || rules[l.index].Match.When.holds(req) {
			return l.index
		}
	}
	return none
}

// child returns the child on the way to path and what is left of path there.
func (n *node) child(path string) (*node, string) {
	if path == "" {
		return nil, ""
	}
	lo, hi := 0, len(n.first)
	for lo < hi {
		mid := (lo + hi) / 2
		if n.first[mid] < path[0] {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(n.first) || n.first[lo] != path[0] {
		return nil, ""
	}
	c := n.children[lo]
	if !strings.HasPrefix(path, c.label) {
		return nil, ""
	}
	return c, path[len(c.label):]
}
