package route

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/model"
)

// Certificates are the certificates of a listener by the name that a client
// asks for (SNI).
type Certificates struct {
	exact    map[string]*Certificate
	wildcard map[string]*Certificate // by what follows "*"
	any      *Certificate            // for all other names; nil: the gateway's own
}

// Certificate is what a kubernetes.io/tls Secret holds, ready for use.
type Certificate struct {
	Secret model.Name       // zero for an Ingress that asks for the default certificate
	TLS    *tls.Certificate // nil: the gateway's own
}

// Lookup returns the certificate for a canonical name, or nil for the gateway's own.
func (c *Certificates) Lookup(name string) *Certificate {
	if found := c.find(name); found != nil {
		return found
	}
	return c.any
}

// Covers reports whether some Ingress has TLS for the host. The certificate for
// all other names does not count: nothing says that it is for this one.
func (c *Certificates) Covers(host string) bool { return c.find(host) != nil }

func (c *Certificates) find(name string) *Certificate {
	if found := c.exact[name]; found != nil {
		return found
	}
	if i := strings.IndexByte(name, '.'); i > 0 {
		return c.wildcard[name[i:]]
	}
	return nil
}

// put sets the certificate of a pattern, unless it has one; it returns the one
// that it has afterwards.
func (c *Certificates) put(pattern string, cert *Certificate) *Certificate {
	switch {
	case pattern == "":
		if c.any == nil {
			c.any = cert
		}
		return c.any
	case strings.HasPrefix(pattern, "*."):
		if old := c.wildcard[pattern[1:]]; old != nil {
			return old
		}
		c.wildcard[pattern[1:]] = cert
	default:
		if old := c.exact[pattern]; old != nil {
			return old
		}
		c.exact[pattern] = cert
	}
	return cert
}

// parseSecret turns a Secret into a certificate. problem is what is wrong with
// it, without Ref and Field; the certificate is nil if it cannot be served.
func parseSecret(name model.Name, s *model.Secret) (cert *Certificate, problem *model.Rejected) {
	if s == nil {
		return nil, &model.Rejected{Reason: "SecretNotFound",
			Message: fmt.Sprintf("Secret %s of type kubernetes.io/tls does not exist", name),
			Fix:     fmt.Sprintf("kubectl -n %s create secret tls %s --cert=FILE --key=FILE", name.Namespace, name.Name)}
	}
	invalid := func(message, fix string) (*Certificate, *model.Rejected) {
		return nil, &model.Rejected{Reason: "SecretInvalid", Message: fmt.Sprintf("Secret %s %s", name, message), Fix: fix}
	}
	for _, key := range []string{"tls.crt", "tls.key"} {
		if len(s.Data[key]) == 0 {
			return invalid(fmt.Sprintf("is of type %q and has no %s", s.Type, key), "create it with kubectl create secret tls")
		}
		if block, _ := pem.Decode(s.Data[key]); block == nil {
			return invalid(fmt.Sprintf("holds no PEM block in %s", key), "put in the PEM file as it is; base64 is only for manifests with data:")
		}
	}
	pair, err := tls.X509KeyPair(s.Data["tls.crt"], s.Data["tls.key"])
	if err != nil {
		return invalid("cannot be used: "+strings.TrimPrefix(err.Error(), "tls: "), "tls.crt must begin with the certificate that belongs to tls.key")
	}
	return &Certificate{Secret: name, TLS: &pair}, nil
}

// warn says what is wrong with serving cert for host: it is served nevertheless,
// for a client that refuses it shows a clearer error than one that gets some
// other certificate.
func warn(cert *Certificate, host string, now time.Time) *model.Rejected {
	leaf := cert.TLS.Leaf
	if now.After(leaf.NotAfter) {
		return &model.Rejected{Reason: "CertificateExpired",
			Message: fmt.Sprintf("the certificate of Secret %s expired on %s", cert.Secret, leaf.NotAfter.UTC().Format(time.DateOnly)), Fix: "renew it"}
	}
	if now.Before(leaf.NotBefore) {
		return &model.Rejected{Reason: "CertificateNotYetValid",
			Message: fmt.Sprintf("the certificate of Secret %s is valid only from %s", cert.Secret, leaf.NotBefore.UTC().Format(time.RFC3339)), Fix: "check the clock of whoever made it"}
	}
	err := verifyName(leaf, host)
	if host == "" || err == nil {
		return nil
	}
	r := &model.Rejected{Reason: "CertificateNameMismatch",
		Message: fmt.Sprintf("the certificate of Secret %s is not for host %s", cert.Secret, host)}
	if len(leaf.DNSNames)+len(leaf.IPAddresses) == 0 {
		r.Fix = fmt.Sprintf("it has no subjectAltName, which clients need: make it with -addext subjectAltName=DNS:%s", host)
	} else {
		r.Fix = "it is for: " + strings.Join(leaf.DNSNames, ", ")
	}
	return r
}

// verifyName is VerifyHostname for patterns as well: "*.example.com" needs a
// certificate for just that.
func verifyName(leaf *x509.Certificate, host string) error {
	if !strings.HasPrefix(host, "*.") {
		return leaf.VerifyHostname(host)
	}
	for _, name := range leaf.DNSNames {
		if strings.EqualFold(name, host) {
			return nil
		}
	}
	return errors.New("no such name")
}
