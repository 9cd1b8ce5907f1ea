package route

import (
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/dialect/fairway"
	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// FuzzPlanner changes a small cluster at random and compares the plan that a
// Planner keeps up to date with one made from nothing.
func FuzzPlanner(f *testing.F) {
	for seed := range uint64(40) {
		f.Add(seed)
	}
	certs := []map[string][]byte{certificate(f, now.AddDate(1, 0, 0), "a.example"), certificate(f, now.AddDate(0, 0, -1), "*.example"), {"tls.crt": []byte("x")}}
	f.Fuzz(func(t *testing.T, seed uint64) {
		w := &world{Rand: rand.New(rand.NewPCG(seed, 2)), certs: certs}
		store := state.New()
		watch, planner := store.Watch(), New(here)
		for step := range 60 {
			store.Update(func(tx *state.Tx) {
				for range 1 + w.IntN(3) {
					w.change(tx)
				}
			})
			if w.IntN(3) == 0 {
				continue // several changes at once
			}
			snap, changes := watch.Take()
			kept, fresh := planner.Update(snap, changes, now), Make(snap, here, now)
			if !slices.Equal(kept.External, fresh.External) || kept.Listeners[0].Hosts.Len() != fresh.Listeners[0].Hosts.Len() {
				t.Fatalf("step %d, changes %v: external %v, want %v", step, changes.Keys, kept.External, fresh.External)
			}
			if got, want := kept.String(), fresh.String(); got != want {
				t.Fatalf("step %d, changes %v:\n--- kept up to date\n%s--- from nothing\n%s", step, changes.Keys, got, want)
			}
		}
	})
}

// world makes random objects that collide with each other.
type world struct {
	*rand.Rand
	certs []map[string][]byte
}

func pickFrom[T any](w *world, from ...T) T { return from[w.IntN(len(from))] }

func (w *world) change(tx *state.Tx) {
	name := model.Name{Namespace: pickFrom(w, "n", "m"), Name: pickFrom(w, "aa", "ab", "ac", "b")}
	gone := w.IntN(4) == 0
	switch w.IntN(8) {
	case 7:
		if gone {
			tx.Delete(model.KindNode, "node-1")
			return
		}
		tx.Set(&model.Node{Name: pickFrom(w, "node-1", "node-2"), Zone: pickFrom(w, "", "a", "b")})
	case 6:
		if w.IntN(3) == 0 {
			name = DefaultConfigMaps[w.IntN(2)]
		} else if w.IntN(3) == 0 {
			name = pickFrom(w, DefaultStreamMaps.TCP[2], DefaultStreamMaps.TCP[0], DefaultStreamMaps.UDP[0])
		}
		if gone {
			tx.Delete(model.KindConfigMap, name.String())
			return
		}
		tx.Set(&model.ConfigMap{Name: name, Data: map[string]string{pickFrom(w, "X-A", "global-allowed-response-headers", "ssl-redirect", "allow-cross-namespace-resources", "hsts",
			"global-auth-url", "allow-snippet-annotations", "proxy-set-headers", "default-ssl-certificate", "allow-external-names", "typo", "9000", "9001"): pickFrom(w, "X-A", "true", "false", "n/aa", "http://auth.example/", "n/aa:80", "m/b:dns:PROXY")}})
	case 0, 1:
		if gone {
			tx.Delete(model.KindIngress, name.String())
			return
		}
		tx.Set(w.ingress(name))
	case 2:
		if gone {
			tx.Delete(model.KindService, name.String())
			return
		}
		s := &model.Service{Name: name, Type: pickFrom(w, model.ClusterIP, model.ClusterIP, model.ExternalName)}
		for range 1 + w.IntN(2) {
			s.Ports = append(s.Ports, model.ServicePort{Name: pickFrom(w, "web", "dns"), Protocol: pickFrom(w, model.TCP, model.TCP, model.UDP),
				Port: pickFrom(w, uint16(80), 81), TargetPort: model.IntOrString{Int: 8080}, AppProtocol: pickFrom(w, "", "grpc")})
		}
		if w.IntN(3) == 0 {
			s.Annotations = map[string]string{"fairway.dev/" + pickFrom(w, "zones", "balance", "max-requests", "typo"): pickFrom(w, "prefer", "off", "ewma", "7")}
		}
		tx.Set(s)
	case 3:
		s := &model.EndpointSlice{Name: model.Name{Namespace: name.Namespace, Name: pickFrom(w, "s1", "s2")}, Service: name.Name, Family: model.IPv4}
		if gone {
			tx.Delete(model.KindEndpointSlice, s.Key())
			return
		}
		s.Ports = []model.EndpointPort{{Name: pickFrom(w, "web", "dns"), Protocol: model.TCP, Port: pickFrom(w, uint16(8080), 9090)}}
		for range w.IntN(3) {
			s.Endpoints = append(s.Endpoints, model.Endpoint{Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(w.IntN(4))}),
				Ready: w.IntN(2) == 0, Serving: w.IntN(2) == 0, Terminating: w.IntN(2) == 0,
				Zone: pickFrom(w, "a", "b"), ZoneHints: pickFrom(w, nil, []string{"a"}, []string{"a", "b"}), NodeHints: pickFrom(w, nil, nil, []string{"node-1"})})
		}
		tx.Set(s)
	case 4:
		if gone {
			tx.Delete(model.KindSecret, name.String())
			return
		}
		tx.Set(&model.Secret{Name: name, Type: "kubernetes.io/tls", Data: pickFrom(w, append(w.certs, map[string][]byte{"auth": []byte("a:b\n"), "ca.crt": []byte("x")})...)})
	case 5:
		class := pickFrom(w, "fairway", "nginx", "other")
		if gone {
			tx.Delete(model.KindIngressClass, class)
			return
		}
		tx.Set(&model.IngressClass{Name: class, Controller: pickFrom(w, "fairway.dev/ingress", "k8s.io/ingress-nginx", "example.org/x"),
			Default: w.IntN(3) == 0, Created: now.Add(time.Duration(w.IntN(3)) * time.Hour)})
	}
}

func (w *world) ingress(name model.Name) *model.Ingress {
	ing := &model.Ingress{Name: name, ClassName: pickFrom(w, "fairway", "fairway", "nginx", "", "other", "none"),
		Created: now.Add(time.Duration(w.IntN(3)) * time.Hour), Annotations: map[string]string{}}
	if w.IntN(4) == 0 {
		ing.Annotations[nginx.Prefix+pickFrom(w, "rewrite-target", "use-regex", "ssl-redirect", "typo", "app-root", "server-alias", "affinity", "canary", "auth-url")] = pickFrom(w, "true", "/x", "/", "b.example", "cookie")
	}
	for range w.IntN(4) { // what is made of other objects
		set := pickFrom(w, "auth-type=basic", "auth-type=digest", "auth-secret=aa", "auth-secret=m/b", "auth-tls-secret=ab", "proxy-ssl-secret=ac", "proxy-ssl-verify=on",
			"custom-headers=aa", "default-backend=ab", "custom-http-errors=404", "ssl-passthrough=true", "from-to-www-redirect=true", "service-upstream=true", "auth-proxy-set-headers=b",
			"auth-url=http://auth.example/", "configuration-snippet=deny all;")
		key, value, _ := strings.Cut(set, "=")
		ing.Annotations[nginx.Prefix+key] = value
	}
	if w.IntN(3) == 0 {
		ing.Annotations[fairway.Prefix+"match-"+pickFrom(w, "methods", "headers", "query", "typo")] = pickFrom(w, "GET", "X=1", "x~y", "(")
	}
	if w.IntN(4) == 0 {
		b := w.backend()
		ing.Default = &b
	}
	for range w.IntN(3) {
		r := model.IngressRule{Host: pickFrom(w, "", "a.example", "b.example", "*.example")}
		for range w.IntN(3) {
			r.Paths = append(r.Paths, model.IngressPath{Path: pickFrom(w, "/", "/x", "/x/", "/x(y"), Type: pickFrom(w, model.Exact, model.Prefix, model.ImplementationSpecific), Backend: w.backend()})
		}
		ing.Rules = append(ing.Rules, r)
	}
	for range w.IntN(2) {
		t := model.IngressTLS{Secret: pickFrom(w, "", "aa", "ab", "ac", "b")}
		for range w.IntN(3) {
			t.Hosts = append(t.Hosts, pickFrom(w, "a.example", "b.example", "*.example"))
		}
		ing.TLS = append(ing.TLS, t)
	}
	return ing
}

func (w *world) backend() model.IngressBackend {
	if w.IntN(8) == 0 {
		return model.IngressBackend{Resource: "Bucket/x"}
	}
	return model.IngressBackend{Service: pickFrom(w, "aa", "ab", "ac", "b"), Port: pickFrom(w, model.IntOrString{Int: 80}, model.IntOrString{Int: 8080}, model.IntOrString{Str: "web"})}
}

// FuzzTree compares the tree with reading the rules from the top.
func FuzzTree(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		w := &world{Rand: rand.New(rand.NewPCG(seed, 3))}
		var drafts []draft
		for range 1 + w.IntN(10) {
			d := draft{path: w.path(), kind: pickFrom(w, model.Exact, model.Prefix, model.ImplementationSpecific)}
			d.rule.Match.When = w.when()
			drafts = append(drafts, d)
		}
		h, _ := mergeHost("", []*fragment{{ing: &model.Ingress{}, drafts: drafts}}, newShared())
		for range 50 {
			req := &Request{Path: w.path(), Method: pickFrom(w, "GET", "POST"), Query: pickFrom(w, "", "v=1", "v=2&d", "v=2&v=1"),
				Header: http.Header{pickFrom(w, "X-A", "X-B"): {pickFrom(w, "1", "2")}}}
			got, want := h.Find(req), literal(h.Rules, req)
			if got != want {
				t.Fatalf("rules %v, request %+v: got %v, want %v", h.Rules, req, got, want)
			}
		}
	})
}

func (w *world) path() string {
	var b strings.Builder
	for range 1 + w.IntN(3) {
		b.WriteString("/" + pickFrom(w, "a", "ab", "abc", "b", "a.b"))
	}
	return pickFrom(w, b.String(), b.String(), b.String()+"/", "/")
}

// when makes conditions of one word each; see satisfied.
func (w *world) when() *When {
	c := &When{}
	if w.IntN(3) == 0 {
		c.Methods = []string{pickFrom(w, "GET", "POST")}
	}
	if w.IntN(3) == 0 {
		c.Headers = append(c.Headers, dialect.Condition{Name: pickFrom(w, "x-a", "X-B"), Value: pickFrom(w, "1", "2", "")})
	}
	if w.IntN(3) == 0 {
		c.Query = append(c.Query, dialect.Condition{Name: pickFrom(w, "v", "d"), Value: pickFrom(w, "1", "2", "")})
	}
	if c.String() == "" {
		return nil
	}
	return c
}

// satisfied drops the rules whose conditions req does not have, and puts the others into the
// order of the Gateway API: a method, the number of headers, that of arguments; what is
// there once is enough for both, as when makes no more.
func satisfied(rules []*Rule, req *Request) []*Rule {
	var out []*Rule
	weight := map[*Rule]int{}
	for _, r := range rules {
		ok := true
		if c := r.Match.When; c != nil {
			weight[r] = 4*len(c.Methods) + 2*len(c.Headers) + len(c.Query)
			ok = len(c.Methods) == 0 || c.Methods[0] == req.Method
			for _, h := range c.Headers {
				have, there := req.Header.(http.Header)[http.CanonicalHeaderKey(h.Name)]
				ok = ok && there && (h.Value == "" || h.Value == have[0])
			}
			for _, q := range c.Query {
				have, there := map[string]map[string]string{"": {}, "v=1": {"v": "1"}, "v=2&d": {"v": "2", "d": ""}, "v=2&v=1": {"v": "2"}}[req.Query][q.Name]
				ok = ok && there && (q.Value == "" || q.Value == have)
			}
		}
		if ok {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b *Rule) int { return weight[b] - weight[a] })
	return out
}

// literal reads networking/v1 word by word, for the rules whose conditions the request has:
// a prefix that ends in a slash also matches the path without it, and then counts as no
// longer than that.
func literal(rules []*Rule, req *Request) *Rule {
	path := req.Path
	rules = satisfied(rules, req)
	for _, r := range rules {
		if r.Match.Kind == Exact && r.Match.Path == path {
			return r
		}
	}
	for length := len(path); length > 0; length-- {
		for _, kind := range []PathKind{Prefix, Exact, Text} { // Exact stands for the prefix without its slash
			for _, r := range rules {
				p := r.Match.Path
				switch {
				case kind == Prefix && r.Match.Kind == Prefix && p == path[:length] && elements(path, p),
					kind == Exact && r.Match.Kind == Prefix && length == len(path) && p == path+"/",
					kind == Text && r.Match.Kind == Text && p == path[:length]:
					return r
				}
			}
		}
	}
	return nil
}

// elements compares element by element, ignoring a slash at the end of the prefix.
func elements(path, prefix string) bool {
	want := strings.Split(strings.Trim(prefix, "/"), "/")
	have := strings.Split(strings.Trim(path, "/"), "/")
	if prefix == "/" {
		return true
	}
	for i := range want {
		if i >= len(have) || have[i] != want[i] {
			return false
		}
	}
	return true
}

// FuzzCanonicalPath: canonical forms are stable, have no dot segment and no
// empty segment, and the form that is sent means the same as the one that is
// matched.
func FuzzCanonicalPath(f *testing.F) {
	for _, s := range []string{"/", "/a//b/../c", "/%61%2f", "/a/./%2e", "/..;/x", "/a%5c..%5c", "/%252e%252e", "/a/b/..//..//c/."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		match, forward, err := CanonicalPath(raw)
		if err != nil {
			return
		}
		if !strings.HasPrefix(match, "/") || strings.Contains(match, "//") || !strings.HasPrefix(forward, "/") {
			t.Fatalf("%q: match %q, forward %q", raw, match, forward)
		}
		for _, s := range append(strings.Split(match, "/"), strings.Split(forward, "/")...) {
			if s == "." || s == ".." {
				t.Fatalf("%q: dot segment in match %q or forward %q", raw, match, forward)
			}
		}
		again, same, err := CanonicalPath(forward)
		if err != nil || again != match || same != forward {
			t.Fatalf("%q: forward %q is read as %q, %q, %v, not %q", raw, forward, again, same, err, match)
		}
	})
}

// TestEndpointsLeaveHostsAlone is the contract with the proxy: a change of
// endpoints replaces one Backend, and a change of one Ingress its own hosts.
func TestEndpointsLeaveHostsAlone(t *testing.T) {
	store := state.New()
	watch, planner := store.Watch(), New(Params{})
	step := func(objects ...any) *Plan {
		store.Update(func(tx *state.Tx) {
			for _, o := range objects {
				tx.Set(o)
			}
		})
		snap, changes := watch.Take()
		return planner.Update(snap, changes, now)
	}
	service := func(name string) *model.Service {
		return &model.Service{Name: model.Name{Namespace: "default", Name: name}, Ports: []model.ServicePort{{Protocol: model.TCP, Port: 80}}}
	}
	slice := func(addr string) *model.EndpointSlice {
		return &model.EndpointSlice{Name: model.Name{Namespace: "default", Name: "x"}, Service: "s0", Family: model.IPv4,
			Ports: []model.EndpointPort{{Protocol: model.TCP, Port: 8080}}, Endpoints: []model.Endpoint{{Addr: netip.MustParseAddr(addr), Ready: true}}}
	}
	a := step(decode(t, ingress("a", 1, "a.example", "Prefix /")), decode(t, ingress("b", 1, "b.example", "Prefix /", "Prefix /x")), service("s0"), service("s1"), slice("10.0.0.1"))
	b := step(slice("10.0.0.2"))
	if a.Listeners[0].Hosts != b.Listeners[0].Hosts || a.Listeners[0].Certs != b.Listeners[0].Certs {
		t.Error("a change of endpoints replaced hosts or certificates")
	}
	s0, s1 := backendKey("s0", 80), backendKey("s1", 80)
	if a.Backends.Get(s0) == b.Backends.Get(s0) || a.Backends.Get(s1) != b.Backends.Get(s1) {
		t.Error("not just the one backend was replaced")
	}
	c := step(decode(t, ingress("b", 1, "b.example", "Prefix /y")))
	if b.Listeners[0].Hosts.Lookup("a.example") != c.Listeners[0].Hosts.Lookup("a.example") {
		t.Error("a change of one Ingress replaced the host of another")
	}
	if b.Listeners[0].Hosts.Lookup("b.example") == c.Listeners[0].Hosts.Lookup("b.example") {
		t.Error("the host of the Ingress was not replaced")
	}
	if c.Backends.Get(s0) != b.Backends.Get(s0) {
		t.Error("a change of rules replaced a backend")
	}
	if d := step(decode(t, ingress("b", 1, "b.example", "Prefix /y")), slice("10.0.0.2")); d != c {
		t.Error("objects that say the same made another plan")
	}
	if c.Backends.Get(s1) != nil {
		t.Error("a backend that nobody mentions stayed: " + c.String())
	}
}
