package route

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/model"
)

// mergeHost makes the virtual host of a pattern from all Ingresses that have
// rules for it, the oldest first.
//
// One path with rewrite-target or use-regex makes all paths of the host regular
// expressions, those of other Ingresses too, and even Exact ones: so does
// ingress-nginx, and manifests have come to rely on it.
func mergeHost(pattern string, fragments []*fragment, shared *shared) (*Host, []model.Rejected) {
	h := &Host{Pattern: pattern}
	if text, ok := strings.CutPrefix(pattern, "~"); ok {
		h.name = regexp.MustCompile("(?i)" + text) // the dialect has read it
	}
	// Aliases count only where no rule names the host, and redirections only where
	// neither does.
	alias := !slices.ContainsFunc(fragments, func(f *fragment) bool { return f.names(pattern, false) })
	m := merger{host: h, taken: map[taken]*Rule{}, from: map[*Rule]*fragment{}}
	var canaries []source
	for _, f := range fragments {
		if !f.names(pattern, alias) {
			if f.names(pattern, true) {
				m.rejectAlias(f, fragments)
			}
			continue
		}
		if f.isCanary() {
			for i := range f.drafts {
				if d := &f.drafts[i]; !d.root && (d.host == pattern || alias) {
					canaries = append(canaries, source{f, d})
				}
			}
			continue
		}
		if h.Fallback == nil {
			h.Fallback = f.fallback
		}
		if h.Client == nil {
			h.Client = f.client
		}
		if h.Ciphers == nil {
			h.Ciphers = f.settings.Ciphers
		}
		for i := range f.drafts {
			if d := &f.drafts[i]; d.host == pattern || alias {
				m.drafts = append(m.drafts, source{f, d})
				h.Regex = h.Regex || !d.root && (f.settings.UseRegex || f.rewrites(d))
			}
		}
	}
	for _, s := range m.drafts {
		m.add(s.fragment, s.draft)
	}
	for _, s := range canaries {
		m.addCanary(s.fragment, s.draft)
	}
	if len(m.drafts) == 0 {
		m.addRedirection(fragments)
	} else if !h.Regex {
		m.addSlashes()
	}
	slices.SortStableFunc(h.Rules, compareRules)
	if !h.Regex {
		h.tree = shared.tree(h.Rules)
	}
	for _, r := range h.Rules {
		r.Forward = shared.forward(r.Forward)
	}
	return h, m.rejected
}

// merger collects the rules of one host.
type merger struct {
	host     *Host
	drafts   []source
	taken    map[taken]*Rule
	from     map[*Rule]*fragment
	rejected []model.Rejected
}

type source struct {
	fragment *fragment
	draft    *draft
}

type taken struct {
	kind PathKind
	path string
	root bool
	when string
}

func (m *merger) add(f *fragment, d *draft) {
	rule := d.rule
	reject := func(reason, message, fix string) {
		m.rejected = append(m.rejected, model.Rejected{Ref: rule.Source.Ref, Field: rule.Source.Field + ".path", Reason: reason, Message: message, Fix: fix})
	}
	key, err := m.key(d)
	if err != nil {
		reject("PathInvalid", fmt.Sprintf("path %q cannot be the path of a request", d.path), "a path begins with a slash and has no dot segments")
		return
	}
	rule.Match = Match{Kind: key.kind, Path: key.path, When: d.rule.Match.When}
	if m.host.Regex {
		if err := compile(&rule, f, d); err != nil {
			fix := "the syntax is RE2, which has no lookaround and no backreferences"
			guarded := f.guards(&rule)
			if guarded {
				fix += fmt.Sprintf("; until then all that begins with %s gets 503, for with another rule everybody could come in", beginning(d.path))
			}
			reject("RegexInvalid", fmt.Sprintf("path %q is no regular expression: %v", d.path, err), fix)
			if !guarded {
				return
			}
			rule.close(d.path)
		}
	}
	if first := m.taken[key]; first != nil {
		reject("PathConflict", fmt.Sprintf("%s has path %s of host %q already", first.Source, d.path, m.host.Pattern),
			"the older Ingress wins; remove one of the two")
		return
	}
	if rule.Forward != nil {
		rule.Forward = f.forward(&rule)
	}
	m.taken[key], m.from[&rule] = &rule, f
	m.host.Rules = append(m.host.Rules, &rule)
}

// rejectAlias tells f that its alias is the host of another Ingress, which has all requests.
func (m *merger) rejectAlias(f *fragment, fragments []*fragment) {
	owner := fragments[slices.IndexFunc(fragments, func(o *fragment) bool { return o.names(m.host.Pattern, false) })]
	m.rejected = append(m.rejected, model.Rejected{Ref: refOf(f.ing), Field: nginx.Field(nginx.Prefix + "server-alias"), Reason: "AliasConflict",
		Message: fmt.Sprintf("%s is a host of the rules of %s, to which its requests go", m.host.Pattern, refOf(owner.ing)), Fix: "remove it here, or the rules there"})
}

// addRedirection makes the rule of from-to-www-redirect for a host that has no other.
func (m *merger) addRedirection(fragments []*fragment) {
	for _, f := range fragments {
		for _, w := range f.www {
			if w.from != m.host.Pattern {
				continue
			}
			r := &Rule{Source: Source{refOf(f.ing), nginx.Field(nginx.Prefix + "from-to-www-redirect")}, Match: Match{Kind: Prefix, Path: "/"}, Unlogged: !f.settings.AccessLog}
			r.Redirect = &Redirect{Status: f.options.RedirectCode, DropSlash: true,
				Location: dialect.Template{{Var: dialect.Scheme}, {Text: "://" + w.to}, {Var: dialect.RequestURI}}}
			m.host.Rules = append(m.host.Rules, r)
			return
		}
	}
}

// addSlashes answers /x with a redirect to /x/ where only that is a path, of type
// ImplementationSpecific: what nginx does for a location that ends in a slash.
func (m *merger) addSlashes() {
	for _, r := range slices.Clone(m.host.Rules) {
		short, ok := strings.CutSuffix(r.Match.Path, "/")
		if r.Match.Kind != Text || !ok || short == "" || r.Redirect != nil {
			continue
		}
		for _, kind := range []PathKind{Exact, Prefix, Text} {
			ok = ok && m.taken[taken{kind: kind, path: short, when: r.Match.When.String()}] == nil
		}
		if !ok {
			continue
		}
		s := &Rule{Source: r.Source, Secure: r.Secure, Access: r.Access, Unlogged: r.Unlogged, KeepSlash: r.KeepSlash, WithPort: r.WithPort, Match: Match{Kind: Exact, Path: short, When: r.Match.When}}
		s.Redirect = &Redirect{Status: 301, AfterTLS: true, Location: dialect.Template{{Var: dialect.Scheme}, {Text: "://"}, {Var: dialect.HostName}}}
		switch f := m.from[r]; {
		case f.settings.Relative:
			s.Redirect.Location = nil
		case f.settings.PortInRedirects:
			s.Redirect.Location = append(s.Redirect.Location, dialect.Part{Text: ":"}, dialect.Part{Var: dialect.ServerPort})
		}
		s.Redirect.Location = append(s.Redirect.Location, dialect.Part{Text: escapePath(r.Match.Path)}, dialect.Part{Var: dialect.IsArgs}, dialect.Part{Var: dialect.Query})
		m.host.Rules = append(m.host.Rules, s)
	}
}

// key is what two drafts of a host must not share. In regex mode the type of a
// path means nothing, but it does keep apart rules that ingress-nginx would
// keep apart.
func (m *merger) key(d *draft) (taken, error) {
	k := taken{pathKind(d.kind), d.path, d.root, d.rule.Match.When.String()}
	if m.host.Regex {
		return k, nil
	}
	var err error
	k.path, _, err = CanonicalPath(escapePath(d.path))
	return k, err
}

// compile makes rule match by regular expression, exactly as ingress-nginx
// writes its location ("~* ^path") and its rewrite ("(?i)path").
func compile(rule *Rule, f *fragment, d *draft) error {
	if d.root {
		rule.Match = Match{Kind: Exact, Path: "/", Regex: regexp.MustCompile("^/$"), When: rule.Match.When}
		return nil
	}
	re, err := regexp.Compile("(?i)^" + d.path)
	if err != nil {
		return reason(err)
	}
	rule.Match = Match{Kind: Regex, Path: d.path, Regex: re, When: rule.Match.When}
	if f.rewrites(d) {
		groups, err := regexp.Compile("(?i)" + d.path)
		if err != nil {
			return reason(err)
		}
		rule.Rewrite = &Rewrite{Regex: groups, Target: f.settings.RewriteTarget}
	}
	return nil
}

// close makes rule refuse all that its path, which is no regular expression, may be meant for.
func (r *Rule) close(path string) {
	r.Match = Match{Kind: Regex, Path: path, Regex: regexp.MustCompile("(?i)^" + regexp.QuoteMeta(beginning(path))), When: r.Match.When}
	r.refuse("the path of the rule is no regular expression")
}

// refuse makes r answer that it cannot be followed.
func (r *Rule) refuse(why string) {
	r.Forward, r.Redirect, r.Rewrite = nil, nil, nil
	r.Respond = &Respond{Status: 503, Text: why}
}

// guards reports whether r, of f, keeps somebody out, so that another rule must not have its
// requests because r cannot be followed.
func (f *fragment) guards(r *Rule) bool {
	return r.Access != nil || r.Auth != nil || r.Password != nil || f.settings.Unguarded != ""
}

// beginning is a text that all begin with that the expression path can match.
func beginning(path string) string {
	depth := 0
	for i := range len(path) {
		switch path[i] {
		case '(', '[':
			depth++
		case ')', ']':
			depth--
		case '|':
			if depth == 0 {
				return "/" // another one may begin in another way
			}
		}
	}
	i := strings.IndexAny(path, `\.+*?()|[]{}^$`)
	switch {
	case i < 0:
		return path
	case i > 0 && strings.IndexByte("*?{", path[i]) >= 0:
		i-- // which may be missing
	}
	return path[:i]
}

// forward completes the Forward of a rule with what depends on its path.
func (f *fragment) forward(r *Rule) *Forward {
	out := *r.Forward
	out.Affinity = affinity(&f.settings, &r.Match)
	if r.Rewrite != nil && f.settings.ForwardedPrefix != "" {
		out.Set = append(out.Set, Header{"X-Forwarded-Prefix", f.settings.ForwardedPrefix})
	}
	return &out
}

// reason drops the expression that regexp puts into its errors.
func reason(err error) error {
	return fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
}

// pathKind translates the path type; ImplementationSpecific is what a location
// of nginx is.
func pathKind(t model.PathType) PathKind {
	switch t {
	case model.Exact:
		return Exact
	case model.Prefix:
		return Prefix
	}
	return Text
}

// compareRules puts the rule that wins first.
func compareRules(a, b *Rule) int {
	return cmp.Or(
		cmp.Compare(rank(a), rank(b)),
		cmp.Compare(len(b.Match.Path), len(a.Match.Path)),
		cmp.Compare(b.Match.Path, a.Match.Path),
		cmp.Compare(a.Match.Kind, b.Match.Kind),
		compareWhen(a.Match.When, b.Match.When))
}

func rank(r *Rule) int {
	if r.Match.Kind == Exact {
		return 0
	}
	return 1
}
