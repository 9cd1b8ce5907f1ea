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
	"sync/atomic"
	"time"
)

// handshakes lets a client on the second processor make one connection after another.
func handshakes(resume bool) func(context.Context, *bench, *server) (figures, error) {
	return func(ctx context.Context, b *bench, s *server) (f figures, err error) {
		text, err := b.client(ctx, s, b.self, "-handshakes", s.at[secure], fmt.Sprintf("-resume=%v", resume), "-time", b.length.String())
		if err != nil {
			return f, err
		}
		if _, err := fmt.Sscan(string(text), &f.n, &f.rate); err != nil {
			return f, fmt.Errorf("read handshakes: %w\n%s", err, text)
		}
		return f, nil
	}
}

// handshakers is how many connections are made at a time.
const handshakers = 8

// measureHandshakes makes connections, each with one request, with the group and the
// certificate that all proxies have, and prints how many there were, and how many per second.
func measureHandshakes(addr string, resume bool, length time.Duration) error {
	begun := time.Now()
	var n atomic.Int64
	failed := make(chan error, handshakers)
	for range handshakers {
		config := &tls.Config{InsecureSkipVerify: true, ServerName: "h0.example", MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, CurvePreferences: []tls.CurveID{tls.X25519}}
		if resume {
			config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		}
		go func() {
			for first := true; time.Since(begun) < length; first = false {
				state, err := oneHandshake(addr, config)
				switch {
				case err != nil:
					failed <- err
					return
				case state.CurveID != tls.X25519:
					failed <- fmt.Errorf("key exchange with %v", state.CurveID)
					return
				case resume && !first && !state.DidResume:
					failed <- errors.New("session was not resumed")
					return
				}
				n.Add(1)
			}
			failed <- nil
		}()
	}
	for range handshakers {
		if err := <-failed; err != nil {
			return err
		}
	}
	fmt.Println(n.Load(), float64(n.Load())/time.Since(begun).Seconds())
	return nil
}

func oneHandshake(addr string, config *tls.Config) (state tls.ConnectionState, err error) {
	c, err := tls.Dial("tcp", addr, config)
	if err != nil {
		return state, err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /small HTTP/1.1\r\nHost: h0.example\r\nConnection: close\r\n\r\n"); err != nil {
		return state, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil) // after the tickets
	if err != nil {
		return state, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return state, fmt.Errorf("status %d", resp.StatusCode)
	}
	return c.ConnectionState(), nil
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
