package service

import "slices"

// Verdict says whether an endpoint gets new flows by a traffic policy, and why.
type Verdict uint8

// The verdicts. The first two are in the set, the next are out of it, and the
// endpoints with the last are never looked at by a planner.
const (
	Chosen   Verdict = iota
	Draining         // it terminates but serves, and no better one is there (KEP-1669)

	NotReady
	Terminating // it serves still, but there are ready ones
	NotServing  // it terminates and serves no longer
	OtherNode   // its hints name other nodes (KEP-4444)
	OtherZone   // its hints name other zones (KEP-2433)
	NotLocal    // policy Local, and it is not on this node

	OtherFamily       // the Service has no address of its family
	DomainName        // a slice of domain names, which no proxy looks at
	HeadlessSlice     // the slice is labelled as a headless Service's
	NoPort            // the slice has no number for the port
	Duplicate         // the same address and port is in another slice, and that one counts
	NumVerdicts   int = iota
)

var verdictNames = [NumVerdicts]string{
	"Chosen", "Draining", "NotReady", "Terminating", "NotServing", "OtherNode", "OtherZone", "NotLocal",
	"OtherFamily", "DomainName", "HeadlessSlice", "NoPort", "Duplicate",
}

func (v Verdict) String() string { return verdictNames[v] }

// MarshalText makes JSON show the name.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// In reports whether the endpoint gets new flows.
func (v Verdict) In() bool { return v <= Draining }

// byCluster judges by traffic policy Cluster: the ready endpoints that the
// hints allow to this node, else those that serve while terminating.
func byCluster(eps []endpoint, self node) func(*endpoint) Verdict {
	allows, otherwise := topology(eps, self)
	near := func(e *endpoint) bool {
		return e.ready && (allows == nil || slices.Contains(allows(e), self.named(otherwise)))
	}
	fallback := !slices.ContainsFunc(eps, func(e endpoint) bool { return near(&e) })
	return func(e *endpoint) Verdict {
		switch {
		case near(e):
			return Chosen
		case e.ready:
			return otherwise
		}
		return unready(e, fallback)
	}
}

// byLocal judges by traffic policy Local, which hints do not matter to.
func byLocal(eps []endpoint) func(*endpoint) Verdict {
	fallback := !slices.ContainsFunc(eps, func(e endpoint) bool { return e.local && e.ready })
	return func(e *endpoint) Verdict {
		switch {
		case !e.local && (e.ready || e.draining()):
			return NotLocal
		case e.ready:
			return Chosen
		}
		return unready(e, fallback)
	}
}

// unready judges an endpoint that is not ready; fallback says that no other is.
func unready(e *endpoint, fallback bool) Verdict {
	switch {
	case e.draining() && fallback:
		return Draining
	case e.draining():
		return Terminating
	case e.terminating:
		return NotServing
	}
	return NotReady
}

// topology returns the hints that decide for this node, and the verdict on an
// endpoint they keep away: those for nodes if every ready endpoint has some and
// one names this node; else the same with zones; else nil, and none decide.
func topology(eps []endpoint, self node) (func(*endpoint) []string, Verdict) {
	decide := func(hints func(*endpoint) []string, to string) bool {
		hit := false
		for i := range eps {
			if !eps[i].ready {
				continue
			}
			h := hints(&eps[i])
			if len(h) == 0 {
				return false
			}
			hit = hit || slices.Contains(h, to)
		}
		return hit && to != ""
	}
	byNode := func(e *endpoint) []string { return e.nodeHints }
	byZone := func(e *endpoint) []string { return e.zoneHints }
	switch {
	case decide(byNode, self.name):
		return byNode, OtherNode
	case decide(byZone, self.zone):
		return byZone, OtherZone
	}
	return nil, Chosen
}

// named is what the hints behind a verdict call this node.
func (n node) named(by Verdict) string {
	if by == OtherNode {
		return n.name
	}
	return n.zone
}
