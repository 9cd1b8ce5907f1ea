package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestIssue(t *testing.T) {
	now := time.Now()
	ca, err := NewAuthority("test", now)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(Identity{Name: "system:node:n", Groups: []string{"system:nodes"}, Server: true, DNS: []string{"n"}, IPs: []netip.Addr{netip.MustParseAddr("198.18.0.2")}}, now)
	if err != nil {
		t.Fatal(err)
	}
	both, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(both.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if cert.Subject.CommonName != "system:node:n" || cert.Subject.Organization[0] != "system:nodes" {
		t.Errorf("subject %v", cert.Subject)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.Cert)
	for _, c := range []struct {
		what string
		opt  x509.VerifyOptions
		ok   bool
	}{
		{"server by name", x509.VerifyOptions{DNSName: "n"}, true},
		{"server by address", x509.VerifyOptions{DNSName: "198.18.0.2"}, true},
		{"other name", x509.VerifyOptions{DNSName: "m"}, false},
		{"as a client", x509.VerifyOptions{KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, false},
		{"in two years", x509.VerifyOptions{CurrentTime: now.Add(2 * identityLife)}, false},
	} {
		c.opt.Roots = roots
		if _, err := cert.Verify(c.opt); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestStore(t *testing.T) {
	base := filepath.Join(t.TempDir(), "pki", "ca")
	if _, err := LoadAuthority(base); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("load of nothing: %v", err)
	}
	ca, err := NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	// A key file that others can read does not stay so.
	if err := os.MkdirAll(filepath.Dir(base), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(base+".key", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := ca.Write(base); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(base + ".key"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key has mode %v (%v)", info.Mode(), err)
	}
	again, err := LoadAuthority(base)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Issue(Identity{Name: "x", Client: true}, time.Now()); err != nil {
		t.Error(err)
	}
	// The key of another authority is refused.
	other, err := NewAuthority("other", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := (Pair{ca.Cert, other.Key}).Write(base); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadAuthority(base); err == nil {
		t.Error("a certificate with another's key is loaded")
	}
}
