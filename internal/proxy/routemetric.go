package proxy

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-net/fairway/internal/metric"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/route"
)

// routes has the figures of each path of each host. Its labels come from objects of the
// cluster and from small fixed sets (the class of the status), never from a request, so that
// clients cannot make it grow.
type routes struct {
	mu     sync.RWMutex
	byRule map[*route.Rule]*routeFigures // what requests look up; rules of older plans among them
	byKey  map[routeKey]*routeFigures    // goes on from plan to plan
	bounds [routeBounds]time.Duration    // of the histograms: Prometheus' own default
}

// routeKey names a path; without host and path an Ingress's default backend; the zero value
// is what no Ingress is for. Beyond mostRoutes of them
// further paths count as one for each Ingress, without host and path.
type routeKey struct {
	ingress    model.Name
	host, path string
}

// mostRoutes bounds the answer to a scrape, in which each has 20 lines at most.
const mostRoutes = 10_000

// routeFigures are in one piece: of a path among many they are not in the processor's cache.
type routeFigures struct {
	status  [6]atomic.Uint64 // by hundreds; 0 is "no answer", for clients that went away
	took    metric.Durations
	buckets [routeBounds + 1]atomic.Uint64 // of took
}

const routeBounds = 11

func newRoutes() *routes {
	const ms = time.Millisecond
	return &routes{byRule: map[*route.Rule]*routeFigures{}, byKey: map[routeKey]*routeFigures{},
		bounds: [routeBounds]time.Duration{5 * ms, 10 * ms, 25 * ms, 50 * ms, 100 * ms, 250 * ms, 500 * ms, 1000 * ms, 2500 * ms, 5000 * ms, 10000 * ms}}
}

// clientGone is the status of an exchange whose client went away, as nginx has it: nobody
// reads an answer.
const clientGone = 499

// statusClass is the place of a status in routeFigures. What is no status of HTTP, as some
// pods send, is their mistake.
func statusClass(status int) int {
	switch class := status / 100; {
	case status == clientGone:
		return 0
	case class > 5:
		return 5
	default:
		return class
	}
}

// done counts an exchange.
func (r *routes) done(x *exchange) {
	f := r.of(x)
	f.status[statusClass(x.writer.status)].Add(1)
	f.took.Observe(time.Since(x.start))
}

func (r *routes) of(x *exchange) *routeFigures {
	r.mu.RLock()
	f := r.byRule[x.rule]
	r.mu.RUnlock()
	if f != nil {
		return f
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := keyOf(x.site, x.rule)
	if f = r.byKey[key]; f == nil && len(r.byKey) >= mostRoutes {
		key.host, key.path = "", ""
		f = r.byKey[key]
	}
	if f == nil {
		f = &routeFigures{}
		f.took.Init(r.bounds[:], f.buckets[:])
		r.byKey[key] = f
	}
	if len(r.byRule) > 2*len(r.byKey)+1000 { // most are of older plans
		clear(r.byRule)
	}
	r.byRule[x.rule] = f
	return f
}

// keyOf is the key of a rule that host has, or else of a default backend.
func keyOf(host *route.Host, rule *route.Rule) routeKey {
	switch {
	case rule == nil || rule.Source.Ref.Kind != model.KindIngress: // default-backend-service has what no Ingress wants
		return routeKey{}
	case !slices.Contains(host.Rules, rule):
		return routeKey{ingress: rule.Source.Ref.Name}
	}
	return routeKey{rule.Source.Ref.Name, host.Pattern, rule.Match.Path}
}

// forget drops the figures of paths that the plan does not have any more.
func (r *routes) forget(p *route.Plan) {
	if len(p.Listeners) == 0 {
		return
	}
	hosts := p.Listeners[0].Hosts
	r.mu.Lock()
	defer r.mu.Unlock()
	gone := false
	for key := range r.byKey {
		if !planned(p, hosts.Of(key.host), key) {
			delete(r.byKey, key)
			gone = true
		}
	}
	if gone {
		clear(r.byRule)
	}
}

// planned reports whether some rule of host, which may be nil, has the key.
func planned(p *route.Plan, host *route.Host, key routeKey) bool {
	if key == (routeKey{}) {
		return true
	}
	if key.host == "" && key.path == "" { // of a default backend, or of paths beyond mostRoutes
		return p.Serves(key.ingress)
	}
	return host != nil && slices.ContainsFunc(host.Rules, func(r *route.Rule) bool {
		return r.Source.Ref.Name == key.ingress && r.Match.Path == key.path
	})
}

func (r *routes) write(w metric.Writer) {
	r.mu.RLock()
	all := maps.Clone(r.byKey)
	r.mu.RUnlock()
	keys := slices.SortedFunc(maps.Keys(all), routeKey.compare)
	w.Family("fairway_http_requests_total", metric.Counter, "Requests by Ingress, host and path of the rule, and class of the status; 499 is a client that went away.")
	for _, k := range keys {
		for class := range all[k].status {
			if v := all[k].status[class].Load(); v > 0 {
				w.Value("fairway_http_requests_total", float64(v), append(k.labels(), "code", [...]string{"499", "1xx", "2xx", "3xx", "4xx", "5xx"}[class])...)
			}
		}
	}
	w.Family("fairway_http_request_duration_seconds", metric.Histogram, "Time from the head of the request to the end of the response.")
	for _, k := range keys {
		all[k].took.Write(w, "fairway_http_request_duration_seconds", k.labels()...)
	}
}

func (k routeKey) labels() []string {
	return []string{"namespace", k.ingress.Namespace, "ingress", k.ingress.Name, "host", k.host, "path", k.path}
}

func (k routeKey) compare(o routeKey) int {
	return cmp.Or(k.ingress.Compare(o.ingress), strings.Compare(k.host, o.host), strings.Compare(k.path, o.path))
}
