package echo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/fcgi"
	"slices"
	"strings"
	"time"
)

// Config says where to serve and as whom.
type Config struct {
	Identity Identity
	Ports    []string // TCP: HTTP/1.1 and cleartext HTTP/2
	TLSPorts []string // TCP: the same with TLS
	TLSDir   string   // where tls.crt and tls.key are; "": a certificate is made
	UDPPorts []string
	Scripts  []string      // TCP: FastCGI
	NotReady bool          // start with /readyz answering 503
	Delay    time.Duration // how late to answer
	Drain    time.Duration // how long to go on serving after the end was asked for
	Log      *slog.Logger
}

// shutdownLimit is how long requests in flight may take after the drain.
const shutdownLimit = 10 * time.Second

// Serve serves until ctx ends. Then it stops being ready but goes on accepting
// for cfg.Drain, because Kubernetes tells the pod and the rest of the cluster
// at the same time that the pod ends; then it finishes what is in flight.
func Serve(ctx context.Context, cfg Config) error {
	h := NewHandler(cfg.Identity)
	h.SetReady(!cfg.NotReady)
	h.delay = cfg.Delay
	s := &server{cfg: cfg, http: newHTTPServer(h)}
	defer s.close()
	if len(cfg.TLSPorts) > 0 {
		var err error
		if s.http.TLSConfig, err = tlsConfig(cfg.TLSDir, cfg.Identity); err != nil {
			return err
		}
	}
	if err := s.listen(); err != nil {
		return err
	}
	failed := s.start()
	cfg.Log.Info("serving", "pod", cfg.Identity.Pod, "http", cfg.Ports, "udp", cfg.UDPPorts)

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	h.SetReady(false)
	time.Sleep(cfg.Drain)
	limit, cancel := context.WithTimeout(context.Background(), shutdownLimit)
	defer cancel()
	if err := s.http.Shutdown(limit); err != nil {
		cfg.Log.Warn("requests cut off at the end", "after", shutdownLimit)
	}
	return nil
}

func newHTTPServer(h http.Handler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{Handler: h, Protocols: protocols, ReadHeaderTimeout: 10 * time.Second}
}

type server struct {
	cfg  Config
	http *http.Server
	tcp  []net.Listener
	tls  []net.Listener // TCP below TLS
	udp  []net.PacketConn

	scripts []net.Listener
}

// listen opens every port before anything is served, so that a port in use
// fails the start and not a request.
func (s *server) listen() error {
	for _, port := range s.cfg.Ports {
		l, err := net.Listen("tcp", listenAddr(port))
		if err != nil {
			return fmt.Errorf("listen for HTTP: %w", err)
		}
		s.tcp = append(s.tcp, l)
	}
	for _, port := range s.cfg.TLSPorts {
		l, err := net.Listen("tcp", listenAddr(port))
		if err != nil {
			return fmt.Errorf("listen for TLS: %w", err)
		}
		s.tls = append(s.tls, l)
	}
	for _, port := range s.cfg.Scripts {
		l, err := net.Listen("tcp", listenAddr(port))
		if err != nil {
			return fmt.Errorf("listen for FastCGI: %w", err)
		}
		s.scripts = append(s.scripts, l)
	}
	for _, port := range s.cfg.UDPPorts {
		c, err := net.ListenPacket("udp", listenAddr(port))
		if err != nil {
			return fmt.Errorf("listen for UDP: %w", err)
		}
		s.udp = append(s.udp, c)
	}
	return nil
}

// listenAddr accepts "8080" as well as "127.0.0.1:8080".
func listenAddr(port string) string {
	if strings.Contains(port, ":") {
		return port
	}
	return ":" + port
}

func (s *server) start() <-chan error {
	failed := make(chan error, len(s.tcp)+len(s.tls)+len(s.scripts)+len(s.udp))
	serve := func(err error) {
		if !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serve HTTP: %w", err)
		}
	}
	for _, l := range s.tcp {
		go func() { serve(s.http.Serve(l)) }()
	}
	for _, l := range s.tls {
		go func() { serve(s.http.ServeTLS(l, "", "")) }()
	}
	for _, l := range s.scripts {
		go func() {
			if err := fcgi.Serve(l, s.http.Handler); !errors.Is(err, net.ErrClosed) {
				failed <- fmt.Errorf("serve FastCGI: %w", err)
			}
		}()
	}
	for _, c := range s.udp {
		go func() {
			if err := serveUDP(c, s.cfg.Identity); !errors.Is(err, net.ErrClosed) {
				failed <- fmt.Errorf("serve UDP: %w", err)
			}
		}()
	}
	return failed
}

func (s *server) close() {
	s.http.Close() // its listeners too
	for _, l := range slices.Concat(s.tcp, s.tls, s.scripts) {
		l.Close() // one that was never served
	}
	for _, c := range s.udp {
		c.Close()
	}
}

// serveUDP answers every datagram with one line that names the pod and the
// client, followed by the datagram itself.
func serveUDP(c net.PacketConn, id Identity) error {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		reply := fmt.Appendf(nil, "pod=%s podIP=%s node=%s client=%s\n", id.Pod, id.PodIP, id.Node, from)
		// A reply that the network refuses is the client's loss alone.
		_, _ = c.WriteTo(append(reply, buf[:n]...), from)
	}
}
