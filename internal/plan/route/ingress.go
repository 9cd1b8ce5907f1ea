package route

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/model"
)

// fragment is what one Ingress contributes. It depends on the Ingress alone,
// not on Services, Secrets or other Ingresses.
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
}

// draft is a path before it is known whether its host is in regex mode.
type draft struct {
	host string
	path string // as written, "/" for ""
	kind model.PathType
	root bool // the rule of app-root: "/" and nothing else, before all others
	rule Rule // Match and Rewrite are still empty
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
func translate(ing *model.Ingress) *fragment {
	f := &fragment{ing: ing}
	f.settings, f.rejected = nginx.Parse(refOf(ing), ing.Annotations)
	if ing.Default != nil {
		rule := f.rule(*ing.Default, "spec.defaultBackend", "spec.defaultBackend")
		f.fallback = &rule
	}
	f.aliases = f.settings.Aliases
	for i, r := range ing.Rules {
		host := strings.ToLower(r.Host)
		if !slices.Contains(f.hosts, host) {
			f.hosts = append(f.hosts, host)
			if f.settings.AppRoot != "" {
				f.drafts = append(f.drafts, f.appRoot(host))
			}
		}
		for j, p := range r.Paths {
			field := fmt.Sprintf("spec.rules[%d].http.paths[%d]", i, j)
			d := draft{host: host, path: p.Path, kind: p.Type, rule: f.rule(p.Backend, field, field+".backend")}
			if d.path == "" {
				d.path = "/"
			}
			f.drafts = append(f.drafts, d)
		}
	}
	for i, t := range ing.TLS {
		f.certs = append(f.certs, f.certRef(t, fmt.Sprintf("spec.tls[%d]", i)))
	}
	return f
}

// rule makes the rule for a backend, without its path.
func (f *fragment) rule(b model.IngressBackend, field, backendField string) Rule {
	s := &f.settings
	r := Rule{Source: Source{refOf(f.ing), field}, Redirect: redirect(s), Secure: secure(s), CORS: cors(s), Limits: limits(s), Access: access(s),
		MaxBody: s.BodySize, Unlogged: !s.AccessLog}
	if b.Service == "" {
		rejected := model.Rejected{Ref: refOf(f.ing), Field: backendField + ".resource", Reason: "ResourceBackendUnsupported",
			Message: fmt.Sprintf("a backend of kind %s is not supported", b.Resource), Fix: "write backend.service"}
		f.rejected = append(f.rejected, rejected)
		if r.Redirect == nil {
			r.Respond = &Respond{Status: 503, Text: rejected.Message}
		}
		return r
	}
	key := BackendKey{model.Name{Namespace: f.ing.Namespace, Name: b.Service}, b.Port}
	f.backends = append(f.backends, backendRef{key, backendField})
	switch {
	case r.Redirect != nil:
	case s.Unguarded != "":
		r.Respond = &Respond{Status: 503, Text: fmt.Sprintf("annotation %s%s cannot be followed, and without it everybody could come in", nginx.Prefix, s.Unguarded)}
	default:
		r.Forward = &Forward{Targets: []Target{{Backend: key, Weight: 1}}, Protocol: protocol(s.BackendProtocol),
			Timeouts: Timeouts{Connect: s.ConnectTimeout, Send: s.SendTimeout, Read: s.ReadTimeout}, Tries: s.Tries, Host: s.UpstreamHost}
	}
	return r
}

// appRoot makes the rule that annotation app-root adds to a host.
func (f *fragment) appRoot(host string) draft {
	r := Rule{Source: Source{refOf(f.ing), nginx.Field(nginx.Prefix + "app-root")}, Secure: secure(&f.settings), Unlogged: !f.settings.AccessLog}
	r.Redirect = &Redirect{Location: dialect.Template{{Var: dialect.Scheme}, {Text: "://"}, {Var: dialect.HostName}, {Text: f.settings.AppRoot}}, Status: 302}
	return draft{host: host, path: "/", kind: model.Exact, root: true, rule: r}
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
	return map[nginx.Protocol]Protocol{nginx.HTTP: HTTP1, nginx.HTTPS: HTTPS, nginx.GRPC: H2C, nginx.GRPCS: H2}[p]
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
