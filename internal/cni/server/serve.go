package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/fairway-net/fairway/internal/apply/netdev"
	"github.com/fairway-net/fairway/internal/cni"
)

// Listen makes the socket, for root alone, in the place of one that a
// predecessor has left.
func Listen(path string) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make socket directory: %w", err)
	}
	tmp := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for CNI calls: %w", err)
	}
	l.SetUnlinkOnClose(false) // by then the name may be a successor's
	if err = os.Chmod(tmp, 0o600); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("place CNI socket: %w", err)
	}
	return l, nil
}

// Serve answers calls until ctx ends, and returns nil then.
func (s *Server) Serve(ctx context.Context, l *net.UnixListener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept CNI call: %w", err)
		}
		go s.serve(ctx, conn)
	}
}

func (s *Server) serve(ctx context.Context, conn *net.UnixConn) {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(cni.Timeout)); err != nil {
		return
	}
	r, ns, err := cni.Receive(conn)
	if err != nil {
		s.o.Log.Warn("CNI call is not readable", "err", err)
		return
	}
	if ns != nil {
		defer ns.Close()
	}
	var resp cni.Response
	start := time.Now()
	resp.Result, err = s.handle(ctx, r, ns)
	s.calls.note(r.Command, time.Since(start), err)
	if err != nil {
		s.o.Log.Warn("CNI call ended with an error", "command", r.Command, "pod", r.Arg("K8S_POD_NAMESPACE")+"/"+r.Arg("K8S_POD_NAME"), "err", err)
		if !errors.As(err, &resp.Error) {
			resp.Error = cni.Errorf(cni.CodeInternal, "%v", err)
		}
	}
	if err := json.NewEncoder(conn).Encode(resp); err != nil {
		s.o.Log.Warn("CNI call could not be answered", "command", r.Command, "err", err)
	}
}

func (s *Server) handle(ctx context.Context, r *cni.Request, ns *os.File) (*cni.Result, error) {
	var c cni.Config
	if err := json.Unmarshal(r.Config, &c); err != nil {
		return nil, cni.Errorf(cni.CodeDecode, "decode network configuration: %v", err)
	}
	if ns == nil && (r.Command == cni.Add || r.Command == cni.Check) {
		return nil, cni.Errorf(cni.CodeEnvironment, "%s needs a network namespace", r.Command)
	}
	if c.Type == cni.LoopbackType {
		return s.loopback(r, ns)
	}
	switch r.Command {
	case cni.Add:
		return s.Add(ctx, r, ns)
	case cni.Del:
		return nil, s.Del(r)
	case cni.Check:
		return nil, s.Check(r, ns)
	case cni.GC:
		return nil, s.GC(c.Valid)
	case cni.Status:
		return nil, nil // that we answer says that we can serve
	}
	return nil, cni.Errorf(cni.CodeEnvironment, "CNI_COMMAND %q is unknown", r.Command)
}

// loopback does what the plugin of that name does: containerd executes one for
// every pod, and we are it where nobody has installed another.
func (s *Server) loopback(r *cni.Request, ns *os.File) (*cni.Result, error) {
	if r.Command != cni.Add {
		return nil, nil
	}
	if err := netdev.LoopbackUp(ns); err != nil {
		return nil, err
	}
	return &cni.Result{
		Interfaces: []cni.Interface{{Name: "lo", Mac: "00:00:00:00:00:00", Sandbox: r.Netns}},
		IPs:        []cni.IP{{Address: "127.0.0.1/8"}, {Address: "::1/128"}},
	}, nil
}
