package route

import (
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/dialect/fairway"
	"github.com/fairway-net/fairway/internal/dialect/nginx"
)

// Dump writes p for people and for comparison: equal plans dump equally.
func (p *Plan) Dump(w io.Writer) {
	for i := range p.Listeners {
		l := &p.Listeners[i]
		fmt.Fprintf(w, "listener %s %d\n", l.Name, l.Port)
	}
	if len(p.Listeners) > 0 { // all listeners share their hosts and certificates
		p.Listeners[0].Hosts.dump(w)
		p.Listeners[0].Certs.dump(w)
	}
	backends := maps.Collect(p.Backends.All())
	for _, key := range slices.SortedFunc(maps.Keys(backends), BackendKey.Compare) {
		backends[key].dump(w)
	}
	if p.Passthrough.Len() > 0 {
		for _, host := range slices.Sorted(maps.Keys(p.Passthrough.hosts)) {
			fmt.Fprintf(w, "passthrough %q -> %v\n", host, p.Passthrough.hosts[host])
		}
	}
	for _, s := range p.Streams {
		fmt.Fprintf(w, "stream %v\n", s)
	}
	if p.Options != nil && !reflect.DeepEqual(p.Options, newOptions(nginx.NewOptions())) {
		fmt.Fprintf(w, "options %+v\n", *p.Options)
	}
	for _, n := range p.Claimed {
		fmt.Fprintf(w, "claimed %v\n", n)
	}
	for _, r := range p.Rejected {
		fmt.Fprintf(w, "rejected %v (%s)\n  %v\n", r.Ref, r.Reason, r)
	}
}

// String is what Dump writes.
func (p *Plan) String() string {
	var b strings.Builder
	p.Dump(&b)
	return b.String()
}

func (h *Hosts) dump(w io.Writer) {
	for _, host := range slices.SortedFunc(h.All, func(a, b *Host) int { return strings.Compare(a.Pattern, b.Pattern) }) {
		if len(host.Rules) == 0 && host.Fallback == nil && host.Pattern == "" {
			continue
		}
		fmt.Fprintf(w, "host %q\n", host.Pattern)
		if c := host.Client; c != nil {
			fmt.Fprintf(w, "  client certificate %s depth %d %s\n", c.Mode, c.Depth, c.Problem)
		}
		for _, r := range host.Rules {
			fmt.Fprintf(w, "  %v %s%v -> %v\n", r.Match.Kind, r.Match.Path, r.Match.When, r)
		}
		if host.Fallback != nil {
			fmt.Fprintf(w, "  else -> %v\n", host.Fallback)
		}
	}
	if h.fallback != nil {
		fmt.Fprintf(w, "any other host or path -> %v\n", h.fallback)
	}
}

// String says what the rule does, and where it was written.
func (r *Rule) String() string {
	var b strings.Builder
	switch {
	case r.Redirect != nil:
		fmt.Fprintf(&b, "%d %v", r.Redirect.Status, r.Redirect.Location)
	case r.Respond != nil:
		fmt.Fprintf(&b, "%d %q", r.Respond.Status, r.Respond.Text+r.Respond.Body.String())
	case r.Forward != nil:
		for i, t := range r.Forward.Targets {
			if i > 0 {
				b.WriteString(" + ")
			}
			b.WriteString(t.Backend.String())
			if len(r.Forward.Targets) > 1 {
				fmt.Fprintf(&b, " ×%d", t.Weight)
			}
		}
		if c := r.Forward.Canary; c != nil {
			fmt.Fprintf(&b, " (canary %v header %q cookie %q weight %d/%d [%v])", c.Backend, c.Header, c.Cookie, c.Weight, c.Total, c.Source)
		}
		if r.Forward.Protocol != "" {
			fmt.Fprintf(&b, " by %s", r.Forward.Protocol)
		}
		r.Forward.dump(&b)
	}
	if r.Rewrite != nil {
		fmt.Fprintf(&b, " path %s", r.Rewrite.Target)
	}
	if r.Secure != WhereCertified {
		fmt.Fprintf(&b, " %v", r.Secure)
	}
	if r.CORS != nil {
		fmt.Fprintf(&b, " cors for %s", strings.Join(r.CORS.Origins, ","))
	}
	if l := r.Limits; l != nil {
		for _, rate := range l.Rates {
			fmt.Fprintf(&b, " at most %g/s +%d", rate.PerSecond, rate.Burst)
		}
		if l.Connections > 0 {
			fmt.Fprintf(&b, " at most %d at a time", l.Connections)
		}
	}
	if r.Access != nil {
		fmt.Fprintf(&b, " allow %v deny %v", r.Access.Allow, r.Access.Deny)
	}
	if r.MaxBody != 1<<20 && r.Forward != nil {
		fmt.Fprintf(&b, " body up to %d", r.MaxBody)
	}
	r.dumpRest(&b)
	fmt.Fprintf(&b, " [%v]", r.Source)
	return b.String()
}

func (c *Certificates) dump(w io.Writer) {
	all := map[string]*Certificate{}
	maps.Copy(all, c.exact)
	for suffix, cert := range c.wildcard {
		all["*"+suffix] = cert
	}
	if c.any != nil {
		all[""] = c.any
	}
	for _, pattern := range slices.Sorted(maps.Keys(all)) {
		secret := "default"
		if cert := all[pattern]; cert.TLS != nil {
			secret = fmt.Sprintf("%v until %s", cert.Secret, cert.TLS.Leaf.NotAfter.UTC().Format("2006-01-02"))
		}
		fmt.Fprintf(w, "certificate %q %s\n", pattern, secret)
	}
}

func (b *Backend) dump(w io.Writer) {
	fmt.Fprintf(w, "backend %v %s\n", b.Key, b.Protocol)
	for _, e := range b.Endpoints {
		fmt.Fprintf(w, "  %v", e.Addr)
		if e.Near {
			fmt.Fprint(w, " near")
		}
		fmt.Fprintln(w)
	}
	if b.External != "" {
		fmt.Fprintf(w, "  by name %s:%d\n", b.External, b.Port)
	}
	if b.Upstream != fairway.Defaults() {
		fmt.Fprintf(w, "  upstream %+v\n", b.Upstream)
	}
	if b.Problem != "" {
		fmt.Fprintf(w, "  none: %s\n", b.Problem)
	}
}

// dump writes what differs from the defaults.
func (f *Forward) dump(w io.Writer) {
	if t := (Timeouts{5 * time.Second, 60 * time.Second, 60 * time.Second}); f.Timeouts != t {
		fmt.Fprintf(w, " timeouts %v %v %v", f.Timeouts.Connect, f.Timeouts.Send, f.Timeouts.Read)
	}
	if f.Hold != nginx.Defaults().BodyMemory {
		fmt.Fprintf(w, " hold %d", f.Hold)
	}
	if s := f.Script; s != nil {
		fmt.Fprintf(w, " script index %q params %v", s.Index, s.Params)
	}
	if b := f.Backlog; b != nil {
		fmt.Fprintf(w, " backlog %d in memory, %d in a file", b.Memory, b.File)
	}
	if f.Tries != 3 {
		fmt.Fprintf(w, " tries %d", f.Tries)
	}
	if f.Host != "" {
		fmt.Fprintf(w, " as %s", f.Host)
	}
	for _, h := range f.Set {
		fmt.Fprintf(w, " %s: %s", h.Name, h.Value)
	}
	for _, h := range f.Vars {
		fmt.Fprintf(w, " %s: %v", h.Name, h.Value)
	}
	if b := f.Balance; b != nil {
		fmt.Fprintf(w, " balance ewma %v by %v subset %d", b.EWMA, b.Key, b.Subset)
	}
	if r := f.Retry; r != nil {
		fmt.Fprintf(w, " retry %+v", *r)
	}
	if f.TLS != nil {
		fmt.Fprintf(w, " tls verified %v", f.TLS.Config.VerifyConnection != nil)
	}
	if f.Fallback != nil {
		fmt.Fprintf(w, " else %v", f.Fallback)
	}
	if f.Connect {
		fmt.Fprint(w, " connect")
	}
	if f.AutoTLS {
		fmt.Fprint(w, " by the client's scheme")
	}
	if a := f.Affinity; a != nil {
		fmt.Fprintf(w, " sticky by cookie %s for %s", a.Cookie, a.Path)
	}
}

// dumpRest writes what few rules have.
func (r *Rule) dumpRest(w io.Writer) {
	if a := r.Auth; a != nil {
		fmt.Fprintf(w, " auth by %v", a.URL)
		if a.SignIn != nil {
			fmt.Fprintf(w, " or at %v", a.SignIn)
		}
	}
	if p := r.Password; p != nil {
		fmt.Fprintf(w, " password of %d users, digest %v", len(p.Users), p.Digest)
	}
	if r.Any {
		fmt.Fprint(w, " any of these")
	}
	if e := r.Errors; e != nil {
		fmt.Fprintf(w, " errors %v by %v", e.Codes, e.Backends)
	}
	if e := r.Edit; e != nil {
		fmt.Fprintf(w, " edit set %v add %v hide %v cookies %v %v location %v", e.Set, e.Add, e.Hide, e.CookieDomain, e.CookiePath, e.Redirect)
	}
	if b := r.Bandwidth; b != nil {
		fmt.Fprintf(w, " %d bytes/s after %d", b.PerSecond, b.After)
	}
	if t := r.Trace; t != nil {
		fmt.Fprintf(w, " traced %v, not %v, for clients' traces %v, as %q", t.On, t.Off, !t.Distrust, t.Name)
	}
	if m := r.Mirror; m != nil {
		fmt.Fprintf(w, " mirror to %v", m.Target)
	}
}
