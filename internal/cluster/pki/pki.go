// Package pki issues the certificates of one embedded cluster: a certificate
// authority, and from it one identity per component, as kubeadm would
// (https://kubernetes.io/docs/setup/best-practices/certificates/).
//
// It is not a general certificate library, and it renews nothing while a
// cluster runs: identities are issued anew at every start.
//
// Invariant: private keys are written with mode 0600 and never printed.
package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	identityLife  = 365 * 24 * time.Hour
	// backdate tolerates a clock that was set back a little (a resumed
	// virtual machine).
	backdate = time.Hour
)

// Pair is a certificate and its private key, PEM.
type Pair struct {
	Cert, Key []byte
}

// Authority signs identities.
type Authority struct {
	Pair
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes a self-signed authority.
func NewAuthority(name string, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl, err := template(pkix.Name{CommonName: name}, now, authorityLife)
	if err != nil {
		return nil, err
	}
	tmpl.IsCA = true
	tmpl.BasicConstraintsValid = true
	tmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("sign authority %s: %w", name, err)
	}
	return newAuthority(der, key)
}

func newAuthority(der []byte, key *ecdsa.PrivateKey) (*Authority, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return &Authority{Pair{encode("CERTIFICATE", der), keyPEM}, cert, key}, nil
}

// Identity says whom a certificate names and what it may be used for.
type Identity struct {
	Name   string   // common name: the user
	Groups []string // organizations: the user's groups
	Client bool
	Server bool
	DNS    []string
	IPs    []netip.Addr
}

// Issue makes a key and a certificate for id.
func (a *Authority) Issue(id Identity, now time.Time) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	tmpl, err := template(pkix.Name{CommonName: id.Name, Organization: id.Groups}, now, identityLife)
	if err != nil {
		return Pair{}, err
	}
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	if id.Client {
		tmpl.ExtKeyUsage = append(tmpl.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	if id.Server {
		tmpl.ExtKeyUsage = append(tmpl.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	tmpl.DNSNames = id.DNS
	for _, ip := range id.IPs {
		tmpl.IPAddresses = append(tmpl.IPAddresses, net.IP(ip.AsSlice()))
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("sign certificate of %s: %w", id.Name, err)
	}
	keyPEM, err := encodeKey(key)
	return Pair{encode("CERTIFICATE", der), keyPEM}, err
}

func template(name pkix.Name, now time.Time, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{SerialNumber: serial, Subject: name, NotBefore: now.Add(-backdate), NotAfter: now.Add(life)}, nil
}

// NewKey makes the key pair that signs service account tokens: Cert holds the
// public key.
func NewKey() (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	pub, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return Pair{}, err
	}
	keyPEM, err := encodeKey(key)
	return Pair{encode("PUBLIC KEY", pub), keyPEM}, err
}

// Write stores the pair as base.crt and base.key.
func (p Pair) Write(base string) error { return p.write(base, ".crt") }

// WriteKey stores the pair as base.pub and base.key.
func (p Pair) WriteKey(base string) error { return p.write(base, ".pub") }

func (p Pair) write(base, ext string) error {
	if err := os.MkdirAll(filepath.Dir(base), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(base+ext, p.Cert, 0o644); err != nil {
		return err
	}
	// A file that exists keeps its mode: make it anew.
	if err := os.Remove(base + ".key"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(base+".key", p.Key, 0o600)
}

// LoadAuthority reads an authority that Pair.Write stored at base. An error
// that is fs.ErrNotExist means that there is none.
func LoadAuthority(base string) (*Authority, error) {
	certPEM, err := os.ReadFile(base + ".crt")
	if err != nil {
		return nil, err
	}
	keyPEM, err := os.ReadFile(base + ".key")
	if err != nil {
		return nil, err
	}
	certBlock, _ := pem.Decode(certPEM)
	keyBlock, _ := pem.Decode(keyPEM)
	if certBlock == nil || keyBlock == nil {
		return nil, fmt.Errorf("read authority %s: not PEM", base)
	}
	key, err := x509.ParseECPrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read authority %s: %w", base, err)
	}
	a, err := newAuthority(certBlock.Bytes, key)
	if err != nil {
		return nil, fmt.Errorf("read authority %s: %w", base, err)
	}
	if pub, ok := a.cert.PublicKey.(*ecdsa.PublicKey); !ok || !pub.Equal(&key.PublicKey) {
		return nil, fmt.Errorf("read authority %s: key does not belong to certificate", base)
	}
	return a, nil
}

// LoadKey reads what Pair.WriteKey stored at base.
func LoadKey(base string) (Pair, error) {
	pub, err := os.ReadFile(base + ".pub")
	if err != nil {
		return Pair{}, err
	}
	key, err := os.ReadFile(base + ".key")
	return Pair{pub, key}, err
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return encode("EC PRIVATE KEY", der), nil
}

func encode(kind string, der []byte) []byte {
	var b bytes.Buffer
	_ = pem.Encode(&b, &pem.Block{Type: kind, Bytes: der}) // a bytes.Buffer takes every write
	return b.Bytes()
}
