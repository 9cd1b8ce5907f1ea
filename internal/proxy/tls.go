package proxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/fairway-net/fairway/internal/plan/route"
)

// tlsConfig looks certificates up in the plan of the moment, so that a new one
// is used from the next handshake on and no connection notices.
func (s *Server) tlsConfig(listener string) *tls.Config {
	config := &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if p := s.live.Load().plan; p != nil {
				if l := p.Listener(listener); l != nil {
					name := route.CanonicalHost(hello.ServerName)
					if p.Options != nil && p.Options.RejectHandshake && l.Hosts.Lookup(name).Pattern == "" {
						return nil, nil // which is the alert unrecognized_name
					}
					if c := l.Certs.Lookup(name); c != nil && c.TLS != nil {
						return c.TLS, nil
					}
				}
			}
			return s.cert, nil
		},
	}
	derived := newDerived(config, &s.tickets)
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if p := s.live.Load().plan; p != nil {
			if l := p.Listener(listener); l != nil {
				return derived.of(l.Hosts.Lookup(route.CanonicalHost(hello.ServerName)), tlsOf(p)), nil
			}
		}
		return nil, nil
	}
	s.tickets.add(config)
	return config
}

// derived are configurations for hosts that want something of TLS, and for what options
// want of it. There are few: what hosts differ in is whether a certificate is asked for,
// and the suites of TLS 1.2.
type derived struct {
	base    *tls.Config
	tickets *tickets

	mu  sync.Mutex
	all map[string]*tls.Config
}

func newDerived(base *tls.Config, t *tickets) *derived {
	return &derived{base: base, tickets: t, all: map[string]*tls.Config{}}
}

// of returns the configuration for a host; nil: the one for all.
func (d *derived) of(h *route.Host, o tlsOptions) *tls.Config {
	asks := h.Client != nil && h.Client.Mode != "off"
	if !asks && len(h.Ciphers) == 0 && !o.noHTTP2 && o.max == 0 && (o.min == 0 || o.min == d.base.MinVersion) {
		return nil
	}
	key := fmt.Sprint(asks, h.Ciphers, o)
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.all[key]
	if c == nil {
		c = d.base.Clone()
		c.GetConfigForClient = nil
		if asks {
			c.ClientAuth = tls.RequestClientCert // verified per request, so that the answer can say what is wrong
		}
		c.CipherSuites = h.Ciphers
		if c.MaxVersion = o.max; o.min != 0 {
			c.MinVersion = o.min
		}
		if o.noHTTP2 {
			c.NextProtos = slices.DeleteFunc(slices.Clone(c.NextProtos), func(p string) bool { return p == "h2" })
		}
		d.tickets.add(c)
		d.all[key] = c
	}
	return c
}

// ticketPeriod is how long a key makes tickets. It opens them for two periods more,
// and one before, as the clocks of gateways differ.
const ticketPeriod = 8 * time.Hour

// ticketKeys are the keys of the moment, the one that makes tickets first.
func ticketKeys(seed []byte, now time.Time) (keys [][32]byte) {
	period := now.Unix() / int64(ticketPeriod/time.Second)
	for _, i := range [...]int64{0, -1, -2, 1} {
		mac := hmac.New(sha256.New, seed)
		fmt.Fprintf(mac, "fairway session tickets %d", period+i)
		keys = append(keys, [32]byte(mac.Sum(nil)))
	}
	return keys
}

// tickets are the configurations whose sessions other gateways with the same seed resume.
type tickets struct {
	seed []byte // nil: Go's own keys, of this process

	mu      sync.Mutex
	configs []*tls.Config
}

// add gives c the keys of the moment, and from now on those that follow.
func (t *tickets) add(c *tls.Config) {
	if t.seed == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c.SetSessionTicketKeys(ticketKeys(t.seed, time.Now()))
	t.configs = append(t.configs, c)
}

// turn changes the keys to those of now.
func (t *tickets) turn(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.configs {
		c.SetSessionTicketKeys(ticketKeys(t.seed, now))
	}
}

// run changes the keys with the time, until ctx ends.
func (t *tickets) run(ctx context.Context) {
	for t.seed != nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Minute):
		}
		t.turn(time.Now())
	}
}

// selfSigned makes the certificate for names that have none, so that the
// handshake succeeds and the client can be told, over HTTP, what is missing.
func selfSigned() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make default certificate: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make default certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"Fairway"}, CommonName: "Fairway default certificate"},
		DNSNames:     []string{"ingress.local"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make default certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make default certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
