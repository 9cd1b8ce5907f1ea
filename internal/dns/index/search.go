package index

import (
	"net/netip"
	"slices"

	"github.com/fairway-net/fairway/internal/dns/wire"
)

// A Pod's resolver appends the search path to a name with fewer than five dots
// and asks for N.NAMESPACE.svc.ZONE, N.svc.ZONE, N.ZONE, N below the node's own
// domains, and N at last, A and AAAA each. The first question says all: who
// asks is a known Pod, so the rest of the walk can be gone here.
//
// The answer is a CNAME to the name that was found. If there is none it is a
// CNAME to N itself, without data: NXDOMAIN would make the resolver go on. Of
// the names in the zone only those are looked for that cannot be meant as they
// stand; see Meant.

// everywhere in SetSearch stands for all namespaces.
const everywhere = "*"

// SetSearch says in which namespaces Pods' search paths are walked here.
func (x *Index) SetSearch(namespaces []string) {
	if len(namespaces) == 0 {
		x.search.Store(nil)
		return
	}
	set := map[string]bool{}
	for _, n := range namespaces {
		if n == everywhere {
			set = nil
			break
		}
		set[label(n)] = true
	}
	x.search.Store(&set)
}

// Searches reports whether Meant can say yes.
func (x *Index) Searches() bool { return x.search.Load() != nil }

// Meant tells what the Pod at client is looking for if q, a name that does not
// exist, is the first step of its search: the name in wire form and lower case,
// in buf, which has 256 bytes, and whether that is the zone's.
//
// Not meant by a search, because it may have been asked for as it stands:
//   - a name below a Service, which is the Service's to deny
//   - a single label: the name of a Service that may come
//   - _PORT._PROTOCOL.SERVICE
//   - what the second step finds: SERVICE.NAMESPACE could as well be HOST.SERVICE
func (x *Index) Meant(q *wire.Query, client netip.Addr, buf []byte) (meant []byte, inZone, ok bool) {
	spaces := x.search.Load()
	if spaces == nil || !x.podsSynced.Load() {
		return nil, false, false
	}
	n := name{q.Lower(), q.Labels[:q.NumLabels]}
	space := len(n.labels) - x.labels - 2 // index of the namespace's label
	if space < 2 || !x.mine(n) || string(n.label(space+1)) != "svc" {
		return nil, false, false
	}
	asker := x.searcher(client)
	if asker == "" || asker != string(n.b[n.labels[space]:n.labels[space+1]]) || *spaces != nil && !(*spaces)[asker] {
		return nil, false, false
	}
	if x.services.get(n.b[n.labels[space-1]:n.labels[space+1]]) != nil || space == 3 && n.b[1] == '_' {
		return nil, false, false
	}
	typed := n.b[:n.labels[space]]
	var labels [128]uint8
	exists := func(suffix []byte) bool {
		if len(typed)+len(suffix) > 255 {
			return false
		}
		meant = append(append(buf[:0], typed...), suffix...)
		m := split(meant, &labels)
		return x.mine(m) && x.find(m).exists
	}
	if exists(x.suffix) {
		return nil, false, false
	}
	if exists(x.zone) {
		return meant, true, true
	}
	meant = append(append(buf[:0], typed...), 0)
	return meant, x.mine(split(meant, &labels)), true
}

// Complete answers w's question by a CNAME to meant, a name of the zone. It
// reports what Answer does, for the name that comes last.
func (x *Index) Complete(w *wire.Writer, meant []byte, random uint32) (res Result, target []byte, owner int) {
	w.Reset()
	w.Flag(wire.FlagAA)
	owner, ok := w.CNAME(wire.QuestionName, meant, x.TTL())
	if !ok || w.Query().Type == wire.TypeCNAME {
		return Answered, nil, 0
	}
	var labels [128]uint8
	return x.chase(w, split(slices.Clone(meant), &labels), owner, random)
}
