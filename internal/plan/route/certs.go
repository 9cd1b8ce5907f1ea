package route

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// updateCerts makes the table of certificates anew. Where two Ingresses have TLS
// for the same host the older wins. Secrets that did not change are not parsed
// again, so that a *Certificate is the same as long as its Secret is.
func (p *Planner) updateCerts(snap *state.Snapshot, next *Plan, d *dirty, now time.Time) {
	b := certBuilder{planner: p, snap: snap, now: now, seen: map[string]parsed{},
		certs: &Certificates{exact: map[string]*Certificate{}, wildcard: map[string]*Certificate{}}}
	var fragments []*fragment
	for _, f := range p.fragments {
		if len(f.certs) > 0 {
			fragments = append(fragments, f)
		}
	}
	slices.SortFunc(fragments, compareAge)
	b.readDefault(p.options.DefaultCertificate)
	for _, f := range fragments {
		for _, ref := range f.certs {
			b.add(f, ref)
		}
	}
	for _, f := range fragments {
		b.addUnlisted(f)
	}
	if b.fallback.TLS != nil {
		b.certs.put("", b.fallback) // unless an Ingress has one for all names
	}
	p.secrets, p.expiry = b.seen, b.expiry
	p.reject(unit{"tls", ""}, b.rejected, d)
	p.listen(next, nil, b.certs)
}

// sameCerts says that two fragments of one Ingress, or none, ask for the same certificates.
func sameCerts(a, b *fragment) bool {
	if a == nil {
		a = &fragment{}
	}
	if b == nil {
		b = &fragment{}
	}
	if len(a.certs) == 0 || len(b.certs) == 0 {
		return len(a.certs) == len(b.certs)
	}
	return a.ing.Created.Equal(b.ing.Created) && reflect.DeepEqual(a.certs, b.certs) && slices.Equal(a.patterns(), b.patterns())
}

type certBuilder struct {
	planner  *Planner
	snap     *state.Snapshot
	now      time.Time
	certs    *Certificates
	fallback *Certificate // for items of spec.tls that name none
	seen     map[string]parsed
	expiry   time.Time
	rejected []model.Rejected
}

// readDefault reads the certificate of the option default-ssl-certificate.
func (b *certBuilder) readDefault(name model.Name) {
	b.fallback = &Certificate{}
	if name.Name == "" {
		return
	}
	got := b.secret(name)
	problem := got.problem
	if got.cert != nil {
		b.fallback, problem = got.cert, warn(got.cert, "", b.now)
	}
	if problem != nil {
		r, at := *problem, b.planner.optionSource(b.snap, nginx.DefaultCertificateOption)
		r.Ref, r.Field = at.Ref, at.Field
		b.rejected = append(b.rejected, r)
	}
}

func (b *certBuilder) add(f *fragment, ref certRef) {
	cert := b.fallback
	if ref.secret.Name != "" {
		got := b.secret(ref.secret)
		if got.problem != nil {
			b.reject(f, ref.field+".secretName", *got.problem)
			return
		}
		cert = got.cert
	}
	for i, host := range ref.hosts {
		if kept := b.certs.put(host, cert); kept.Secret != cert.Secret {
			b.reject(f, fmt.Sprintf("%s.hosts[%d]", ref.field, i), model.Rejected{Reason: "TLSConflict",
				Message: fmt.Sprintf("host %s has the certificate of Secret %s already", host, kept.Secret),
				Fix:     "the older Ingress wins; name the same Secret in both"})
		} else if cert.TLS != nil {
			if problem := warn(cert, host, b.now); problem != nil {
				b.reject(f, ref.field, *problem)
			}
		}
	}
}

// addUnlisted gives hosts of rules that spec.tls does not list the first of the
// Ingress's certificates that is for them, as ingress-nginx does.
func (b *certBuilder) addUnlisted(f *fragment) {
	for _, host := range f.patterns() {
		if host == "" || b.certs.Covers(strings.Replace(host, "*", "x", 1)) {
			continue
		}
		for _, ref := range f.certs {
			if got := b.seen[ref.secret.String()]; got.cert != nil && verifyName(got.cert.TLS.Leaf, host) == nil {
				b.certs.put(host, got.cert)
				break
			}
		}
	}
}

// secret returns the certificate of a Secret, parsed at most once.
func (b *certBuilder) secret(name model.Name) parsed {
	key := name.String()
	if got, ok := b.seen[key]; ok {
		return got
	}
	s, _ := b.snap.Secrets.Get(key)
	got, ok := b.planner.secrets[key]
	if !ok || got.secret != s {
		got = parsed{secret: s}
		got.cert, got.problem = parseSecret(name, s)
	}
	b.seen[key] = got
	if got.cert != nil {
		for _, t := range []time.Time{got.cert.TLS.Leaf.NotBefore, got.cert.TLS.Leaf.NotAfter} {
			if t.After(b.now) && (b.expiry.IsZero() || t.Before(b.expiry)) {
				b.expiry = t
			}
		}
	}
	return got
}

func (b *certBuilder) reject(f *fragment, field string, r model.Rejected) {
	r.Ref, r.Field = refOf(f.ing), field
	b.rejected = append(b.rejected, r)
}
