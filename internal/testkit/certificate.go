package testkit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// Authority issues certificates; nil lets each sign itself.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	by   *Authority
}

// Authority makes one that a vouches for; of nil, a root.
func (a *Authority) Authority(t testing.TB, name string) *Authority {
	t.Helper()
	c := a.Issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return &Authority{c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey), a}
}

// PEM is a's own certificate.
func (a *Authority) PEM() string { return certificatePEM(a.cert.Raw) }

// Issue makes a certificate of template, valid around now if that does not say when,
// with the chain up to, and without, the root.
func (a *Authority) Issue(t testing.TB, template *x509.Certificate) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	}
	parent, signer := template, key
	if a != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	c := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	for ; a != nil && a.by != nil; a = a.by {
		c.Certificate = append(c.Certificate, a.cert.Raw)
	}
	return c
}

// PEM is a certificate with its chain, and its key, as Secrets have them.
func PEM(t testing.TB, c *tls.Certificate) (crt, key string) {
	t.Helper()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, der := range c.Certificate {
		crt += certificatePEM(der)
	}
	return crt, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

func certificatePEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
