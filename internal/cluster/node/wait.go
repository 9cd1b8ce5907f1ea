package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// waitPoll is how often a Wait is looked at, short against the start of any
// component; asking the API server costs it more than accepting a connection.
const (
	waitPoll    = 20 * time.Millisecond
	waitPollURL = 50 * time.Millisecond
)

// await blocks until w holds or ctx ends.
func (b *board) await(ctx context.Context, w Wait) {
	check, every := b.checker(w), waitPoll
	if w.URL != "" {
		every = waitPollURL
	}
	for ctx.Err() == nil && !check(ctx) {
		select {
		case <-ctx.Done():
		case <-time.After(every):
		}
	}
}

// checker returns a function that tests w once.
func (b *board) checker(w Wait) func(context.Context) bool {
	var client *http.Client
	return func(ctx context.Context) bool {
		switch {
		case w.Done != "":
			return b.done(w.Done)
		case w.Unix != "":
			return dials(ctx, "unix", w.Unix)
		case w.TCP != "":
			return dials(ctx, "tcp", w.TCP)
		}
		if client == nil {
			c, err := newClient(w)
			if err != nil {
				b.log.Warn("wait", "url", w.URL, "err", err)
				return false
			}
			client = c
		}
		return answers(ctx, client, w.URL)
	}
}

func dials(ctx context.Context, network, addr string) bool {
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func answers(ctx context.Context, client *http.Client, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, resp.Body) // or the connection is not used again
	resp.Body.Close()
	return err == nil && resp.StatusCode == http.StatusOK
}

// newClient makes a client with the certificates that w names.
func newClient(w Wait) (*http.Client, error) {
	ca, err := os.ReadFile(w.CA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("read %s: no certificate", w.CA)
	}
	cert, err := tls.LoadX509KeyPair(w.Cert, w.Key)
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Timeout:   2 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}},
	}, nil
}
