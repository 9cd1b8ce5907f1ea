package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/fairway-net/fairway/internal/cluster/mirror"
	"github.com/fairway-net/fairway/internal/cluster/node"
)

// VerbMirror is the verb under which a node's init starts the mirror.
const VerbMirror = "node-mirror"

const (
	registries = "/etc/containerd/certs.d" // which registries containerd asks for an image
	loadedDir  = "/var/lib/fairway/loaded" // see mirror.LoadedFile
	mirrorAddr = "127.0.0.1:10300"         // between the ports of Kubernetes and the NodePorts
	mirrorURL  = "http://" + mirrorAddr    // plain: it never leaves the node's loopback
	contentDir = "/var/lib/containerd/io.containerd.content.v1.content"
)

// mirror is the registry that a node asks first.
func (s *State) mirror() node.Component {
	args := []string{"fairway", VerbMirror}
	if s.Config.Egress == EgressNAT {
		args = append(args, "--loaded", loadedDir)
	}
	return node.Component{Name: "mirror", Args: append(args, s.Name), Env: lean()}
}

// registryHosts tells containerd, for every registry, to ask the mirror first.
// The next is the registry itself, or, if nothing can be reached, what says so
// at once: https://github.com/containerd/containerd/blob/v2.3.7/docs/hosts.md.
func (s *State) registryHosts() []byte {
	server := ""
	if s.Config.Egress != EgressNAT {
		server = fmt.Sprintf("server = %q\n", mirrorURL+mirror.Refusal)
	}
	return fmt.Appendf(nil, "%s[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", server, mirrorURL)
}

// RunMirror is the main function of the mirror. It serves until ctx ends.
func RunMirror(ctx context.Context, log *slog.Logger, cluster, loaded string) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", mirrorAddr)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: &mirror.Server{
			Images:  mirror.NewContainerd(containerdSocket, "k8s.io"),
			Content: contentDir,
			Loaded:  loaded,
			Builtin: registry,
			Cluster: cluster,
			Log:     log,
		},
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       30 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// markLoaded notes that a node's image with this digest was loaded.
func (s *State) markLoaded(nodeName, digest string) error {
	file, err := mirror.LoadedFile(filepath.Join(s.nodeRoot(nodeName), loadedDir), digest)
	if err != nil {
		return err
	}
	return os.WriteFile(file, nil, 0o644)
}
