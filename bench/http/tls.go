package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// handshakes makes one connection after another, each with one request, with the
// curve and the certificate that all proxies have.
func handshakes(resume bool) func(context.Context, *bench, *server) (figures, error) {
	return func(ctx context.Context, b *bench, s *server) (f figures, err error) {
		config := &tls.Config{InsecureSkipVerify: true, ServerName: "h0.example", MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, CurvePreferences: []tls.CurveID{tls.X25519}}
		if resume {
			config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		}
		begun := time.Now()
		for time.Since(begun) < b.length && ctx.Err() == nil {
			resumed, err := oneHandshake(s.at[secure], config)
			if err != nil {
				return f, err
			}
			if resume && f.n > 0 && !resumed {
				return f, errors.New("session was not resumed")
			}
			f.n++
		}
		f.rate = f.n / time.Since(begun).Seconds()
		return f, ctx.Err()
	}
}

func oneHandshake(addr string, config *tls.Config) (resumed bool, err error) {
	c, err := tls.Dial("tcp", addr, config)
	if err != nil {
		return false, err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /small HTTP/1.1\r\nHost: h0.example\r\nConnection: close\r\n\r\n"); err != nil {
		return false, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil) // after the tickets
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return false, fmt.Errorf("status %d", resp.StatusCode)
	}
	return c.ConnectionState().DidResume, nil
}

// writeCertificate makes what the peers identify themselves with: of the kind that
// Fairway makes for itself.
func writeCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"h0.example"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	for name, b := range map[string][]byte{"tls.crt": cert, "tls.key": text, "tls.pem": append(cert, text...)} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// serveGRPC answers unary calls without TLS.
func serveGRPC(ctx context.Context, addr string) error {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	s := &http.Server{Addr: addr, Protocols: p, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		_, _ = w.Write([]byte("\x00\x00\x00\x00\x07message"))
		w.(http.Flusher).Flush()
	})}
	context.AfterFunc(ctx, func() { _ = s.Close() })
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
