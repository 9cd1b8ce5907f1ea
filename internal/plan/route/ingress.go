package route

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/dialect/fairway"
	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/model"
)

// fragment is what one Ingress contributes. It depends on the Ingress, the options,
// and the objects that its annotations name, which are in needs; not on the Services
// and certificates of its spec, nor on other Ingresses.
type fragment struct {
	ing      *model.Ingress
	settings nginx.Settings
	hosts    []string // patterns of its rules, each once; "" for rules without host
	aliases  []string // further hosts, for those that have no rules of their own
	drafts   []draft
	fallback *Rule // spec.defaultBackend
	backends []backendRef
	certs    []certRef
	rejected []model.Rejected
	needs    []dependency
	www      []redirection // hosts that are sent to another one

	options        *nginx.Options
	auth           *Auth
	password       *Password
	client         *ClientCert
	backendTLS     *BackendTLS
	edit           *HeaderEdit
	errors         *Errors
	script         *Script
	defaultBackend *BackendKey
	when           *When
	connect        bool // CONNECT opens a tunnel
}

// redirection is a host that from-to-www-redirect adds.
type redirection struct{ from, to string }

// draft is a path before it is known whether its host is in regex mode.
type draft struct {
	host string
	path string // as written, "/" for ""
	kind model.PathType
	root bool // the rule of app-root: "/" and nothing else, before all others
	rule Rule // Match, but for When, and Rewrite are still empty
}

// backendRef is one mention of a backend.
type backendRef struct {
	key   BackendKey
	field string // up to and with "backend" or "defaultBackend"
}

// certRef is one item of spec.tls.
type certRef struct {
	field  string
	secret model.Name // empty Name: the default certificate
	hosts  []string   // lower case, "" for "all others"
}

// translate reads an Ingress that is ours.
func translate(ing *model.Ingress, r *reading) *fragment {
	f := &fragment{ing: ing, options: r.options}
	f.settings, f.rejected = nginx.Parse(refOf(ing), ing.Annotations, r.options)
	own, rejected := fairway.ParseIngress(ing)
	f.rejected = append(f.rejected, rejected...)
	f.when, f.connect = newWhen(&own), own.Connect
	f.readGuards(r)
	f.readEdit(r)
	f.readBackends(r)
	f.readHeaders(r)
	f.readScript(r)
	defer func() { f.needs = r.seen }()
	if ing.Default != nil {
		rule := f.rule(*ing.Default, "spec.defaultBackend", "spec.defaultBackend")
		f.fallback = &rule
	}
	f.aliases = f.settings.Aliases
	f.readRules(&own)
	for i, t := range ing.TLS {
		f.certs = append(f.certs, f.certRef(t, fmt.Sprintf("spec.tls[%d]", i)))
	}
	return f
}

// readRules makes a draft of each path of the rules.
func (f *fragment) readRules(own *fairway.IngressSettings) {
	root := f.ing.Default != nil
	for i, r := range f.ing.Rules {
		host := strings.ToLower(r.Host)
		if !slices.Contains(f.hosts, host) {
			f.readHost(host, own)
		}
		for j, p := range r.Paths {
			field := fmt.Sprintf("spec.rules[%d].http.paths[%d]", i, j)
			d := draft{host: host, path: p.Path, kind: p.Type, rule: f.rule(p.Backend, field, field+".backend")}
			if d.path == "" {
				d.path = "/"
			}
			if slices.ContainsFunc(f.options.NoAuth, func(p string) bool { return strings.HasPrefix(d.path, p) }) {
				d.rule.Auth, d.rule.Password = nil, nil
			}
			d.rule.Match.When = f.when
			root = root || d.path == "/"
			switch {
			case !own.Unmatched:
				f.drafts = append(f.drafts, d)
			case f.guards(&d.rule): // a rule without guards must not have its requests
				d.rule.Match.When = &When{Unknown: true}
				d.rule.refuse("what requests the rule is for cannot be read")
				f.drafts = append(f.drafts, d)
			}
		}
	}
	if f.connect && !root {
		f.rejected = append(f.rejected, model.Rejected{Ref: refOf(f.ing), Field: nginx.Field(fairway.Prefix + "connect"), Reason: "AnnotationInvalid",
			Message: "the Ingress has no path /, which is CONNECT's, as it has none", Fix: "add one, or remove the annotation"})
	}
}

// readHost notes a host of the rules, and what annotations add to it.
func (f *fragment) readHost(host string, own *fairway.IngressSettings) {
	f.hosts = append(f.hosts, host)
	if f.settings.AppRoot != "" && !own.Unmatched {
		f.drafts = append(f.drafts, f.appRoot(host))
	}
	if f.settings.WWW && host != "" && host[0] != '*' {
		f.www = append(f.www, wwwOf(host))
	}
}

// rule makes the rule for a backend, without its path.
func (f *fragment) rule(b model.IngressBackend, field, backendField string) Rule {
	s := &f.settings
	r := Rule{Source: Source{refOf(f.ing), field}, Redirect: redirect(s), Secure: secure(s), CORS: cors(s), Limits: limits(s, f.options), Access: access(s),
		MaxBody: s.BodySize, Unlogged: !s.AccessLog, Auth: f.auth, Password: f.password, Any: s.SatisfyAny, Edit: f.edit, Errors: f.errors,
		KeepSlash: s.KeepSlash, WithPort: s.PortInRedirects, Trace: trace(&s.Trace)}
	if s.Limits.Rate > 0 {
		r.Bandwidth = &Bandwidth{PerSecond: s.Limits.Rate, After: s.Limits.RateAfter}
	}
	if len(s.Mirror.Target) > 0 {
		r.Mirror = &Mirror{Target: s.Mirror.Target, Host: s.Mirror.Host, NoBody: s.Mirror.NoBody}
	}
	if b.Service == "" {
		rejected := model.Rejected{Ref: refOf(f.ing), Field: backendField + ".resource", Reason: "ResourceBackendUnsupported",
			Message: fmt.Sprintf("a backend of kind %s is not supported", b.Resource), Fix: "write backend.service"}
		f.rejected = append(f.rejected, rejected)
		if r.Redirect == nil {
			r.Respond = &Respond{Status: 503, Text: rejected.Message}
		}
		return r
	}
	key := BackendKey{Service: model.Name{Namespace: f.ing.Namespace, Name: b.Service}, Port: b.Port, ClusterIP: s.ServiceUpstream}
	f.backends = append(f.backends, backendRef{key, backendField})
	switch {
	case r.Redirect != nil:
	case s.Unguarded != "":
		guard := s.Unguarded
		if !strings.HasPrefix(guard, "option ") {
			guard = "annotation " + nginx.Prefix + guard
		}
		r.Respond = &Respond{Status: 503, Text: guard + " cannot be followed, and without it everybody could come in"}
	case s.Return.Status != 0 && r.Redirect == nil:
		r.Respond = &Respond{Status: s.Return.Status, Body: s.Return.Text}
	default:
		r.Forward = f.toBackend(key)
	}
	return r
}

// toBackend makes the Forward to a backend, without what depends on the path.
func (f *fragment) toBackend(key BackendKey) *Forward {
	s := &f.settings
	out := &Forward{Targets: []Target{{Backend: key, Weight: 1}}, Protocol: protocol(s.BackendProtocol), AutoTLS: s.BackendProtocol == nginx.AutoHTTP,
		Timeouts: Timeouts{Connect: s.ConnectTimeout, Send: s.SendTimeout, Read: s.ReadTimeout}, Tries: s.Tries,
		TLS: f.backendTLS, Fallback: f.defaultBackend, Connect: f.connect, Retry: retry(&s.NextUpstream), Balance: balance(&s.Balance)}
	out.Script = f.script
	if s.HoldBody {
		out.Hold = max(s.BodyMemory, 1)
	}
	if s.Buffering {
		out.Backlog = &Backlog{Memory: max(s.BufferSize*int64(s.Buffers), 1), File: s.TempFile}
	}
	if host, plain := s.UpstreamHost.Plain(); plain {
		out.Host = host
	} else {
		out.Vars = append(out.Vars, Field{"Host", s.UpstreamHost})
	}
	for _, h := range s.SetHeader {
		if text, plain := h.Value.Plain(); plain {
			out.Set = append(out.Set, Header{h.Name, text})
		} else {
			out.Vars = append(out.Vars, Field(h))
		}
	}
	if f.password != nil { // ours, not the endpoint's
		out.Set = append(out.Set, Header{Name: "Authorization"})
	}
	return out
}

// readHeaders adds the option proxy-set-headers to the settings.
func (f *fragment) readHeaders(r *reading) {
	if r.options.SetHeaders.Name == "" {
		return
	}
	if m := r.configMap(r.options.SetHeaders); m != nil {
		for _, h := range f.headersOf(m, "") {
			f.settings.SetHeader = append(f.settings.SetHeader, nginx.Header(h))
		}
	}
}

func retry(n *nginx.NextUpstream) *Retry {
	if n.Error && n.Timeout && !n.InvalidHeader && !n.NonIdempotent && n.Statuses == nil && n.Time == 0 {
		return nil
	}
	return &Retry{Error: n.Error, Timeout: n.Timeout, InvalidHeader: n.InvalidHeader, NonIdempotent: n.NonIdempotent, Statuses: n.Statuses, Within: n.Time}
}

func balance(b *nginx.Balance) *Balance {
	switch {
	case len(b.HashBy) > 0 && b.Subset:
		return &Balance{Key: b.HashBy, Subset: max(b.SubsetSize, 1)}
	case len(b.HashBy) > 0:
		return &Balance{Key: b.HashBy}
	case b.EWMA:
		return &Balance{EWMA: true}
	}
	return nil
}

// appRoot makes the rule that annotation app-root adds to a host.
func (f *fragment) appRoot(host string) draft {
	r := Rule{Source: Source{refOf(f.ing), nginx.Field(nginx.Prefix + "app-root")}, Secure: secure(&f.settings), Unlogged: !f.settings.AccessLog, Match: Match{When: f.when}}
	r.Redirect = &Redirect{Location: dialect.Template{{Var: dialect.Scheme}, {Text: "://"}, {Var: dialect.HTTPHost}, {Text: f.settings.AppRoot}}, Status: 302}
	return draft{host: host, path: "/", kind: model.Exact, root: true, rule: r}
}

// wwwOf is the host that is sent to host.
func wwwOf(host string) redirection {
	if short, ok := strings.CutPrefix(host, "www."); ok {
		return redirection{short, host}
	}
	return redirection{"www." + host, host}
}

func secure(s *nginx.Settings) Secure {
	switch {
	case s.ForceSSLRedirect:
		return Always
	case s.SSLRedirect:
		return WhereCertified
	}
	return Plain
}

func protocol(p nginx.Protocol) Protocol {
	return map[nginx.Protocol]Protocol{nginx.HTTP: HTTP1, nginx.HTTPS: HTTPS, nginx.GRPC: H2C, nginx.GRPCS: H2, nginx.FCGI: FastCGI}[p]
}

// certRef reads an item of spec.tls. Without hosts it is for all hosts of the
// Ingress's rules; where some of them have no host, for all other names as well.
func (f *fragment) certRef(t model.IngressTLS, field string) certRef {
	ref := certRef{field: field}
	if t.Secret != "" {
		ref.secret = model.Name{Namespace: f.ing.Namespace, Name: t.Secret}
	}
	for _, h := range t.Hosts {
		ref.hosts = append(ref.hosts, strings.ToLower(h))
	}
	if len(t.Hosts) == 0 {
		ref.hosts = slices.Clone(f.hosts)
		if f.fallback != nil && !slices.Contains(f.hosts, "") {
			ref.hosts = append(ref.hosts, "")
		}
	}
	return ref
}

// rewrites reports whether requests of d get another path. A target equal to the
// path changes nothing, as in ingress-nginx.
func (f *fragment) rewrites(d *draft) bool {
	return f.settings.RewriteTarget != "" && f.settings.RewriteTarget != d.path
}

// patterns are the hosts that f contributes to.
func (f *fragment) patterns() []string {
	out := slices.Concat(f.hosts, f.aliases)
	for _, w := range f.www {
		if !slices.Contains(out, w.from) {
			out = append(out, w.from)
		}
	}
	return out
}

// names reports whether f has drafts for a pattern: it is the host of one of its
// rules, or an alias.
func (f *fragment) names(pattern string, alias bool) bool {
	if alias {
		return slices.Contains(f.aliases, pattern)
	}
	return slices.Contains(f.hosts, pattern)
}

// compareAge orders by age, the oldest first: it wins where two Ingresses want
// the same.
func compareAge(a, b *fragment) int {
	if c := a.ing.Created.Compare(b.ing.Created); c != 0 {
		return c
	}
	return a.ing.Name.Compare(b.ing.Name)
}
